"""Where the C core sees instructions, against capstone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.arch.x86 import disassemble
from lpengine.core import decode, field_ends
from lpengine.elf import Image
from lpengine.errors import UsageError


def test_boundaries_agree_with_capstone(hv: Image) -> None:
    """Over all functions of a compiled image."""
    compared = 0
    for symbol in hv.symbols:
        if not symbol.is_function or not symbol.size:
            continue
        code = hv.read(symbol.value, symbol.size)
        ours = [(each.offset, each.size) for each in decode(code)]
        theirs = [(each.address, each.size) for each in disassemble(code, 0)]
        assert ours == theirs, symbol.name
        compared += len(ours)
    assert compared > 300


@given(st.binary(max_size=200))
def test_instructions_cover_any_bytes(code: bytes) -> None:
    found = decode(code)
    assert [each.offset for each in found[1:]] == [each.end for each in found[:-1]]
    assert (found[-1].end if found else 0) == len(code)


def test_a_field_ends_with_its_instruction() -> None:
    code = bytes.fromhex("488d0500000000 803d0000000007 c3")
    assert field_ends(code, [3, 9]) == (7, 14)
    assert field_ends(code, []) == ()


def test_fields_must_lie_inside_and_ascend() -> None:
    with pytest.raises(UsageError, match="5 bytes"):
        field_ends(bytes(5), [5])
    with pytest.raises(UsageError):
        field_ends(bytes(5), [2, 1])
