"""Follows the pointers in a relocatable module: each is a relocation."""

from functools import cached_property
from typing import NamedTuple

from lpengine.elf import Image, Section, Symbol
from lpengine.elf.constants import R_X86_64_64, SHT_RELA, STT_SECTION

_LONGEST_STRING = 4096


class Target(NamedTuple):
    """What a pointer leads to: `offset` bytes into the section, or the symbol of
    that name where it is not in the module (section 0)."""

    section: int
    offset: int
    symbol: str


def section_of(image: Image, symbol: Symbol) -> Section | None:
    """The section that a symbol is in, if there is such a one in the file."""
    if not symbol.in_section or symbol.section_index >= len(image.sections):
        return None
    return image.sections[symbol.section_index]


class Pointers:
    """The 64-bit pointers of a module's sections."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._known: dict[int, dict[int, Target]] = {}

    def at(self, section: int, offset: int) -> Target | None:
        """Where the pointer there leads; None for a null pointer."""
        return self.of(section).get(offset)

    def of(self, section: int) -> dict[int, Target]:
        """All pointers of a section by their offsets."""
        if section not in self._known:
            self._known[section] = {
                each.offset: self._target(symbols[each.symbol_index], each.addend)
                for table, symbols in self._tables(section)
                for each in self.image.relocations(table)
                if each.type == R_X86_64_64
            }
        return self._known[section]

    def string(self, section: int, offset: int) -> str | None:
        """The string that the pointer there leads to; None for a null pointer or
        one that leads out of the module."""
        target = self.at(section, offset)
        if target is None or not 0 < target.section < len(self.image.sections):
            return None
        data = self.data(target.section)
        end = data.find(b"\0", target.offset, target.offset + _LONGEST_STRING)
        if target.offset < 0 or end < 0:
            return None
        return data[target.offset : end].decode("utf-8", "backslashreplace")

    def data(self, section: int) -> bytes:
        """Its bytes in the file: none of a zero-filled one."""
        if section not in self._data:
            found = self.image.sections[section]
            self._data[section] = (
                b"" if found.zero_filled else self.image.section_data(found)
            )
        return self._data[section]

    def function_name(self, target: Target) -> str:
        """The name of the function there, "" where it has none."""
        place = target.section, target.offset
        return target.symbol or self._functions.get(place, "")

    def number(self, section: int, offset: int, size: int) -> int:
        """A little-endian number, 0 beyond the section's end."""
        return int.from_bytes(self.data(section)[offset : offset + size], "little")

    @cached_property
    def _data(self) -> dict[int, bytes]:
        return {}

    def _tables(self, section: int) -> list[tuple[Section, list[Symbol]]]:
        return [
            (each, self._symbols)
            for each in self.image.sections
            if each.type == SHT_RELA and each.info == section
        ]

    @cached_property
    def _symbols(self) -> list[Symbol]:
        return list(self.image.symbols)

    @cached_property
    def _functions(self) -> dict[tuple[int, int], str]:
        return {
            (each.section_index, each.value): each.name
            for each in reversed(self._symbols)
            if each.is_function and each.in_section
        }

    def _target(self, symbol: Symbol, addend: int) -> Target:
        name = "" if symbol.type == STT_SECTION else symbol.name
        if section_of(self.image, symbol) is None:
            return Target(0, addend, name)
        return Target(symbol.section_index, symbol.value + addend, name)
