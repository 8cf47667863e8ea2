"""Code is the same whatever lengths its jumps have, and only then."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.elf import Relocation, open_image
from lpengine.elf.constants import R_X86_64_32S, R_X86_64_PC32, R_X86_64_PLT32
from lpengine.patch.proof import LinkedFile, prove
from lpengine.patch.relaxed import Field, align

# jmp elsewhere; mov edi, symbol; je elsewhere; ret
LONG = bytes.fromhex("e900000000 48c7c700000000 0f8400000000 c3")
TAIL = Relocation(1, R_X86_64_PLT32, 1, -4)
LOAD = Relocation(8, R_X86_64_32S, 2, 0)
BRANCH = Relocation(14, R_X86_64_PC32, 1, -4)
RECORDS = (TAIL, LOAD, BRANCH)
# The same, with jumps 0x20 and 0x19 bytes ahead, and the symbol's address filled in.
SHORT = bytes.fromhex("eb20 48c7c711223344 7419 c3")


def test_short_jumps_lead_where_long_ones_do() -> None:
    assert align(LONG, SHORT, RECORDS, 0) == (
        Field(TAIL, 1, 0x22),
        Field(LOAD, 5),
        Field(BRANCH, 10, 0x24),
    )


def test_what_comes_behind_the_function_does_not_count() -> None:
    assert align(LONG, SHORT + b"\x90" * 7, RECORDS, 0) is not None


def test_fields_count_from_the_start_of_the_function() -> None:
    moved = tuple(each._replace(offset=each.offset + 0x40) for each in RECORDS)
    found = align(LONG, SHORT, moved, 0x40)
    assert found is not None
    assert [each.at for each in found] == [1, 5, 10]


@pytest.mark.parametrize(
    "other",
    [
        "eb20 48c7c611223344 7419 c3",  # another register
        "eb20 48c7c711223344 7519 c3",  # another condition
        "e820000000 48c7c711223344 7419 c3",  # a call
        "7420 48c7c711223344 7419 c3",  # a conditional jump
        "eb20 48c7c711223344 7419 90",  # another end
        "eb20 90 48c7c711223344 7419 c3",  # one instruction more
        "eb20 48c7c711223344",  # cut off
        "",
    ],
)
def test_other_code_is_not_the_same(other: str) -> None:
    assert align(LONG, bytes.fromhex(other), RECORDS, 0) is None


def test_jumps_within_have_to_lead_to_the_same_instruction() -> None:
    ours = bytes.fromhex("7406 e900000000 90 90 c3")
    record = Relocation(3, R_X86_64_PLT32, 1, -4)
    same, other = (bytes.fromhex(f"74{to} eb10 90 90 c3") for to in ("03", "02"))
    assert align(ours, same, (record,), 0) is not None
    assert align(ours, other, (record,), 0) is None


@given(st.binary(max_size=64))
def test_code_is_always_the_same_as_itself(code: bytes) -> None:
    assert align(code, code, (), 0) == ()


@given(st.binary(max_size=48), st.binary(max_size=48))
def test_whatever_is_compared_there_is_an_answer(ours: bytes, theirs: bytes) -> None:
    records = (Relocation(3, R_X86_64_PC32, 0, -4),)
    align(ours, theirs, records, 0)


SOURCE = """\
static int __attribute__((noinline, used)) near(int x) { return x * 7 + 1; }
int chosen(int x)
{
	if (x > 5)
		return near(x + 1);
	return x * 3;
}
int last(int x)
{
	return near(x ^ 3);
}
"""


def test_functions_of_one_section_prove_those_with_a_section_each(
    tmp_path: Path,
) -> None:
    """The assembler shortens the jump to near() in one and not in the other."""
    (tmp_path / "a.c").write_text(SOURCE)
    objects = {}
    for name, flags in (("one", []), ("each", ["-ffunction-sections"])):
        objects[name] = tmp_path / f"{name}.o"
        argv = ["gcc", "-O2", "-fno-pic", *flags, "-c", tmp_path / "a.c"]
        subprocess.run([*argv, "-o", objects[name]], check=True)
    linked = tmp_path / "linked"
    argv = ["ld", "-e", "chosen", "-o", linked, objects["one"]]
    subprocess.run(argv, check=True)
    each = open_image(objects["each"])
    proof = prove("a.o", each, LinkedFile(open_image(linked)))
    assert proof.differences == ()
    assert len(proof.functions) == 3
    sizes = [
        next(s.size for s in open_image(path).symbols if s.name == "last")
        for path in objects.values()
    ]
    assert sizes[0] < sizes[1]
