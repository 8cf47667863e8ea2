"""What holds for any two builds: nothing differs from itself, lines that move are no
change, and what is called changed really is another function."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.core import relocate
from lpengine.diff.changes import Difference, ObjectChanges, Status, Verdict
from lpengine.diff.differ import diff_images
from lpengine.elf import Image, Section, parse_image
from lpengine.elf.constants import (
    R_X86_64_PC32,
    R_X86_64_PLT32,
    SHF_MERGE,
    STT_FUNC,
)
from tests.diff_cases import Case, built, case_named, cases, compile_text, differed

GCC = [
    pytest.param(each, id=each.name) for each in cases() if "gcc" in each.compilers()
]
CLANG = [
    pytest.param(each, id=each.name) for each in cases() if "clang" in each.compilers()
]


def moved(case: Case, compiler: str) -> ObjectChanges:
    """A case's source against itself with everything five lines further down, from
    a compiler that says less about itself."""
    before, _ = built(case, compiler)
    text = case.source("before")
    raw = compile_text(case, "\n" * 5 + text, compiler, ("-fno-ident",))
    return diff_images(case.name, before, parse_image(raw, "moved.o"), case.options())


def require_nothing(changes: ObjectChanges) -> None:
    assert changes.verdict is Verdict.UNCHANGED, changes.refusals
    assert not changes.refusals
    assert all(each.status is Status.SAME for each in changes.functions)
    assert changes.pieces == ()
    assert changes.tables == ()


@pytest.mark.parametrize("case", GCC)
def test_moved_lines_are_no_change(case: Case) -> None:
    if case.name in ("lines-alone", "lines-not-by-debug", "lines-by-debug"):
        return  # wait(__LINE__): a number that only debug information explains
    require_nothing(moved(case, "gcc"))


@pytest.mark.slow
@pytest.mark.parametrize("case", CLANG)
def test_moved_lines_are_no_change_for_clang(case: Case) -> None:
    if case.name in ("lines-alone", "lines-not-by-debug", "lines-by-debug"):
        return
    require_nothing(moved(case, "clang"))


BOTH = [
    pytest.param(case, compiler, id=f"{case.name}-{compiler}")
    for case in cases()
    for compiler in case.compilers()
]


@pytest.mark.parametrize(("case", "compiler"), BOTH)
def test_an_object_does_not_differ_from_itself(case: Case, compiler: str) -> None:
    """Nor where one copy has a byte more behind its end, so that both are taken
    apart."""
    before, _ = built(case, compiler)
    require_nothing(diff_images(case.name, before, before, case.options()))
    longer = parse_image(before.data[:] + b"\0", "longer.o")
    require_nothing(diff_images(case.name, before, longer, case.options()))


class Linker:
    """Places what functions refer to: the same meaning at the same address in both
    builds. Reads objects in its own plain way."""

    def __init__(self) -> None:
        self._addresses: dict[object, int] = {}

    def linked(self, image: Image, name: str) -> bytes:
        """A function's bytes, relocated."""
        symbol = next(s for s in image.symbols if s.name == name and s.type == STT_FUNC)
        section = image.sections[symbol.section_index]
        code = bytearray(image.section_data(section))
        records, values = b"", [0]
        for record in image.relocations(section):
            values.append(self._address(image, section, record))
            records += record.offset.to_bytes(8, "little")
            records += (record.type | (len(values) - 1) << 32).to_bytes(8, "little")
            records += bytes(8)
        relocate(code, 0, records, values, [0] * len(values))
        return bytes(code[symbol.value : symbol.value + symbol.size])

    def _address(self, image: Image, section: Section, record: object) -> int:
        _offset, kind, index, addend = record  # type: ignore[misc]
        symbol = image.symbols[index]
        relative = kind in (R_X86_64_PC32, R_X86_64_PLT32)
        shift = -4 if relative else 0
        place = symbol.value + addend - shift
        key: object = symbol.name, addend
        if symbol.in_section:
            target = image.sections[symbol.section_index]
            if target.flags & SHF_MERGE:
                data = image.section_data(target)
                key = (
                    data[place:].split(b"\0")[0]
                    if target.flags & 0x20
                    else data[place : place + target.entry_size]
                )
            else:
                key = (
                    target.name.rstrip("0123456789"),
                    place - symbol.value * (symbol.name != ""),
                )
        at = self._addresses.setdefault(key, 0x10000 + 0x100 * len(self._addresses))
        return at + shift


@pytest.mark.parametrize("case", GCC)
def test_what_is_called_changed_links_to_other_bytes(case: Case) -> None:
    changes = differed(case, "gcc")
    before, after = built(case, "gcc")
    linker = Linker()
    for function in changes.functions:
        reason = function.reason
        if function.status is not Status.CHANGED or reason is None:
            continue
        if reason.kind in (Difference.CODE, Difference.REFERENCE):
            one = linker.linked(before, function.name)
            two = linker.linked(after, function.patched_name)
            assert one != two, function.name


def functions_of(image: Image) -> Iterator[tuple[str, int, int]]:
    """Name and file offsets of every function that takes no relocated bytes."""
    for symbol in image.symbols:
        if symbol.is_function and symbol.in_section and symbol.size:
            section = image.sections[symbol.section_index]
            start = section.offset + symbol.value
            yield symbol.name, start, start + symbol.size


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_other_byte_is_a_change(data: st.DataObject) -> None:
    """No comparison is so lenient that it overlooks a byte of code."""
    case = case_named(data.draw(st.sampled_from(["match-jump-tables", "match-clones"])))
    before, _ = built(case, "gcc")
    name, start, end = data.draw(st.sampled_from(list(functions_of(before))))
    at = data.draw(st.integers(start, end - 1))
    raw = bytearray(before.data[:])
    raw[at] ^= data.draw(st.integers(1, 255))
    changes = diff_images("object", before, parse_image(bytes(raw)), case.options())
    # A cold part is changed as a part of its function.
    assert name.removesuffix(".cold") in changes.changed_functions
    assert changes.verdict is not Verdict.UNCHANGED
