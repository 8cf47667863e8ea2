"""Debug information as it is read here, against pyelftools and the compiler."""

import io
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from lpengine.core.dwarf import dwarf_entries
from lpengine.core.dwarf_lines import dwarf_lines
from lpengine.diff.layouts import types_of
from lpengine.elf import Image, parse_image
from lpengine.elf.dwarf import BtfInfo, DebugInfo, LineTable, Tag
from lpengine.errors import InputError

SOURCE = """
struct inner { char tag; long wide; };
struct outer {
	int low : 3, high : 7;
	struct inner inner;
	union { int number; void *pointer; };
	short table[3][2];
	const volatile char *text;
};
enum kind { FIRST, SECOND = 7, THIRD = -1 };
typedef struct { int nameless; } named_t;

int use(struct outer *outer, enum kind kind, named_t *named)
{
	if (kind == SECOND)
		return outer->number;
	return outer->low + named->nameless;
}

long other(struct inner *inner)
{
	return inner->wide;
}
"""
KINDS = [
    pytest.param((compiler, *flags), id=f"{compiler}{''.join(flags)}")
    for compiler in ("gcc", "clang")
    for flags in (("-gdwarf-5",), ("-gdwarf-4",), ("-gdwarf-2",), ("-g", "-gz=zlib"))
]


def compile_with(command: tuple[str, ...], directory: Path) -> bytes:
    output = directory / "object.o"
    subprocess.run(
        [*command, "-O2", "-ffunction-sections", "-x", "c", "-c", "-o", output, "-"],
        input=SOURCE.encode(),
        check=True,
        timeout=60,
    )
    return output.read_bytes()


@pytest.fixture(params=KINDS)
def raw(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    return compile_with(request.param, tmp_path)


def theirs(raw: bytes) -> ELFFile:
    return ELFFile(io.BytesIO(raw))


def test_entries_are_those_of_pyelftools(raw: bytes) -> None:
    info = DebugInfo(parse_image(raw))
    found = {entry.offset: entry for entry in info.entries}
    seen = 0
    for unit in theirs(raw).get_dwarf_info().iter_CUs():
        for die in unit.iter_DIEs():
            entry = found.get(die.offset)
            if entry is None:
                continue
            seen += 1
            assert die.tag.lower().startswith("dw_tag_")
            if "DW_AT_name" in die.attributes:
                name = die.attributes["DW_AT_name"].value.decode()
                assert info.name(entry) == name
            if "DW_AT_type" in die.attributes:
                assert entry.type == die.get_DIE_from_attribute("DW_AT_type").offset
            parent = die.get_parent()
            if parent is not None and parent.offset in found:
                assert info.entries[entry.parent - 1].offset == parent.offset
    assert seen == len(found) > 30


def test_layouts_are_the_compilers(raw: bytes) -> None:
    info = DebugInfo(parse_image(raw))
    named = {info.name(entry): entry for entry in info.composites}
    outer = [
        child for child in info.children(named["outer"]) if child.tag == Tag.MEMBER
    ]
    assert named["outer"].size == 56
    assert [info.name(member) for member in outer] == [
        *("low", "high", "inner", ""),
        *("table", "text"),
    ]
    assert [info.size_of(member.type) for member in outer] == [4, 4, 16, 8, 12, 8]
    assert [member.place for member in outer[2:]] == [64, 192, 256, 384]
    values = {
        info.name(entry): entry.value
        for entry in info.entries
        if entry.tag == Tag.ENUMERATOR
    }
    assert values == {"FIRST": 0, "SECOND": 7, "THIRD": -1}


def rows_of(raw: bytes) -> Iterator[tuple[int, int, int]]:
    """Section, offset and line of every row of pyelftools."""
    elf = theirs(raw)
    places = {}
    relocations = elf.get_section_by_name(".rela.debug_line")
    symbols = elf.get_section(relocations["sh_link"])
    dwarf = elf.get_dwarf_info()
    unit = next(dwarf.iter_CUs())
    for record in relocations.iter_relocations():
        symbol = symbols.get_symbol(record["r_info_sym"])
        places[record["r_offset"]] = symbol["st_shndx"]
    bases = [places[offset] for offset in sorted(places) if places[offset] != 0]
    sections = [base for base in bases if elf.get_section(base)["sh_flags"] & 4]
    current = iter(sections)
    section = next(current)
    for each in dwarf.line_program_for_CU(unit).get_entries():
        if each.state is None:
            continue
        if each.state.end_sequence:
            section = next(current, 0)
            continue
        yield section, each.state.address, each.state.line


def test_lines_are_those_of_pyelftools(raw: bytes) -> None:
    table = LineTable(parse_image(raw))
    last: dict[tuple[int, int], int] = {}
    for section, offset, line in rows_of(raw):
        last[section, offset] = line
    assert len(last) > 5
    for (section, offset), line in last.items():
        found = table.at(section, offset)
        assert found
        assert found[1] == line
    assert table.at(0, 0) is None


def test_btf_says_the_same_as_dwarf(tmp_path: Path) -> None:
    image = parse_image(compile_with(("gcc", "-gbtf"), tmp_path))
    section = image.section(".BTF")
    assert section
    raw = image.section_data(section)
    btf = types_of(BtfInfo(raw))
    dwarf = types_of(DebugInfo(parse_image(compile_with(("gcc", "-g"), tmp_path))))
    assert btf.enumerators == dwarf.enumerators
    assert set(btf.layouts) == set(dwarf.layouts)
    for name, layout in btf.layouts.items():
        other = dwarf.layouts[name]
        assert layout.size == other.size
        assert [m.start for m in layout.members] == [m.start for m in other.members]
        assert [m.bits for m in layout.members] == [m.bits for m in other.members]
    shapes = {name: each.shape for name, each in btf.prototypes.items()}
    assert shapes == {name: each.shape for name, each in dwarf.prototypes.items()}


@given(st.data())
def test_damaged_btf_is_an_input_error(data: st.DataObject) -> None:
    raw = bytearray(btf_sample())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InputError):
        types_of(BtfInfo(bytes(raw[: data.draw(st.integers(0, len(raw)))])))


@cache
def btf_sample() -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        image = parse_image(compile_with(("gcc", "-gbtf"), Path(scratch)))
    section = image.section(".BTF")
    assert section
    return image.section_data(section)


def test_an_object_without_has_none(tmp_path: Path) -> None:
    image = parse_image(compile_with(("gcc",), tmp_path))
    assert not DebugInfo(image)
    assert not LineTable(image)


@given(st.data())
def test_damage_is_an_input_error(data: st.DataObject) -> None:
    raw = bytearray(sample())
    image = Image(bytes(raw))
    name = data.draw(st.sampled_from([".debug_info", ".debug_abbrev", ".debug_line"]))
    section = image.section(name)
    assert section
    for _ in range(data.draw(st.integers(1, 4))):
        at = section.offset + data.draw(st.integers(0, section.size - 1))
        raw[at] = data.draw(st.integers(0, 255))
    damaged = Image(bytes(raw))
    for kind in (DebugInfo, LineTable):
        try:
            found = kind(damaged)
        except InputError:
            continue
        if isinstance(found, DebugInfo):
            for entry in found.entries:
                found.name(entry)
                found.size_of(entry.type)
                found.children(entry)
        else:
            found.at(1, 0)


@cache
def sample() -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        return compile_with(("gcc", "-g"), Path(scratch))


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_bytes_end(info: bytes, abbreviations: bytes) -> None:
    with suppress(InputError):
        assert len(dwarf_entries(info, abbreviations, b"")) <= len(info)
    with suppress(InputError):
        dwarf_lines(info)
