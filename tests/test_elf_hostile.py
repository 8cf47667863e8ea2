"""Damaged and hostile files end in one ElfError, in bounded memory and time."""

import importlib.util
import random
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.elf import Image, parse_image
from lpengine.elf.constants import (
    SHF_LINK_ORDER,
    SHT_DYNSYM,
    SHT_NOTE,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
)
from lpengine.elf.layout import (
    HEADER,
    NOTE_HEADER,
    RELA,
    SECTION_HEADER,
    SYMBOL,
    decode_header,
    decode_program_header,
    decode_rela,
    decode_section_header,
    decode_symbol,
)
from lpengine.errors import ElfError

MEGABYTE = 1 << 20


def load_fuzzer() -> ModuleType:
    path = Path(__file__).parent.parent / "bench" / "fuzz_elf.py"
    specification = importlib.util.spec_from_file_location("fuzz_elf", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["fuzz_elf"] = module
    specification.loader.exec_module(module)
    return module


fuzzer = load_fuzzer()
SEED: bytes = fuzzer.seed_object()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    found: list[bytes] = fuzzer.seeds(tmp_path_factory.mktemp("seeds"))
    return found


def errors_of(data: bytes) -> list[ElfError]:
    """What reading everything in the file ends in; each error is one clear line."""
    errors: list[ElfError] = fuzzer.exercise(data)
    for error in errors:
        assert error.message.startswith("fuzzed: ")
        assert "\n" not in error.message
        assert f"(at offset {error.offset:#x})" in error.message
    return errors


def put(data: bytes, offset: int, kind: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into("<" + kind, changed, offset, value)
    return bytes(changed)


def header_of(data: bytes, name: str) -> int:
    """The offset of a section's header."""
    image = parse_image(data)
    section = image.section(name)
    assert section is not None
    return image.header.section_header_offset + section.index * SECTION_HEADER.size


def test_undamaged_seeds_are_read_whole(corpus: list[bytes]) -> None:
    no_entry = "no loaded segment holds 1 bytes"
    for data in corpus:
        assert all(no_entry in error.message for error in errors_of(data))


def test_truncated_at_every_offset(corpus: list[bytes]) -> None:
    for data in corpus:
        for size in range(len(data)):
            errors = errors_of(data[:size])
            assert errors or size >= parse_image(data).header.program_header_offset


def test_truncated_object_is_refused_at_every_offset() -> None:
    """Its section headers stand at the end, so that no cut goes unnoticed."""
    for size in range(len(SEED)):
        with pytest.raises(ElfError):
            parse_image(SEED[:size])


@given(st.integers(0, 4), st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
def test_random_bytes(number: int, changes: list[tuple[int, int]]) -> None:
    data = bytearray(CORPUS[number])
    for place, value in changes:
        data[place % len(data)] = value
    errors_of(bytes(data))


@given(st.binary(max_size=400))
def test_anything_behind_a_good_ident(data: bytes) -> None:
    errors_of(SEED[:20] + data)


@given(st.randoms(use_true_random=False))
def test_fuzzers_damage(chance: random.Random) -> None:
    errors_of(fuzzer.damage(chance.choice(CORPUS), chance))


def make_corpus() -> list[bytes]:
    """hypothesis may not use fixtures of a function's scope."""
    linked = fuzzer.without_sections(SEED)
    return [SEED, linked, SEED + bytes(64), SEED[:64] + SEED, SEED * 2]


CORPUS = make_corpus()


@pytest.mark.parametrize(
    ("offset", "kind", "value", "words"),
    [
        (0, "B", 0x7E, "not an ELF file"),
        (4, "B", 1, "32-bit ELF file, a 64-bit x86-64 one is needed"),
        (5, "B", 2, "not little endian"),
        (6, "B", 0, "ELF version 0"),
        (18, "H", 183, "made for AARCH64, x86-64 is needed"),
        (18, "H", 0x1234, "made for machine 4660, x86-64 is needed"),
        (32, "Q", 8, ""),
        (40, "Q", 8, "section headers overlap the ELF header"),
        (40, "Q", (1 << 64) - 1, "section header ends behind the file"),
        (40, "Q", 0, "sections but no section table"),
        (52, "H", 63, "ELF header of 63 bytes"),
        (56, "H", 0x7FFF, "program headers"),
        (58, "H", 63, "section headers of 63 bytes"),
        (60, "H", 0xFEFF, "65279 section headers do not fit"),
        (62, "H", 100, "section names in section 100"),
        (62, "H", 1, "not in a string table"),
    ],
)
def test_header_fields(offset: int, kind: str, value: int, words: str) -> None:
    errors = errors_of(put(SEED, offset, kind, value))
    assert not words or words in errors[0].message


def test_billions_of_sections() -> None:
    """e_shnum 0 moves the count into 64 bits of section 0."""
    first = parse_image(SEED).header.section_header_offset
    for count in (1 << 31, 1 << 40, (1 << 64) - 1, 100):
        data = put(put(SEED, 60, "H", 0), first + 32, "Q", count)
        peak, errors = peak_of(errors_of, data)
        assert f"{count} section headers do not fit" in errors[0].message
        assert peak < 100_000


def test_billions_of_segments(corpus: list[bytes]) -> None:
    linked = corpus[1]
    first = parse_image(linked).header.section_header_offset
    data = put(put(linked, 56, "H", 0xFFFF), first + 44, "I", (1 << 32) - 1)
    peak, errors = peak_of(errors_of, data)
    assert "4294967295 program headers do not fit" in errors[0].message
    assert peak < 100_000


def test_billions_of_bytes_of_zeroes() -> None:
    data = put(SEED, header_of(SEED, ".bss") + 32, "Q", 1 << 60)
    image = parse_image(data)
    bss = image.section(".bss")
    assert bss is not None
    with pytest.raises(ElfError, match="0x1000000000000000 bytes of zeroes"):
        image.section_data(bss)


def test_billions_of_zeroes_in_memory(corpus: list[bytes]) -> None:
    linked = corpus[1]
    table = parse_image(linked).header.program_header_offset
    image = parse_image(put(linked, table + 40, "Q", 1 << 60))
    start = image.segments[0].virtual_address
    with pytest.raises(ElfError):
        image.read(start, 1 << 59)


@pytest.mark.parametrize("size", [1 << 32, 1 << 63, (1 << 64) - 1, 24 * 10**9])
@pytest.mark.parametrize("name", [".symtab", ".strtab", ".rela.text", ".shstrtab"])
def test_tables_of_billions(name: str, size: int) -> None:
    peak, errors = peak_of(errors_of, put(SEED, header_of(SEED, name) + 32, "Q", size))
    assert len(errors) == 1
    assert peak < 100_000


def test_overlapping_headers(corpus: list[bytes]) -> None:
    linked = corpus[1]
    image = parse_image(linked)
    table = image.header.section_header_offset
    both = put(linked, 32, "Q", table + 8)
    assert "section headers and program headers overlap" in errors_of(both)[0].message
    inside = put(linked, 32, "Q", 60)
    assert "program headers overlap the ELF header" in errors_of(inside)[0].message
    text = header_of(linked, ".text")
    for offset, what in ((0, "ELF header"), (63, "ELF header"), (table, "section hea")):
        errors = errors_of(put(linked, text + 24, "Q", offset))
        assert f"section overlaps the {what}" in errors[0].message


LINK, INFO, TYPE, FLAGS, ENTRY_SIZE = 40, 44, 4, 8, 56


@pytest.mark.parametrize(
    ("name", "field", "value", "words"),
    [
        (".symtab", LINK, 0xFFFFFFFF, "link to section 4294967295"),
        (".symtab", LINK, 9, "link to section 9 of type 2"),  # itself
        (".symtab", LINK, 1, "link to section 1 of type 1"),
        (".symtab", INFO, 100, "100 local symbols in a smaller table"),
        (".symtab", ENTRY_SIZE, 0, "table entries of 0 bytes, not 24"),
        (".symtab", ENTRY_SIZE, 1 << 63, "table entries of"),
        (".rela.text", LINK, 7, "link to section 7 of type 4"),  # itself
        (".rela.text", LINK, 10, "link to section 10 of type 3"),
        (".rela.text", LINK, 1 << 31, "link to section 2147483648"),
        (".rela.text", INFO, 1 << 31, "info names section 2147483648"),
        (".rela.text", ENTRY_SIZE, 16, "table entries of 16 bytes, not 24"),
        (".text", FLAGS, SHF_LINK_ORDER, ""),
    ],
)
def test_links(name: str, field: int, value: int, words: str) -> None:
    """Also those that lead back to themselves: no link is followed in a chain."""
    names = [each.name for each in parse_image(SEED).sections]
    assert (names[7], names[9], names[10]) == (".rela.text", ".symtab", ".strtab")
    kind = "I" if field in (LINK, INFO) else "Q"
    errors = errors_of(put(SEED, header_of(SEED, name) + field, kind, value))
    assert not words or words in errors[0].message


def test_symbol_tables_that_link_each_other() -> None:
    table = parse_image(SEED).section(".symtab")
    assert table is not None
    strings = header_of(SEED, ".strtab")
    data = put(SEED, strings + TYPE, "I", SHT_DYNSYM)
    data = put(data, strings + LINK, "I", table.index)
    assert "link to section 10 of type 11" in errors_of(data)[0].message


def test_table_of_half_an_entry() -> None:
    data = put(SEED, header_of(SEED, ".symtab") + 32, "Q", 25)
    assert "not made of 24-byte entries" in errors_of(data)[0].message


def test_relocations_without_addends() -> None:
    data = put(SEED, header_of(SEED, ".rela.text") + TYPE, "I", SHT_REL)
    image = parse_image(data)
    table = image.section(".rela.text")
    assert table is not None
    with pytest.raises(ElfError, match="SHT_REL"):
        image.relocations(table)


def test_relocation_for_no_symbol() -> None:
    image = parse_image(SEED)
    table = image.section(".rela.text")
    assert table is not None
    image = parse_image(put(SEED, table.offset + 12, "I", 0xFFFFFFFF))
    with pytest.raises(ElfError, match="symbol 4294967295 of a table of"):
        image.relocations(table)


def test_names_without_an_end() -> None:
    image = parse_image(SEED)
    for name in (".strtab", ".shstrtab"):
        section = image.section(name)
        assert section is not None
        data = put(SEED, section.offset + section.size - 1, "B", 0x41)
        assert "does not end in NUL" in errors_of(data)[0].message


def test_symbol_name_outside_the_table() -> None:
    table = parse_image(SEED).section(".symtab")
    assert table is not None
    image = parse_image(put(SEED, table.offset + 24, "I", 0xFFFFFFF0))
    with pytest.raises(ElfError, match="0xfffffff0"):
        list(image.symbols)
    with pytest.raises(ElfError, match="0xfffffff0"):
        image.symbols.named("_start")


# Files that are as large as they claim, and made to cost more than they should.


def file_of(sections: list[tuple[int, int, int, int, bytes]]) -> bytes:
    """Sections as (name, type, link, entry size, bytes); the last one holds names."""
    body = bytearray(HEADER.size)
    table = bytearray(SECTION_HEADER.size)
    for name, type_, link, entry_size, data in sections:
        table += SECTION_HEADER.pack(
            name, type_, 0, 0, len(body), len(data), link, 0, 1, entry_size
        )
        body += data
    count = len(sections) + 1
    sizes = (HEADER.size, 0, 0, SECTION_HEADER.size, count, count - 1)
    HEADER.pack_into(body, 0, SEED[:16], 1, 62, 1, 0, 0, len(body), 0, *sizes)
    return bytes(body + table)


def long_names(size: int) -> bytes:
    return b"\0" + b"n" * (size - 2) + b"\0"


def many_section_names() -> bytes:
    """Every section's name is almost the whole table."""
    names = [(n + 1, 1, 0, 0, b"") for n in range(16000)]
    return file_of([*names, (0, SHT_STRTAB, 0, 0, long_names(MEGABYTE))])


def many_symbol_names() -> bytes:
    symbols = b"".join(SYMBOL.pack(n + 1, 0, 0, 0, n, 0) for n in range(40000))
    strings = (0, SHT_STRTAB, 0, 0, long_names(MEGABYTE))
    return file_of([(0, SHT_SYMTAB, 2, SYMBOL.size, symbols), strings])


def equal_symbol_names(size: int = MEGABYTE) -> bytes:
    """All symbols have one long name: finding one finds all."""
    symbols = b"".join(SYMBOL.pack(1, 0, 0, 0, n, 0) for n in range(10000))
    strings = (0, SHT_STRTAB, 0, 0, long_names(size))
    return file_of([(0, SHT_SYMTAB, 2, SYMBOL.size, symbols), strings])


def equal_shorter_names() -> bytes:
    return equal_symbol_names(60000)


def many_small_notes() -> bytes:
    notes = NOTE_HEADER.pack(0, 0, 0xFFFFFFFF) * 40000
    return file_of([(0, SHT_NOTE, 0, 0, notes), (0, SHT_STRTAB, 0, 0, b"\0")])


def many_relocations() -> bytes:
    records = b"".join(
        RELA.pack((1 << 64) - 1 - n, 0xFFFFFFF0, 0, -(1 << 62) - n)
        for n in range(40000)
    )
    return file_of([(0, SHT_RELA, 0, RELA.size, records), (0, SHT_STRTAB, 0, 0, b"\0")])


def many_odd_sections() -> bytes:
    wide = [
        SECTION_HEADER.pack(
            0, 0x7FFFFFFF - n, *[(1 << 63) + n] * 2, 0, 0, *[n] * 2, 9, 9
        )
        for n in range(16000)
    ]
    body = bytearray(HEADER.size)
    sizes = (HEADER.size, 0, 0, SECTION_HEADER.size, len(wide), 0)
    HEADER.pack_into(body, 0, SEED[:16], 1, 62, 1, 0, 0, len(body), 0, *sizes)
    return bytes(body) + b"".join(wide)


@pytest.mark.parametrize(
    "make",
    [
        many_section_names,
        many_symbol_names,
        equal_symbol_names,
        equal_shorter_names,
        many_small_notes,
        many_relocations,
        many_odd_sections,
    ],
)
def test_costly_files_are_bounded(make: Callable[[], bytes]) -> None:
    data = make()
    errors_of(SEED)
    start = time.process_time()
    errors_of(data)
    assert time.process_time() - start < 5
    peak, _ = peak_of(errors_of, data)
    assert peak <= 10 * len(data) + 100_000


def peak_of(
    read: Callable[[bytes], list[ElfError]], data: bytes
) -> tuple[int, list[ElfError]]:
    tracemalloc.start()
    try:
        errors = read(data)
        return tracemalloc.get_traced_memory()[1], errors
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "decode",
    [decode_section_header, decode_program_header, decode_symbol, decode_rela],
)
@pytest.mark.parametrize("offset", [-1, len(SEED) - 23, len(SEED), 1 << 64])
def test_records_outside_the_file(
    decode: Callable[[bytes, int, str], object], offset: int
) -> None:
    with pytest.raises(ElfError, match="ends behind the file's"):
        decode(SEED, offset, "here")


def test_records_inside_the_file() -> None:
    header = decode_header(SEED)
    first = decode_section_header(SEED, header.section_header_offset)
    assert set(first) == {0}
    image: Image = parse_image(SEED)
    table = image.section(".symtab")
    assert table is not None
    symbol = decode_symbol(SEED, table.offset + SYMBOL.size)
    assert (symbol.type, symbol.binding, symbol.visibility) == (4, 0, 0)


def test_fuzzer_ends_clean(tmp_path: Path) -> None:
    saved = tmp_path / "failed"
    assert fuzzer.fuzz(1, 7, saved, (fuzzer.exercise,), CORPUS) > 100
    assert not saved.exists()


def test_fuzzer_keeps_what_fails(tmp_path: Path) -> None:
    def defective(data: bytes) -> None:
        if data != SEED:
            raise ZeroDivisionError

    saved = tmp_path / "failed"
    with pytest.raises(ZeroDivisionError):
        fuzzer.fuzz(1, 7, saved, (defective,), CORPUS)
    assert saved.stat().st_size > 0


@pytest.mark.slow
def test_fuzz_for_longer(tmp_path: Path) -> None:
    readers = (fuzzer.exercise, fuzzer.payload_reader())
    files = [*CORPUS, *[fuzzer.payload_seed()] * len(CORPUS)]
    assert fuzzer.fuzz(60, 11, tmp_path / "failed", readers, files) > 1000
