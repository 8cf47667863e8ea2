"""Symbols, made on demand from a table that the C core has indexed."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from lpengine.core import SymbolIndex
from lpengine.elf.constants import (
    SHN_ABS,
    SHN_COMMON,
    SHN_LORESERVE,
    SHN_UNDEF,
    SHN_XINDEX,
    STB_LOCAL,
    STT_FILE,
    STT_FUNC,
    STT_GNU_IFUNC,
    STT_SECTION,
)
from lpengine.elf.headers import Section
from lpengine.elf.layout import (
    SYMBOL,
    WORD,
    Data,
    RawSymbol,
    Strings,
    decode_symbol,
)
from lpengine.errors import ElfError, InputError

# How much longer than the tables all names read in one go may be. In a walk along
# the table many symbols share one name (".LC0"), but 64 bytes of it per byte of
# table are beyond any compiler's output. What is kept counts each place once.
_WALK_FACTOR = 64
_KEPT_FACTOR = 2
_NAMES_SLACK = 1 << 20
# Looking a name up compares it with each symbol of equal hash, which a file can
# make all of them.
_NAME_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol. `file` is the source file of a local one, "" where unknown.

    `section_index` is SHN_UNDEF, SHN_ABS, SHN_COMMON or a section's index. In a
    file of more than 65279 sections an index may equal one of the special
    numbers: `extended` says that it is an index.
    """

    index: int
    name: str
    file: str
    value: int
    size: int
    binding: int
    type: int
    visibility: int
    section_index: int
    extended: bool = False

    @property
    def qualified_name(self) -> str:
        """How Xen's built-in symbol table spells it: statics as "file#name" (xen
        tools/symbols.c)."""
        if not self._qualifiable or "#" in self.name:
            return self.name
        return f"{self.file}#{self.name}"

    @property
    def is_function(self) -> bool:
        return self.type in (STT_FUNC, STT_GNU_IFUNC)

    @property
    def is_local(self) -> bool:
        return self.binding == STB_LOCAL

    @property
    def is_undefined(self) -> bool:
        return self.section_index == SHN_UNDEF

    @property
    def is_absolute(self) -> bool:
        return self.section_index == SHN_ABS and not self.extended

    @property
    def is_common(self) -> bool:
        return self.section_index == SHN_COMMON and not self.extended

    @property
    def in_section(self) -> bool:
        """`section_index` is the index of a section."""
        if self.extended:
            return True
        return SHN_UNDEF < self.section_index < SHN_LORESERVE

    @property
    def _qualifiable(self) -> bool:
        named = self.type not in (STT_FILE, STT_SECTION) and self.name != ""
        return named and self.is_local and self.file != ""


class SymbolTable:
    """The symbols of one table, in its order. All methods raise ElfError where the
    table turns out to be damaged; the first use of an index reads all of it."""

    def __init__(
        self,
        data: Data,
        path: str,
        table: Section,
        strings: Section,
        extended: Section | None = None,
    ) -> None:
        self._data = data
        self._path = path
        self._table = table
        self._string_section = strings
        self._extended = extended
        self._count = table.size // SYMBOL.size
        self._strings()
        if extended is not None and extended.size // WORD.size < self._count:
            raise ElfError(
                path,
                extended.offset,
                "too few extended section indexes for all symbols",
            )

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Symbol:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._symbol(index, self._strings())

    def __iter__(self) -> Iterator[Symbol]:
        strings = self._strings()
        file = ""
        for index, raw in enumerate(self._all()):
            name = strings.text(raw.name)
            if raw.type == STT_FILE and index:
                file = name
                yield self._make(index, raw, name, "")
            else:
                yield self._make(index, raw, name, file)

    def sources(self) -> tuple[str, ...]:
        """The names of all STT_FILE symbols, without making the others."""
        strings = self._strings()
        return tuple(
            strings.text(raw.name) for raw in self._all() if raw.type == STT_FILE
        )

    def _all(self) -> Iterator[RawSymbol]:
        start = self._table.offset
        table = self._data[start : start + self._count * SYMBOL.size]
        return map(RawSymbol._make, SYMBOL.iter_unpack(table))

    def named(self, name: str) -> tuple[Symbol, ...]:
        """All symbols of that name, in table order; "file#name" finds the static
        `name` of that source file."""
        try:
            raw = name.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half a surrogate pair: nothing is called that
            return ()
        if len(raw) >= _NAME_MAX:
            raise self._fail(f"symbol name of {len(raw)} bytes looked up")
        strings = self._strings(kept=True)
        return tuple(self._symbol(at, strings) for at in self._index.named(raw))

    def xen_named(self, name: str) -> tuple[Symbol, ...]:
        """What Xen's built-in table finds under a name: defined globals by their
        name, statics by "file#name" only (xen tools/symbols.c)."""
        qualified = "#" in name
        return tuple(
            symbol
            for symbol in self.named(name)
            if not symbol.is_undefined
            and symbol.type not in (STT_FILE, STT_SECTION)
            and (qualified or not symbol.is_local or symbol.file == "")
        )

    def at(self, address: int) -> tuple[Symbol, int] | None:
        """The symbol that starts nearest below the address, and how far it is from
        there; of several a global function."""
        found = self._index.at(address) if _is_address(address) else None
        return (self[found[0]], found[1]) if found else None

    def next_after(self, address: int) -> int | None:
        """The lowest symbol value above the address."""
        return self._index.next_after(address) if _is_address(address) else None

    @cached_property
    def _index(self) -> SymbolIndex:
        view = memoryview(self._data)
        table, strings = self._table, self._string_section
        try:
            return SymbolIndex(
                view[table.offset : table.offset + self._count * SYMBOL.size],
                SYMBOL.size,
                view[strings.offset : strings.offset + strings.size],
            )
        except InputError as error:
            raise self._fail(error.message) from error

    def _strings(self, *, kept: bool = False) -> Strings:
        section = self._string_section
        factor = _KEPT_FACTOR if kept else _WALK_FACTOR
        return Strings(
            self._data,
            section.offset,
            section.size,
            self._path,
            allowance=factor * (self._table.size + section.size) + _NAMES_SLACK,
            kept=kept,
        )

    def _fail(self, what: str) -> ElfError:
        return ElfError(self._path, self._table.offset, what)

    def _raw(self, index: int) -> RawSymbol:
        offset = self._table.offset + index * SYMBOL.size
        return decode_symbol(self._data, offset, self._path)

    def _symbol(self, index: int, strings: Strings) -> Symbol:
        raw = self._raw(index)
        file = ""
        if raw.binding == STB_LOCAL and raw.type != STT_FILE:
            source = self._index.file_of(index)
            file = strings.text(self._raw(source).name) if source else ""
        return self._make(index, raw, strings.text(raw.name), file)

    def _make(self, index: int, raw: RawSymbol, name: str, file: str) -> Symbol:
        extended = raw.section_index == SHN_XINDEX and self._extended is not None
        return Symbol(
            index,
            name,
            file if raw.binding == STB_LOCAL else "",
            raw.value,
            raw.size,
            raw.binding,
            raw.type,
            raw.visibility,
            self._extended_index(index) if extended else raw.section_index,
            extended,
        )

    def _extended_index(self, index: int) -> int:
        assert self._extended is not None
        offset = self._extended.offset + index * WORD.size
        return int(WORD.unpack_from(self._data, offset)[0])


def _is_address(value: int) -> bool:
    return 0 <= value < 1 << 64
