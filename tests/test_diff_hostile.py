"""Objects that lie: one clear line, in bounded time, and never a traceback."""

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.cli import run
from lpengine.diff.differ import diff_images
from lpengine.elf import Image, ObjectWriter, parse_image
from lpengine.elf.constants import (
    R_X86_64_PC32,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_GROUP,
    SHT_NOBITS,
    SHT_PROGBITS,
    STB_LOCAL,
    STT_FUNC,
    STT_OBJECT,
    STT_SECTION,
)
from lpengine.errors import InputError
from tests.diff_cases import built, case_named

MACHINE, TYPE, CLASS = 18, 16, 4
SECONDS = 20


def sample() -> tuple[bytes, bytes]:
    before, after = built(case_named("xen-exceptions"), "gcc")
    return before.data[:], after.data[:]


def cut_off(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def empty(raw: bytes) -> bytes:
    return b""


def text(raw: bytes) -> bytes:
    return b"int main(void) { return 0; }\n"


def other_machine(raw: bytes) -> bytes:
    return raw[:MACHINE] + (183).to_bytes(2, "little") + raw[MACHINE + 2 :]


def linked(raw: bytes) -> bytes:
    return raw[:TYPE] + (3).to_bytes(2, "little") + raw[TYPE + 2 :]


def relocated_outside(raw: bytes) -> bytes:
    image = parse_image(raw)
    table = next(s for s in image.sections if s.name == ".rela.ex_table")
    far = (1 << 40).to_bytes(8, "little")
    return raw[: table.offset] + far + raw[table.offset + 8 :]


def relocated_to_nothing(raw: bytes) -> bytes:
    image = parse_image(raw)
    table = next(s for s in image.sections if s.name == ".rela.ex_table")
    at = table.offset + 12
    return raw[:at] + (1 << 24).to_bytes(4, "little") + raw[at + 4 :]


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (cut_off, 13),
        (empty, 10),
        (text, 10),
        (other_machine, 13),
        (linked, 13),
        (relocated_outside, 13),
        (relocated_to_nothing, 13),
    ],
)
@pytest.mark.parametrize("side", ["original", "patched"])
def test_one_line_says_what_is_wrong(
    damage: Callable[[bytes], bytes],
    code: int,
    side: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, after = sample()
    files = {"original": before, "patched": after}
    files[side] = damage(files[side])
    for name, raw in files.items():
        (tmp_path / f"{name}.o").write_bytes(raw)
    command = ["build", "objects", "--original", str(tmp_path / "original.o")]
    assert run([*command, "--patched", str(tmp_path / "patched.o")]) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    if code == 13:
        assert len(said.err.splitlines()) == 1
        assert f"{side}.o" in said.err


def in_time(old: bytes, new: bytes) -> None:
    """Compares; whatever comes of it comes soon."""
    start = time.process_time()
    with suppress(InputError):
        diff_images("object", Image(old), Image(new))
    assert time.process_time() - start < SECONDS


def of_many(count: int, name: str, flags: int, data: bytes) -> bytes:
    writer = ObjectWriter()
    for number in range(count):
        section = writer.add_section(f"{name}{number}", SHT_PROGBITS, flags, data)
        writer.add_symbol(
            f"f{number}",
            size=len(data),
            section=section,
            type=STT_FUNC if flags & SHF_EXECINSTR else STT_OBJECT,
        )
    return writer.finish()


@pytest.mark.slow
@pytest.mark.parametrize("flags", [SHF_ALLOC | SHF_EXECINSTR, SHF_ALLOC | SHF_WRITE])
def test_very_many_sections(flags: int) -> None:
    """The most that the format has without extended numbers, half of them changed."""
    in_time(
        of_many(32000, ".text.f", flags, b"\x90" * 8),
        of_many(32000, ".text.f", flags, b"\x90" * 7 + b"\xc3"),
    )


def test_a_hundred_thousand_sections() -> None:
    """Headers alone, all at once."""
    before, _ = sample()
    image = parse_image(before)
    table = image.header.section_header_offset
    count = 100_000
    # Section 0 has the count where it does not fit (gABI, e_shnum).
    first = bytearray(before[table : table + 64])
    first[32:40] = count.to_bytes(8, "little")
    rest = before[table + 64 : table + 128] * (count - 1)
    names = image.header.section_name_index
    headers = bytearray(bytes(first) + rest)
    own = before[table + 64 * names : table + 64 * names + 64]
    headers[64 * names : 64 * names + 64] = own
    raw = bytearray(before[:table] + bytes(headers))
    raw[60:62] = bytes(2)
    in_time(before, bytes(raw))
    in_time(bytes(raw), bytes(raw) + b"\0")


def test_a_chain_of_static_variables() -> None:
    """Each leads to the next, and none has a name of its own."""

    def chain(count: int, first: int) -> bytes:
        writer = ObjectWriter()
        handles = []
        for number in range(count):
            flags = SHF_ALLOC | SHF_WRITE
            section = writer.add_section(f".data.v.{number}", 1, flags, bytes(8))
            handles.append(
                (
                    section,
                    writer.add_symbol(
                        f"v.{number + first}",
                        size=8,
                        section=section,
                        binding=STB_LOCAL,
                        type=STT_OBJECT,
                    ),
                )
            )
        for (section, _), (_, following) in pairwise(handles):
            writer.add_relocation(section, 0, 1, following)
        return writer.finish()

    in_time(chain(2000, 0), chain(2000, 7))


def test_constants_that_lead_to_each_other() -> None:
    def ring(last: bytes) -> bytes:
        writer = ObjectWriter()
        sections = [
            writer.add_section(f".rodata.c.{n}", 1, SHF_ALLOC, last * 8)
            for n in range(200)
        ]
        symbols = [
            writer.add_symbol(
                f"c.{n}", size=8, section=s, binding=STB_LOCAL, type=STT_OBJECT
            )
            for n, s in enumerate(sections)
        ]
        for n, section in enumerate(sections):
            writer.add_relocation(section, 0, 1, symbols[(n + 1) % len(symbols)])
        code = writer.add_section(
            ".text.f", 1, SHF_ALLOC | SHF_EXECINSTR, bytes.fromhex("488d0500000000c3")
        )
        writer.add_symbol("f", size=8, section=code, type=STT_FUNC)
        writer.add_relocation(code, 3, R_X86_64_PC32, symbols[0], -4)
        return writer.finish()

    in_time(ring(b"\0"), ring(b"\1"))
    in_time(ring(b"\0"), ring(b"\0") + b"\0")


READ = bytes.fromhex("488d0500000000c3")  # lea rax, [rip + 0]; ret


def nameless(leads: dict[int, list[int]], data: list[bytes], reads: list[int]) -> Image:
    """Constants without names, of which each may lead to others, and one function
    for each of those that are read: f0, f1, ..."""
    writer = ObjectWriter()
    sections = [writer.add_section(".rodata", 1, SHF_ALLOC, each) for each in data]
    symbols = [
        writer.add_symbol("", section=s, binding=STB_LOCAL, type=STT_SECTION)
        for s in sections
    ]
    for one, others in leads.items():
        for place, other in enumerate(others):
            writer.add_relocation(sections[one], 8 * place, 1, symbols[other])
    for number, read in enumerate(reads):
        name, flags = f"f{number}", SHF_ALLOC | SHF_EXECINSTR
        code = writer.add_section(f".text.{name}", 1, flags, READ)
        writer.add_symbol(name, size=len(READ), section=code, type=STT_FUNC)
        writer.add_relocation(code, 3, R_X86_64_PC32, symbols[read], -4)
    return Image(writer.finish())


def test_a_long_way_to_the_constant_that_changed() -> None:
    count = 2000
    leads = {number: [number + 1] for number in range(count - 1)}
    data = [bytes(8)] * (count - 1)
    before = nameless(leads, [*data, b"\0" * 8], [0])
    after = nameless(leads, [*data, b"\1" * 8], [0])
    assert diff_images("object", before, after).changed_functions == ("f0",)


def test_a_constant_that_leads_to_a_changed_one_by_way_of_its_reader() -> None:
    """What was found the same while its own reader was looked at has to be looked at
    again, when that turns out to be changed by something else."""
    leads = {0: [1, 2], 1: [0]}
    before = nameless(leads, [bytes(16), bytes(8), b"\0" * 8], [0, 1])
    after = nameless(leads, [bytes(16), bytes(8), b"\1" * 8], [0, 1])
    assert diff_images("object", before, after).changed_functions == ("f0", "f1")


def test_much_code_of_few_kinds() -> None:
    def code(pattern: bytes) -> bytes:
        writer = ObjectWriter()
        data = (pattern * 40000)[:100_000] + b"\xc3"
        section = writer.add_section(".text.f", 1, SHF_ALLOC | SHF_EXECINSTR, data)
        writer.add_symbol("f", size=len(data), section=section, type=STT_FUNC)
        return writer.finish()

    in_time(code(b"\x90\x50\x58"), code(b"\x58\x90\x90\x50"))
    in_time(code(b"\x06"), code(b"\x06\x07"))


def test_groups_that_hold_themselves_and_huge_zeroes() -> None:
    before, _ = sample()
    image = parse_image(before)
    writer = ObjectWriter()
    writer.add_section(".bss.huge", SHT_NOBITS, SHF_ALLOC | SHF_WRITE, size=1 << 60)
    in_time(before, writer.finish())
    raw = bytearray(before)
    for index, section in enumerate(image.sections):
        if section.name == ".comment":
            at = image.header.section_header_offset + 64 * index
            raw[at + 4 : at + 8] = int(SHT_GROUP).to_bytes(4, "little")
            link = next(s.index for s in image.sections if s.name == ".symtab")
            raw[at + 40 : at + 44] = link.to_bytes(4, "little")
            raw[section.offset : section.offset + 4] = index.to_bytes(4, "little")
    in_time(before, bytes(raw))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_anywhere(data: st.DataObject) -> None:
    before, after = sample()
    raw = bytearray(after)
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    in_time(before, bytes(raw))
    in_time(bytes(raw), after)
