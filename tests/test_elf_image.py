"""What an Image says is what pyelftools, readelf and nm say of the same file."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import (
    NoteSection,
    SymbolTableSection,
)

from lpengine.elf import Image, Symbol, open_image, parse_image, parse_notes
from lpengine.elf.constants import (
    EM_X86_64,
    ET_CORE,
    ET_DYN,
    ET_EXEC,
    ET_REL,
    PN_XNUM,
    PT_LOAD,
    SHT_RELA,
    SHT_SYMTAB,
)
from lpengine.elf.layout import HEADER, PROGRAM_HEADER, SECTION_HEADER
from lpengine.errors import ElfError, NotFoundError

ONE_C = """
extern int outside(int);
static int counter[3] = {1, 2, 3};
static char zeroes[5000];
int common_one;
__thread int per_thread = 4;
__attribute__((weak)) int weak_one(void) { return zeroes[17]; }
__attribute__((visibility("hidden"))) int hidden_one(void) { return 3; }
static __attribute__((noinline)) int same(int x) { return counter[x] + outside(x); }
int one(int x) { return same(x) + weak_one() + per_thread; }
"""
TWO_C = """
extern int one(int);
static volatile int here = 5;
static __attribute__((noinline)) int same(int x) { return here * x; }
int outside(int x) { return same(x) + 1; }
void _start(void) { one(same(2)); for (;;); }
"""
LIBC = Path("/lib/x86_64-linux-gnu/libc.so.6")


def compile_to(out: Path, *arguments: str) -> Path:
    command = ["gcc", "-O1", "-fno-stack-protector", *arguments, "-o", str(out)]
    subprocess.run(command, check=True, cwd=out.parent)
    return out


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two sources as objects, one object, an executable and a library."""
    directory = tmp_path_factory.mktemp("built")
    (directory / "one.c").write_text(ONE_C)
    (directory / "two.c").write_text(TWO_C)
    one = compile_to(directory / "one.o", "-c", "-fPIC", "one.c")
    two = compile_to(directory / "two.o", "-c", "-fPIC", "two.c")
    objects = (one.name, two.name)
    both = compile_to(directory / "both.o", "-r", "-nostdlib", *objects)
    plain = ("-nostdlib", "-Wl,--build-id=sha1", *objects)
    return {
        "object": one,
        "both": both,
        "executable": compile_to(directory / "executable", "-no-pie", *plain),
        "library": compile_to(directory / "library.so", "-shared", *plain),
        "libc": LIBC,
        "python": Path(sys.executable).resolve(),
    }


@pytest.fixture(
    params=["object", "both", "executable", "library", "libc", "python"],
)
def path(request: pytest.FixtureRequest, built: dict[str, Path]) -> Path:
    return built[request.param]


@pytest.fixture
def image(path: Path) -> Image:
    return open_image(path)


@pytest.fixture
def oracle(path: Path) -> Iterator[ELFFile]:
    with path.open("rb") as file:
        yield ELFFile(file)


def readelf(option: str, path: Path) -> list[str]:
    output = subprocess.run(
        ["readelf", option, "-W", str(path)],
        check=True,
        capture_output=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )
    return output.stdout.decode().splitlines()


def raw(record: object, *names: str) -> tuple[int, ...]:
    """Fields of a pyelftools record; names of enum values do not matter here."""
    return tuple(record[name] for name in names)  # type: ignore[index]


def test_sections(image: Image, oracle: ELFFile) -> None:
    assert image.header.section_count == oracle.num_sections()
    ours = [
        (s.name, s.flags, s.address, s.offset, s.size, s.link, s.info, s.alignment)
        for s in image.sections
    ]
    names = ["flags", "addr", "offset", "size", "link", "info", "addralign"]
    theirs = [
        (s.name, *raw(s.header, *("sh_" + name for name in names)))
        for s in oracle.iter_sections()
    ]
    assert ours == theirs


def test_section_bytes(image: Image, oracle: ELFFile) -> None:
    for ours, theirs in zip(image.sections, oracle.iter_sections(), strict=True):
        assert image.section_data(ours) == theirs.data()
        first = image.section(ours.name)
        assert ours.name == "" or (first is not None and first.name == ours.name)
    assert image.section(".no-such-section") is None


def test_segments(image: Image, oracle: ELFFile) -> None:
    ours = [
        (s.flags, s.offset, s.virtual_address, s.file_size, s.memory_size, s.alignment)
        for s in image.segments
    ]
    names = ["p_flags", "p_offset", "p_vaddr", "p_filesz", "p_memsz", "p_align"]
    assert ours == [raw(each.header, *names) for each in oracle.iter_segments()]


def test_symbols(image: Image, oracle: ELFFile) -> None:
    tables = [s for s in oracle.iter_sections() if isinstance(s, SymbolTableSection)]
    for table in tables:
        section = image.section(table.name)
        assert section is not None
        ours = image.symbol_table(section)
        assert len(ours) == table.num_symbols()
        for symbol, theirs in zip(ours, table.iter_symbols(), strict=True):
            assert symbol.name == theirs.name
            assert symbol.value == theirs["st_value"]
            assert symbol.size == theirs["st_size"]
            assert symbol.is_local == (theirs["st_info"]["bind"] == "STB_LOCAL")
            assert symbol.is_undefined == (theirs["st_shndx"] == "SHN_UNDEF")
            assert symbol.is_absolute == (theirs["st_shndx"] == "SHN_ABS")
            if symbol.in_section:
                assert symbol.section_index == theirs["st_shndx"]


def test_symbols_have_readelfs_words(built: dict[str, Path]) -> None:
    """Type, binding and visibility, which pyelftools has as names only."""
    types = ["NOTYPE", "OBJECT", "FUNC", "SECTION", "FILE", "COMMON", "TLS"]
    bindings = ["LOCAL", "GLOBAL", "WEAK"]
    visibilities = ["DEFAULT", "INTERNAL", "HIDDEN", "PROTECTED"]
    rows = [line.split() for line in readelf("-s", built["object"]) if ": 0" in line]
    for row, symbol in zip(rows, open_image(built["object"]).symbols, strict=True):
        words = types[symbol.type], bindings[symbol.binding]
        assert [*words, visibilities[symbol.visibility]] == row[3:6]


def test_symbol_by_index_equals_symbol_in_order(image: Image) -> None:
    symbols = list(image.symbols)
    step = max(1, len(symbols) // 200)
    assert all(image.symbols[at] == symbols[at] for at in range(0, len(symbols), step))
    with pytest.raises(IndexError):
        image.symbols[len(symbols)]


def test_symbols_are_found_by_name(image: Image) -> None:
    by_name: dict[str, list[Symbol]] = {}
    for symbol in image.symbols:
        by_name.setdefault(symbol.name, []).append(symbol)
    names = sorted(by_name.keys() - {""})
    for name in names[:: max(1, len(names) // 200)]:
        assert list(image.symbols.named(name)) == by_name[name]
    assert image.symbols.named("no such symbol") == ()


def test_relocations(image: Image, oracle: ELFFile) -> None:
    for section in oracle.iter_sections():
        if not isinstance(section, RelocationSection):
            continue
        theirs = [
            raw(each.entry, "r_offset", "r_info_type", "r_info_sym", "r_addend")
            for each in section.iter_relocations()
        ]
        ours = image.section(section.name)
        assert ours is not None
        assert list(image.relocations(ours)) == theirs


def test_relocations_of_the_section_they_apply_to(built: dict[str, Path]) -> None:
    image = open_image(built["object"])
    text, table = image.section(".text"), image.section(".rela.text")
    assert text is not None
    assert table is not None
    found = image.relocations(text)
    assert found == image.relocations(table)
    assert "outside" in {image.symbols[each.symbol_index].name for each in found}
    comment = image.section(".comment")
    assert comment is not None
    assert image.relocations(comment) == ()


def test_notes(image: Image, oracle: ELFFile) -> None:
    theirs = [
        (section.name, note["n_name"], note["n_descdata"])
        for section in oracle.iter_sections()
        if isinstance(section, NoteSection)
        for note in section.iter_notes()
    ]
    ours = [(note.section, note.owner, note.description) for note in image.notes]
    assert ours == theirs


def test_build_id(image: Image, path: Path) -> None:
    lines = [line for line in readelf("-n", path) if "Build ID: " in line]
    assert image.build_id == (lines[0].split()[-1] if lines else "")


def test_notes_without_sections(built: dict[str, Path]) -> None:
    data = bytearray(built["library"].read_bytes())
    data[40:48] = bytes(8)
    data[60:64] = bytes(4)
    image = parse_image(data)
    assert image.sections == ()
    assert len(image.symbols) == 0
    assert image.symbols.named("one") == ()
    assert image.symbols.at(0) is None
    whole = open_image(built["library"])
    assert image.build_id == whole.build_id != ""
    assert {note.section for note in image.notes} == {""}


def test_header(built: dict[str, Path]) -> None:
    kinds = {"object": ET_REL, "executable": ET_EXEC, "library": ET_DYN}
    for name, kind in kinds.items():
        assert open_image(built[name]).header.type == kind
    start = open_image(built["executable"]).symbols.named("_start")[0]
    assert open_image(built["executable"]).header.entry == start.value


@pytest.mark.parametrize("name", ["executable", "library", "libc", "python"])
def test_memory_holds_the_sections(name: str, built: dict[str, Path]) -> None:
    image = open_image(built[name])
    for section in image.sections:
        thread_local = section.flags & 0x400
        if section.allocated and section.size and not thread_local:
            found = image.read(section.address, section.size)
            assert found == image.section_data(section)


def test_memory_size_and_its_end(built: dict[str, Path]) -> None:
    image = open_image(built["executable"])
    loaded = [each for each in image.segments if each.type == PT_LOAD]
    last = max(each.end for each in loaded)
    assert image.size_in_memory == last - min(e.virtual_address for e in loaded)
    assert len(image.read(last - 1, 1)) == 1
    for address, size in ((last, 1), (last - 1, 2), (0, 1), (last - 1, 1 << 62)):
        with pytest.raises(ElfError, match="no loaded segment"):
            image.read(address, size)
    assert image.read(0, 0) == b""
    assert open_image(built["object"]).size_in_memory == 0


def test_statics_are_qualified_by_their_file(built: dict[str, Path]) -> None:
    symbols = open_image(built["both"]).symbols
    assert [each.file for each in symbols.named("same")] == ["one.c", "two.c"]
    (first,) = symbols.named("one.c#same")
    (second,) = symbols.xen_named("two.c#same")
    assert (first.file, second.file) == ("one.c", "two.c")
    assert second.qualified_name == "two.c#same"


def test_built_in_lookup_wants_statics_qualified(built: dict[str, Path]) -> None:
    symbols = open_image(built["both"]).symbols
    assert symbols.xen_named("same") == ()
    assert [each.name for each in symbols.xen_named("one")] == ["one"]
    assert symbols.xen_named("one.c#one") == ()
    assert symbols.xen_named("one.c") == ()
    (undefined,) = open_image(built["object"]).symbols.named("outside")
    assert undefined.is_undefined
    assert open_image(built["object"]).symbols.xen_named("outside") == ()


def test_linker_made_locals_have_no_file(built: dict[str, Path]) -> None:
    """ld closes the last file's locals with an STT_FILE symbol of no name."""
    (dynamic,) = open_image(built["library"]).symbols.named("_DYNAMIC")
    assert dynamic.is_local
    assert (dynamic.file, dynamic.qualified_name) == ("", "_DYNAMIC")


def test_addresses_lead_to_functions(built: dict[str, Path]) -> None:
    symbols = open_image(built["executable"]).symbols
    functions = [each for each in symbols if each.is_function and each.size]
    assert len(functions) >= 6
    for function in functions:
        assert symbols.at(function.value) == (function, 0)
        middle = function.size // 2
        assert symbols.at(function.value + middle) == (function, middle)
    values = sorted({each.value for each in functions})
    for value, following in itertools.pairwise(values):
        assert symbols.next_after(value) == following


def test_questions_without_an_answer(built: dict[str, Path]) -> None:
    symbols = open_image(built["executable"]).symbols
    assert symbols.named("\ud800") == ()
    assert symbols.named("") == ()
    for address in (-1, 1 << 64):
        assert symbols.at(address) is None
        assert symbols.next_after(address) is None
    with pytest.raises(ElfError, match="symbol name of 65536 bytes"):
        symbols.named("x" * 65536)


def test_names_that_are_not_text(built: dict[str, Path]) -> None:
    data = built["object"].read_bytes().replace(b"weak_one", b"we\xff\xfe_\n12")
    symbols = parse_image(data).symbols
    assert "we\\xff\\xfe_\n12" in {each.name for each in symbols}


def test_more_sections_than_the_header_counts(tmp_path: Path) -> None:
    """gas writes the count into section 0, and the places into SHT_SYMTAB_SHNDX."""
    count = 65400
    lines = [f'.section .s{n},"a"\n.byte {n % 251}\nat{n}:' for n in range(count)]
    source = tmp_path / "many.s"
    source.write_text("\n".join(lines) + "\n.globl free\nfree = 7\n")
    subprocess.run(["as", "-o", str(tmp_path / "many.o"), str(source)], check=True)
    image = open_image(tmp_path / "many.o")
    assert image.header.section_count == len(image.sections) > count
    for number in (0, 65270, 65279, 65280, 65290, count - 1):
        (symbol,) = image.symbols.named(f"at{number}")
        assert symbol.in_section
        assert not symbol.is_absolute
        section = image.sections[symbol.section_index]
        assert section.name == f".s{number}"
        assert image.section_data(section) == bytes([number % 251])
    (free,) = image.symbols.named("free")
    assert free.is_absolute
    assert not free.in_section


def test_dynamic_symbols_of_a_stripped_file(
    built: dict[str, Path], tmp_path: Path
) -> None:
    stripped = tmp_path / "stripped.so"
    subprocess.run(
        ["strip", "-o", str(stripped), str(built["library"])], check=True, cwd=tmp_path
    )
    image = open_image(stripped)
    assert image.section(".symtab") is None
    assert image.symbols.named("one")
    assert image.symbols.named("same") == ()


def test_file_of_debug_information_only(built: dict[str, Path], tmp_path: Path) -> None:
    """Its sections and segments have sizes, but the bytes are elsewhere."""
    debug = tmp_path / "library.debug"
    subprocess.run(
        ["objcopy", "--only-keep-debug", str(built["library"]), str(debug)], check=True
    )
    image = open_image(debug)
    assert image.build_id == open_image(built["library"]).build_id
    assert image.symbols.named("two.c#same")


def test_core_dump_of_more_segments_than_the_header_counts() -> None:
    """The kernel then writes PN_XNUM, and the count into section 0 (elf(5))."""
    count = 70000
    table = HEADER.size + SECTION_HEADER.size
    data = bytearray(table + count * PROGRAM_HEADER.size + 1)
    ident = b"\x7fELF\2\1\1" + bytes(9)
    sizes = (HEADER.size, PROGRAM_HEADER.size, PN_XNUM, SECTION_HEADER.size, 0, 0)
    HEADER.pack_into(
        data, 0, ident, ET_CORE, EM_X86_64, 1, 0, table, HEADER.size, 0, *sizes
    )
    SECTION_HEADER.pack_into(data, HEADER.size, 0, 0, 0, 0, 0, 1, 0, count, 0, 0)
    for number in range(count):
        fields = (PT_LOAD, 6, len(data) - 1, number * 16, 0, 1, 16, 1)
        PROGRAM_HEADER.pack_into(data, table + number * PROGRAM_HEADER.size, *fields)
    data[-1] = 0xAB
    image = parse_image(data)
    assert image.header.type == ET_CORE
    assert len(image.segments) == count
    assert image.read(16 * (count - 1), 16) == b"\xab" + bytes(15)
    assert image.read(0, 16 * count) == (b"\xab" + bytes(15)) * count


def test_parse_notes() -> None:
    data = bytes.fromhex("04000000 03000000 03000000") + b"GNU\0abc\0"
    (note,) = parse_notes(data, section=".livepatch.depends")
    assert (note.owner, note.type, note.description) == ("GNU", 3, b"abc")
    assert note.section == ".livepatch.depends"
    assert len(parse_notes(data * 3)) == 3
    assert parse_notes(b"") == ()
    eight = bytes.fromhex("04000000 04000000 05000000") + b"GNU\0" + b"abcd" + bytes(4)
    assert [n.description for n in parse_notes(eight * 2, 8)] == [b"abcd"] * 2


@pytest.mark.parametrize("size", [1, 11, 12, 15, 16, 18])
def test_cut_notes(size: int) -> None:
    data = bytes.fromhex("04000000 03000000 03000000") + b"GNU\0abc\0"
    with pytest.raises(ElfError, match=r"^payload: note.* \(at offset 0x40\)$"):
        parse_notes(data[:size], path="payload", offset=0x40)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere: no such file"):
        open_image(tmp_path / "nowhere")
    with pytest.raises(ElfError, match="not a regular file"):
        open_image(tmp_path)
    with pytest.raises(ElfError, match="not a regular file"):
        open_image("/dev/zero")
    (tmp_path / "empty").touch()
    with pytest.raises(ElfError, match="not an ELF file"):
        open_image(tmp_path / "empty")


def test_a_large_file_is_mapped(
    built: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = open_image(built["library"])
    monkeypatch.setattr("lpengine.elf.image._MAPPED_FROM", 1)
    mapped = open_image(built["library"])
    assert not isinstance(mapped.data, bytes)
    assert mapped.sections == read.sections
    assert list(mapped.symbols) == list(read.symbols)
    assert mapped.symbols.named("one") == read.symbols.named("one")
    assert mapped.notes == read.notes
    rela = next(s for s in read.sections if s.type == SHT_RELA)
    assert mapped.relocations(rela) == read.relocations(rela)
    table = next(s for s in read.sections if s.type == SHT_SYMTAB)
    assert mapped.section_data(table) == read.section_data(table)
