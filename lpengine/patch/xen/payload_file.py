"""A payload's file as Xen sees it: any bytes whose section headers can be read.

Unlike lpengine.elf, which refuses a file that contradicts itself, this reads what
Xen would read, so that every rule can say what it finds.
"""

from dataclasses import dataclass, field
from functools import cached_property

from lpengine.elf.constants import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHN_ABS,
    SHT_NOBITS,
)
from lpengine.elf.layout import SYMBOL, RawHeader, RawSection, RawSymbol

# Xen itself keeps 127 bytes of a symbol's name; a file may claim that thousands of
# names share one string of a megabyte.
_LONGEST_NAME = 127


@dataclass(frozen=True, slots=True)
class FileSection:
    """A section header. `readable` says that its data lie inside the file."""

    index: int
    name: str
    raw: RawSection
    readable: bool

    @property
    def size(self) -> int:
        return self.raw.size

    @property
    def allocated(self) -> bool:
        return bool(self.raw.flags & SHF_ALLOC)

    @property
    def writable(self) -> bool:
        return bool(self.raw.flags & SHF_WRITE)

    @property
    def executable(self) -> bool:
        return bool(self.raw.flags & SHF_EXECINSTR)

    @property
    def zero_filled(self) -> bool:
        return self.raw.type == SHT_NOBITS

    @property
    def label(self) -> str:
        return self.name or f"section {self.index}"


@dataclass(frozen=True)
class PayloadFile:
    """All sections (number 0 is the null section) and, where they can be read, the
    symbol table and its strings."""

    raw: bytes
    header: RawHeader
    sections: tuple[FileSection, ...]
    symbol_table: FileSection | None = None
    strings: FileSection | None = None
    _names: dict[int, str] = field(default_factory=dict)

    @cached_property
    def _by_name(self) -> dict[str, FileSection]:
        return {s.name: s for s in reversed(self.sections) if s.index and s.name}

    def first(self, name: str) -> FileSection | None:
        """The first section of that name, which is the one Xen looks at."""
        return self._by_name.get(name)

    def contents(self, section: FileSection, offset: int, size: int) -> bytes:
        """Up to `size` bytes of a section, fewer at its end."""
        if offset < 0 or not section.readable:
            return b""
        size = max(0, min(size, section.size - offset))
        if section.zero_filled:
            return bytes(size)
        start = section.raw.offset + offset
        return self.raw[start : start + size]

    def string(self, section: FileSection, offset: int) -> tuple[str, bool]:
        """The string at an offset, cut at 127 bytes, and whether it has an end."""
        data = self.contents(section, offset, _LONGEST_NAME + 1)
        text, end, _ = data.partition(b"\0")
        return text[:_LONGEST_NAME].decode("utf-8", "backslashreplace"), bool(end)

    @property
    def symbol_count(self) -> int:
        """Number of symbols, the null symbol included; 0 without a table."""
        if self.symbol_table is None:
            return 0
        return self.symbol_table.size // self.symbol_table.raw.entry_size

    def symbol(self, index: int) -> RawSymbol:
        """Symbol number `index`, which is below `symbol_count`."""
        return self._symbols[index]

    @cached_property
    def _symbols(self) -> tuple[RawSymbol, ...]:
        assert self.symbol_table is not None
        table = self.symbol_table.raw
        end = table.offset + self.symbol_count * table.entry_size
        starts = range(table.offset, end, table.entry_size)
        return tuple(
            RawSymbol._make(SYMBOL.unpack_from(self.raw, start)) for start in starts
        )

    def symbol_name(self, symbol: RawSymbol) -> str:
        if self.strings is None or not symbol.name:
            return ""
        name = self._names.get(symbol.name)
        if name is None:
            name, _ = self.string(self.strings, symbol.name)
            self._names[symbol.name] = name
        return name

    def section_of(self, symbol: RawSymbol) -> FileSection | None:
        """The section a symbol lies in; None for special and missing ones."""
        if 0 < symbol.section_index < len(self.sections):
            return self.sections[symbol.section_index]
        return None


def is_absolute(symbol: RawSymbol) -> bool:
    return symbol.section_index == SHN_ABS
