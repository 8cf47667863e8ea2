"""Xen's checks of section headers, string tables and symbol names."""

from collections.abc import Iterator

from lpengine.elf.constants import (
    SHF_ALLOC,
    SHF_WRITE,
    SHT_NOBITS,
    SHT_STRTAB,
    SHT_SYMTAB,
)
from lpengine.elf.layout import (
    HEADER,
    SECTION_HEADER,
    SYMBOL,
    RawHeader,
    RawSection,
)
from lpengine.patch.xen import layout
from lpengine.patch.xen.payload_file import FileSection, PayloadFile
from lpengine.patch.xen.violations import Violations

_NULL = RawSection(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def read_file(
    raw: bytes, header: RawHeader, violations: Violations
) -> PayloadFile | None:
    """common/livepatch_elf.c, elf_resolve_sections, elf_resolve_section_names and
    elf_get_sym. None where sections have no names, so that none can be found."""
    sections = [FileSection(0, "", _NULL, False)]
    sections += _read_sections(raw, header, violations)
    table, strings = _symbol_table(sections, raw, violations)
    named = _name_sections(sections, header, raw, violations)
    if named is None:
        return None
    if strings is not None and table is not None:
        table, strings = named[table.index], named[strings.index]
    file = PayloadFile(raw, header, tuple(named), table, strings)
    _check_symbol_names(file, violations)
    return file if _is_disjoint(file, violations) else None


def _read_sections(
    raw: bytes, header: RawHeader, violations: Violations
) -> Iterator[FileSection]:
    for index in range(1, header.section_header_count):
        start = header.section_header_offset + index * header.section_header_size
        entry = RawSection._make(SECTION_HEADER.unpack_from(raw, start))
        yield FileSection(
            index, "", entry, _check_section(index, entry, len(raw), violations)
        )


def _check_section(
    index: int, entry: RawSection, size: int, violations: Violations
) -> bool:
    """Reports the first rule the section breaks, as Xen does; says whether its data
    can be read."""
    subject = f"section {index}"
    in_file = entry.type != SHT_NOBITS
    if entry.offset < HEADER.size or (in_file and entry.offset + entry.size > size):
        violations.refuse(
            "section-out-of-file",
            subject,
            f"{entry.size:#x} bytes at {entry.offset:#x}",
            f"data between {HEADER.size:#x} and {size:#x}",
        )
        return False
    if entry.alignment & (entry.alignment - 1):
        violations.refuse(
            "section-alignment", subject, f"{entry.alignment:#x}", "a power of two"
        )
    elif entry.alignment and entry.address % entry.alignment:
        violations.refuse(
            "section-address",
            subject,
            f"{entry.address:#x}",
            f"a multiple of {entry.alignment:#x}",
        )
    elif not in_file and _is_large_bss(entry):
        violations.refuse(
            "bss-too-large",
            subject,
            f"{entry.size} bytes",
            f"at most {layout.LARGEST_FILE}",
        )
        return False
    return True


def _is_large_bss(entry: RawSection) -> bool:
    in_memory = entry.flags & (SHF_WRITE | SHF_ALLOC)
    return bool(in_memory) and entry.size > layout.LARGEST_FILE


def _symbol_table(
    sections: list[FileSection], raw: bytes, violations: Violations
) -> tuple[FileSection | None, FileSection | None]:
    """The symbol table and its strings, or (None, None) where they are unusable."""
    tables = [section for section in sections if section.raw.type == SHT_SYMTAB]
    if len(tables) > 1:
        violations.refuse(
            "two-symbol-tables",
            f"section {tables[1].index}",
            f"{len(tables)} symbol tables",
            "one",
        )
    if not tables:
        violations.refuse("no-symbol-table", "file", "no symbol table", "one")
        return None, None
    table = tables[0]
    if not _check_symbol_table(table, len(sections), violations):
        return None, None
    strings = sections[table.raw.link]
    if not strings.index:
        violations.suffer(
            "unchecked-pointer",
            f"section {table.index}",
            "a symbol table whose string table is section 0",
            "a string table",
        )
        return None, None
    if not _check_strings(strings, raw, violations) or not table.readable:
        return None, None
    return table, strings


def _check_symbol_table(table: FileSection, count: int, violations: Violations) -> bool:
    size, entry, link = table.raw.size, table.raw.entry_size, table.raw.link
    observed = ""
    if link >= count:
        observed = f"string table {link} of {count} sections"
    elif not size or entry < SYMBOL.size or size % entry:
        observed = f"{size} bytes of {entry}-byte symbols"
    if observed:
        violations.refuse(
            "symbol-table-corrupt",
            f"section {table.index}",
            observed,
            f"whole symbols of at least {SYMBOL.size} bytes, and a string table",
        )
    return not observed


def _check_strings(section: FileSection, raw: bytes, violations: Violations) -> bool:
    """common/livepatch_elf.c, elf_verify_strtab."""
    entry = section.raw
    observed = ""
    if entry.type != SHT_STRTAB:
        observed = f"type {entry.type}"
    elif not entry.size:
        observed = "0 bytes"
    elif not section.readable:
        return False
    elif raw[entry.offset] or raw[entry.offset + entry.size - 1]:
        observed = "no NUL as first and last byte"
    if observed:
        violations.refuse(
            "string-table-corrupt",
            f"section {section.index}",
            observed,
            f"type {int(SHT_STRTAB)}, NUL first and last",
        )
    return not observed


def _name_sections(
    sections: list[FileSection], header: RawHeader, raw: bytes, violations: Violations
) -> list[FileSection] | None:
    table = sections[header.section_name_index]
    if not _check_strings(table, raw, violations):
        return None
    file = PayloadFile(raw, header, ())
    named = sections[:1]
    for section in sections[1:]:
        name = ""
        if section.raw.name < table.size:
            name = file.string(table, section.raw.name)[0]
        else:
            violations.refuse(
                "section-name-corrupt",
                f"section {section.index}",
                f"name at {section.raw.name:#x}",
                f"below {table.size:#x}",
            )
        named.append(FileSection(section.index, name, section.raw, section.readable))
    return named


def _check_symbol_names(file: PayloadFile, violations: Violations) -> None:
    limit = file.strings.size if file.strings else 0
    for index in range(1, file.symbol_count):
        symbol = file.symbol(index)
        if symbol.name >= limit:
            violations.refuse(
                "symbol-name-corrupt",
                f"symbol {index}",
                f"name at {symbol.name:#x}",
                f"below {limit:#x}",
            )


def _is_disjoint(file: PayloadFile, violations: Violations) -> bool:
    """No tool lays sections over one another in the file. Where they are, a file
    of a few bytes can claim gigabytes."""
    total = sum(s.size for s in file.sections if s.readable and not s.zero_filled)
    if total <= len(file.raw):
        return True
    violations.suffer(
        "unchecked-pointer",
        "sections",
        f"{total} bytes of sections in a file of {len(file.raw)}",
        "sections that share no bytes",
    )
    return False
