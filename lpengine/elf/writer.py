"""Writes relocatable ELF64 x86-64 files, the same bytes for the same calls."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lpengine.elf.constants import (
    EM_X86_64,
    ET_REL,
    SHF_ALLOC,
    SHF_INFO_LINK,
    SHN_ABS,
    SHN_COMMON,
    SHN_LIVEPATCH,
    SHN_LORESERVE,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_NULL,
    SHT_PROGBITS,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    STB_GLOBAL,
    STB_LOCAL,
    STT_NOTYPE,
)
from lpengine.elf.layout import (
    HEADER,
    MAGIC,
    NOTE_HEADER,
    RELA,
    SECTION_HEADER,
    SYMBOL,
    Relocation,
)
from lpengine.errors import UsageError

_IDENT = MAGIC + bytes((2, 1, 1)) + bytes(9)
_TABLE_ALIGNMENT = 8
# What alignment the file itself keeps; memory alignment may be any power of two.
_FILE_ALIGNMENT_MAX = 4096
_WORD_MAX = (1 << 32) - 1
_XWORD_MAX = (1 << 64) - 1
_SPECIAL_SECTIONS = frozenset({SHN_UNDEF, SHN_ABS, SHN_COMMON, SHN_LIVEPATCH})
_GENERATED = frozenset({SHT_NULL, SHT_SYMTAB, SHT_RELA, SHT_REL})


@dataclass(frozen=True)
class _Section:
    """A section header to be, with its bytes; `size` counts for NOBITS only."""

    name: str
    type: int
    flags: int = 0
    data: bytes = b""
    size: int = 0
    link: int = 0
    info: int = 0
    alignment: int = 1
    entry_size: int = 0

    @property
    def total(self) -> int:
        return self.size if self.type == SHT_NOBITS else len(self.data)


@dataclass(frozen=True)
class _Symbol:
    name: str
    value: int
    size: int
    binding: int
    type: int
    section: int
    visibility: int


@dataclass(frozen=True, order=True)
class _Table:
    """A relocation section to be: for `target`, with a name of its own or none."""

    target: int
    name: str = ""
    flags: int = SHF_INFO_LINK


@dataclass
class _StringTable:
    """Each string once, in the order of first use."""

    data: bytearray = field(default_factory=lambda: bytearray(1))
    offsets: dict[str, int] = field(default_factory=lambda: {"": 0})

    def add(self, text: str) -> int:
        if text not in self.offsets:
            self.offsets[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self.offsets[text]


class ObjectWriter:
    """Collects sections, symbols, relocations and notes; `finish` is the file.

    .symtab, .strtab, .shstrtab and a .rela.X for each section X with relocations
    (more of them where relocations are added to tables of another name) are made
    by `finish` and stand behind the added sections. UsageError where an
    argument cannot be written down in ELF64.
    """

    def __init__(self) -> None:
        self._sections: list[_Section] = []
        self._symbols: list[_Symbol] = []
        self._relocations: dict[_Table, list[Relocation]] = {}
        self._note_sections: dict[str, int] = {}

    def add_section(
        self,
        name: str,
        type: int = SHT_PROGBITS,
        flags: int = 0,
        data: bytes | bytearray | memoryview = b"",
        *,
        size: int | None = None,
        alignment: int = 1,
        entry_size: int = 0,
    ) -> int:
        """Appends a section and returns its index. `size` is given for SHT_NOBITS
        only, which has no data."""
        if type in _GENERATED:
            raise UsageError(f"section {name}: type {type} is made by the writer")
        if (size is not None) != (type == SHT_NOBITS) or (size is not None and data):
            raise UsageError(
                f"section {name}: a size is for SHT_NOBITS, data for all others"
            )
        if alignment < 1 or alignment & (alignment - 1) or alignment > _XWORD_MAX:
            raise UsageError(f"section {name}: alignment {alignment} is no power of 2")
        _check_name(name, "section")
        _check_range(type, _WORD_MAX, f"section {name}: type")
        for what, value in (("flags", flags), ("entry size", entry_size)):
            _check_range(value, _XWORD_MAX, f"section {name}: {what}")
        _check_range(size or 0, _XWORD_MAX, f"section {name}: size")
        return self._append(
            _Section(
                name,
                type,
                flags,
                bytes(data),
                size or 0,
                alignment=alignment,
                entry_size=entry_size,
            )
        )

    def add_symbol(
        self,
        name: str,
        *,
        value: int = 0,
        size: int = 0,
        binding: int = STB_GLOBAL,
        type: int = STT_NOTYPE,
        section: int = SHN_UNDEF,
        visibility: int = 0,
    ) -> int:
        """Adds a symbol and returns its handle, which is good for `add_relocation`
        whatever place in the table it gets: locals come before globals, else the
        order stays (STT_FILE symbols keep their locals). Handle 0 is the null
        symbol."""
        _check_name(name, "symbol")
        if section not in _SPECIAL_SECTIONS:
            self._check_section(section, f"symbol {name}")
        for what, number, most in (
            ("value", value, _XWORD_MAX),
            ("size", size, _XWORD_MAX),
            ("binding", binding, 15),
            ("type", type, 15),
            ("visibility", visibility, 3),
        ):
            _check_range(number, most, f"symbol {name}: {what}")
        self._symbols.append(
            _Symbol(name, value, size, binding, type, section, visibility)
        )
        return len(self._symbols)

    def add_relocation(
        self,
        section_index: int,
        offset: int,
        type: int,
        symbol_handle: int,
        addend: int = 0,
        *,
        table: str = "",
        table_flags: int = 0,
    ) -> None:
        """Adds a relocation of a section, by its index, against a symbol, by its
        handle. Relocations keep their order.

        They go into .rela.X or, with `table`, into a relocation section of that
        name, whose flags are SHF_INFO_LINK and `table_flags`."""
        self._check_section(section_index, "relocation")
        if not 0 <= symbol_handle <= len(self._symbols):
            raise UsageError(f"relocation: no symbol has the handle {symbol_handle}")
        _check_range(offset, _XWORD_MAX, "relocation: offset")
        _check_range(type, _WORD_MAX, "relocation: type")
        if not -(1 << 63) <= addend < 1 << 63:
            raise UsageError(f"relocation: addend {addend} does not fit into 64 bits")
        _check_name(table, "relocation section")
        _check_range(table_flags, _XWORD_MAX, "relocation section: flags")
        if table_flags and not table:
            raise UsageError("relocation: flags are for a table with a name")
        record = Relocation(offset, type, symbol_handle, addend)
        place = _Table(section_index, table, SHF_INFO_LINK | table_flags)
        if place not in self._relocations:
            self._require_room(f"relocation section {table}")
        self._relocations.setdefault(place, []).append(record)

    def add_note(
        self, section_name: str, owner: str, type: int, description: bytes
    ) -> int:
        """Appends a note to the note section of that name, made at the first note
        (SHT_NOTE, allocated, aligned to 4), and returns the section's index."""
        _check_name(owner, "note owner")
        _check_range(type, _WORD_MAX, f"note {owner}: type")
        name = owner.encode() + b"\0"
        note = NOTE_HEADER.pack(len(name), len(description), type)
        note += _padded(name, 4) + _padded(description, 4)
        index = self._note_sections.get(section_name)
        if index is None:
            index = self.add_section(
                section_name, SHT_NOTE, SHF_ALLOC, note, alignment=4
            )
            self._note_sections[section_name] = index
            return index
        old = self._sections[index - 1]
        self._sections[index - 1] = replace(old, data=old.data + note)
        return index

    def finish(self) -> bytes:
        """The whole file."""
        sections = [*self._sections, *self._generated()]
        names = _StringTable()
        for section in sections:
            names.add(section.name)
        names.add(".shstrtab")
        sections.append(_Section(".shstrtab", SHT_STRTAB, data=bytes(names.data)))
        return _assemble(sections, names.offsets)

    def _append(self, section: _Section) -> int:
        self._require_room(f"section {section.name}")
        self._sections.append(section)
        return len(self._sections)

    def _require_room(self, what: str) -> None:
        """Each section may yet get a relocation section, besides the tables with
        names of their own; null and three tables are to come."""
        named = sum(bool(each.name) for each in self._relocations)
        if 2 * len(self._sections) + named + 6 >= SHN_LORESERVE:
            raise UsageError(
                f"{what}: {len(self._sections)} sections are the most that fit "
                "without extended section numbers"
            )

    def _check_section(self, index: int, what: str) -> None:
        if not 1 <= index <= len(self._sections):
            raise UsageError(f"{what}: no section has the index {index}")

    def _generated(self) -> Iterator[_Section]:
        """Relocation sections, symbol table and its strings, in this order."""
        places, locals_ = self._places()
        symbol_table = len(self._sections) + len(self._relocations) + 1
        for table in sorted(self._relocations):
            records = self._relocations[table]
            yield _Section(
                table.name or ".rela" + self._sections[table.target - 1].name,
                SHT_RELA,
                table.flags,
                b"".join(_pack_relocation(each, places) for each in records),
                link=symbol_table,
                info=table.target,
                alignment=_TABLE_ALIGNMENT,
                entry_size=RELA.size,
            )
        strings = _StringTable()
        yield _Section(
            ".symtab",
            SHT_SYMTAB,
            data=self._symbol_data(places, strings),
            link=symbol_table + 1,
            info=locals_ + 1,
            alignment=_TABLE_ALIGNMENT,
            entry_size=SYMBOL.size,
        )
        yield _Section(".strtab", SHT_STRTAB, data=bytes(strings.data))

    def _places(self) -> tuple[list[int], int]:
        """The table index of each symbol handle, and how many are local."""
        handles = range(1, len(self._symbols) + 1)
        ordered = sorted(
            handles, key=lambda each: self._symbols[each - 1].binding != STB_LOCAL
        )
        places = [0] * (len(ordered) + 1)
        for place, handle in enumerate(ordered, 1):
            places[handle] = place
        local = sum(each.binding == STB_LOCAL for each in self._symbols)
        return places, local

    def _symbol_data(self, places: list[int], strings: _StringTable) -> bytes:
        data = bytearray(SYMBOL.size * len(places))
        for handle, symbol in enumerate(self._symbols, 1):
            SYMBOL.pack_into(
                data,
                places[handle] * SYMBOL.size,
                strings.add(symbol.name),
                symbol.binding << 4 | symbol.type,
                symbol.visibility,
                symbol.section,
                symbol.value,
                symbol.size,
            )
        return bytes(data)


def _assemble(sections: list[_Section], names: dict[str, int]) -> bytes:
    """Header, the sections' bytes in order, then the section headers."""
    body = bytearray(HEADER.size)
    table = bytearray(SECTION_HEADER.size)
    for section in sections:
        _align(body, min(section.alignment, _FILE_ALIGNMENT_MAX))
        table += _pack_section(section, names[section.name], len(body))
        body += section.data
    _align(body, _TABLE_ALIGNMENT)
    count = len(sections) + 1
    HEADER.pack_into(
        body,
        0,
        _IDENT,
        ET_REL,
        EM_X86_64,
        1,
        0,
        0,
        len(body),
        0,
        HEADER.size,
        0,
        0,
        SECTION_HEADER.size,
        count,
        count - 1,
    )
    return bytes(body + table)


def _pack_section(section: _Section, name: int, offset: int) -> bytes:
    return SECTION_HEADER.pack(
        name,
        section.type,
        section.flags,
        0,
        offset,
        section.total,
        section.link,
        section.info,
        section.alignment,
        section.entry_size,
    )


def _pack_relocation(record: Relocation, places: list[int]) -> bytes:
    place = places[record.symbol_index]
    return RELA.pack(record.offset, record.type, place, record.addend)


def _align(body: bytearray, alignment: int) -> None:
    body += bytes(-len(body) % alignment)


def _padded(data: bytes, alignment: int) -> bytes:
    return data + bytes(-len(data) % alignment)


def _check_range(value: int, most: int, what: str) -> None:
    if not 0 <= value <= most:
        raise UsageError(f"{what} {value} is not within 0 to {most:#x}")


def _check_name(name: str, what: str) -> None:
    try:
        encoded = name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} name {name!a} is not Unicode text") from error
    if b"\0" in encoded:
        raise UsageError(f"{what} name {name!a} holds a NUL")
