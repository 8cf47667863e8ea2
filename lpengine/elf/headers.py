"""The file header, section headers and program headers, read and checked.

After this, every table is known to lie inside the file, every section to have
its bytes there, and every link to lead to a section of the right kind. Rules:
System V gABI, chapters 4 and 5.
"""

from dataclasses import dataclass

from lpengine.elf.constants import (
    PN_XNUM,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_INFO_LINK,
    SHF_LINK_ORDER,
    SHF_WRITE,
    SHN_UNDEF,
    SHN_XINDEX,
    SHT_DYNAMIC,
    SHT_DYNSYM,
    SHT_GROUP,
    SHT_HASH,
    SHT_NOBITS,
    SHT_NULL,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    SHT_SYMTAB_SHNDX,
)
from lpengine.elf.layout import (
    HEADER,
    PROGRAM_HEADER,
    RELA,
    SECTION_HEADER,
    SYMBOL,
    Data,
    RawHeader,
    RawSection,
    Strings,
    decode_header,
    decode_program_header,
    decode_section_header,
)
from lpengine.errors import ElfError

_SYMBOL_TABLES = frozenset({int(SHT_SYMTAB), int(SHT_DYNSYM)})
_STRING_TABLES = frozenset({int(SHT_STRTAB)})
_FILELESS = frozenset({int(SHT_NULL), int(SHT_NOBITS)})

# What sh_link must lead to, where the type of a section gives it a meaning.
_LINKS = {
    int(SHT_SYMTAB): _STRING_TABLES,
    int(SHT_DYNSYM): _STRING_TABLES,
    int(SHT_DYNAMIC): _STRING_TABLES,
    int(SHT_RELA): _SYMBOL_TABLES,
    int(SHT_REL): _SYMBOL_TABLES,
    int(SHT_HASH): _SYMBOL_TABLES,
    int(SHT_GROUP): _SYMBOL_TABLES,
    int(SHT_SYMTAB_SHNDX): _SYMBOL_TABLES,
}
# A linked file may have relocations without symbols (static executables), and a
# stripped one dynamic sections that lost their table.
_LINK_MAY_BE_ABSENT = frozenset({int(SHT_RELA), int(SHT_REL), int(SHT_DYNAMIC)})
_ENTRY_SIZES = {
    int(SHT_SYMTAB): SYMBOL.size,
    int(SHT_DYNSYM): SYMBOL.size,
    int(SHT_RELA): RELA.size,
    int(SHT_SYMTAB_SHNDX): 4,
}
_NAMES_SLACK = 1 << 16


@dataclass(frozen=True, slots=True)
class Header:
    """The file header, with counts already taken from section 0 where they did
    not fit."""

    type: int
    machine: int
    version: int
    osabi: int
    abi_version: int
    flags: int
    entry: int
    program_header_offset: int
    program_header_count: int
    section_header_offset: int
    section_count: int
    section_name_index: int


@dataclass(frozen=True, slots=True)
class Section:
    """One section header. Offset and size are bytes in the file."""

    index: int
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int

    @property
    def allocated(self) -> bool:
        return bool(self.flags & SHF_ALLOC)

    @property
    def writable(self) -> bool:
        return bool(self.flags & SHF_WRITE)

    @property
    def executable(self) -> bool:
        return bool(self.flags & SHF_EXECINSTR)

    @property
    def zero_filled(self) -> bool:
        """Takes memory but no bytes of the file."""
        return self.type == SHT_NOBITS


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header. Bytes behind `file_size` are zero."""

    index: int
    type: int
    flags: int
    offset: int
    virtual_address: int
    physical_address: int
    file_size: int
    memory_size: int
    alignment: int

    @property
    def end(self) -> int:
        return self.virtual_address + self.memory_size


def read_header(data: Data, path: str) -> Header:
    """The file header; both tables are then known to lie inside the file."""
    raw = decode_header(data, path)
    if raw.header_size != HEADER.size:
        raise ElfError(
            path, 52, f"ELF header of {raw.header_size} bytes, not {HEADER.size}"
        )
    first = _first_section(data, raw, path)
    header = Header(
        raw.type,
        raw.machine,
        raw.version,
        raw.ident[7],
        raw.ident[8],
        raw.flags,
        raw.entry,
        raw.program_header_offset,
        _segment_count(raw, first),
        raw.section_header_offset,
        _section_count(raw, first),
        _name_index(raw, first),
    )
    _check_tables(header, raw, len(data), path)
    return header


def read_sections(data: Data, header: Header, path: str) -> tuple[Section, ...]:
    """All sections, each checked against the file and against the others."""
    offsets = _offsets(header)
    records = SECTION_HEADER.iter_unpack(data[offsets.start : offsets.stop])
    headers = [RawSection._make(record) for record in records]
    types = [raw.type for raw in headers]
    strings = _name_table(data, header, path)
    sections = []
    for index, (offset, raw) in enumerate(zip(offsets, headers, strict=True)):
        _check_extent(raw, header, offset, len(data), path)
        _check_entries(raw, offset, path)
        _check_links(raw, types, offset, path)
        sections.append(Section(index, strings.text(raw.name), *raw[1:]))
    return tuple(sections)


def read_segments(data: Data, header: Header, path: str) -> tuple[Segment, ...]:
    """All program headers. Where they point is checked when bytes are read: files
    of separate debug information and cut-off core dumps point outside."""
    start = header.program_header_offset
    return tuple(
        Segment(
            index,
            *decode_program_header(data, start + index * PROGRAM_HEADER.size, path),
        )
        for index in range(header.program_header_count)
    )


def _offsets(header: Header) -> range:
    start = header.section_header_offset
    return range(
        start, start + header.section_count * SECTION_HEADER.size, SECTION_HEADER.size
    )


def _name_table(data: Data, header: Header, path: str) -> Strings:
    index = header.section_name_index
    if index == SHN_UNDEF:
        return Strings.none(path)
    offset = _offsets(header)[index]
    raw = decode_section_header(data, offset, path)
    if raw.type != SHT_STRTAB:
        raise ElfError(path, offset, "section names are not in a string table")
    _check_extent(raw, header, offset, len(data), path)
    # Names may share tails, but a file in which they add up to more than itself
    # was made to exhaust memory.
    allowance = len(data) + _NAMES_SLACK
    return Strings(data, raw.offset, raw.size, path, allowance=allowance)


def _first_section(data: Data, raw: RawHeader, path: str) -> RawSection | None:
    """Section 0, which holds the numbers that do not fit into the header."""
    if raw.section_header_offset == 0:
        if raw.section_header_count:
            raise ElfError(
                path, 60, f"{raw.section_header_count} sections but no section table"
            )
        return None
    if raw.section_header_size != SECTION_HEADER.size:
        raise ElfError(
            path,
            58,
            f"section headers of {raw.section_header_size} bytes, not "
            f"{SECTION_HEADER.size}",
        )
    return decode_section_header(data, raw.section_header_offset, path)


def _section_count(raw: RawHeader, first: RawSection | None) -> int:
    if first is None:
        return 0
    return raw.section_header_count or first.size


def _segment_count(raw: RawHeader, first: RawSection | None) -> int:
    if raw.program_header_count == PN_XNUM and first is not None:
        return first.info
    return raw.program_header_count


def _name_index(raw: RawHeader, first: RawSection | None) -> int:
    if raw.section_name_index == SHN_XINDEX and first is not None:
        return first.link
    return raw.section_name_index


def _check_tables(header: Header, raw: RawHeader, size: int, path: str) -> None:
    sections = _table(
        "section",
        header.section_header_offset,
        header.section_count,
        SECTION_HEADER.size,
    )
    segments = _table(
        "program",
        header.program_header_offset,
        header.program_header_count,
        PROGRAM_HEADER.size,
    )
    if header.program_header_count and raw.program_header_size != PROGRAM_HEADER.size:
        raise ElfError(
            path,
            54,
            f"program headers of {raw.program_header_size} bytes, not "
            f"{PROGRAM_HEADER.size}",
        )
    for table in (sections, segments):
        table.check(size, path)
    if sections.overlaps(segments):
        raise ElfError(
            path, sections.start, "section headers and program headers overlap"
        )
    index, count = header.section_name_index, header.section_count
    if index and index >= count:
        raise ElfError(path, 62, f"section names in section {index} of {count}")


@dataclass(frozen=True)
class _Table:
    what: str
    start: int
    count: int
    end: int

    def check(self, size: int, path: str) -> None:
        if not self.count:
            return
        if self.start < HEADER.size:
            raise ElfError(
                path, self.start, f"{self.what} headers overlap the ELF header"
            )
        if self.end > size:
            raise ElfError(
                path,
                self.start,
                f"{self.count} {self.what} headers do not fit into a file of "
                f"{size:#x} bytes",
            )

    def overlaps(self, other: "_Table") -> bool:
        return (
            self.count > 0
            and other.count > 0
            and self.start < other.end
            and other.start < self.end
        )


def _table(what: str, start: int, count: int, entry_size: int) -> _Table:
    return _Table(what, start, count, start + count * entry_size)


def _check_extent(
    raw: RawSection, header: Header, offset: int, size: int, path: str
) -> None:
    if raw.type in _FILELESS or raw.size == 0:
        return
    if raw.offset > size or raw.size > size - raw.offset:
        raise ElfError(
            path,
            offset,
            f"section of {raw.size:#x} bytes at {raw.offset:#x} does not fit into a "
            f"file of {size:#x} bytes",
        )
    if raw.offset < HEADER.size:
        raise ElfError(path, offset, "section overlaps the ELF header")
    table = header.section_header_offset
    table_end = table + header.section_count * SECTION_HEADER.size
    if raw.offset < table_end and table < raw.offset + raw.size:
        raise ElfError(path, offset, "section overlaps the section headers")


def _check_links(raw: RawSection, types: list[int], offset: int, path: str) -> None:
    count = len(types)
    wanted = _LINKS.get(raw.type)
    if (wanted or raw.flags & SHF_LINK_ORDER) and raw.link >= count:
        raise ElfError(path, offset, f"link to section {raw.link} of {count}")
    if wanted and not _link_fits(raw, types[raw.link], wanted):
        raise ElfError(
            path,
            offset,
            f"link to section {raw.link} of type {types[raw.link]}, which section "
            f"type {raw.type} cannot use",
        )
    names_section = raw.type in (SHT_RELA, SHT_REL) or raw.flags & SHF_INFO_LINK
    if names_section and raw.info >= count:
        raise ElfError(path, offset, f"info names section {raw.info} of {count}")
    if raw.type in _SYMBOL_TABLES and raw.info > raw.size // SYMBOL.size:
        raise ElfError(path, offset, f"{raw.info} local symbols in a smaller table")


def _link_fits(raw: RawSection, linked: int, wanted: frozenset[int]) -> bool:
    absent = raw.link == SHN_UNDEF and raw.type in _LINK_MAY_BE_ABSENT
    return absent or linked in wanted


def _check_entries(raw: RawSection, offset: int, path: str) -> None:
    needed = _ENTRY_SIZES.get(raw.type)
    if needed is None or raw.size == 0:
        return
    if raw.entry_size != needed:
        raise ElfError(
            path, offset, f"table entries of {raw.entry_size} bytes, not {needed}"
        )
    if raw.size % needed:
        raise ElfError(
            path,
            offset,
            f"table of {raw.size:#x} bytes is not made of {needed}-byte entries",
        )
