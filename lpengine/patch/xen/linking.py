"""Sections, symbols and relocations that refer to one another by name, as a file."""

from collections.abc import Sequence

from lpengine.elf import ObjectWriter
from lpengine.elf.constants import (
    SHN_ABS,
    SHT_NOBITS,
    STB_GLOBAL,
    STB_LOCAL,
    STT_FUNC,
    STT_NOTYPE,
    STT_OBJECT,
    STT_SECTION,
)
from lpengine.errors import UsageError
from lpengine.patch.xen.spec import Place, RelocationSpec, SectionSpec, SymbolSpec


class NamedObject:
    """Sections, and the symbols their relocations need, as an ELF file."""

    def __init__(self, sections: Sequence[SectionSpec]) -> None:
        self._writer = ObjectWriter()
        self._sections = sections
        self._indexes: dict[str, int] = {}
        self._handles: dict[str | Place | int, int] = {}
        for section in sections:
            if section.name in self._indexes:
                raise UsageError(f"two sections are named {section.name}")
            self._indexes[section.name] = self._add_section(section)

    def _add_section(self, section: SectionSpec) -> int:
        return self._writer.add_section(
            section.name,
            section.type if section.size is None else SHT_NOBITS,
            section.flags,
            section.data,
            size=section.size,
            alignment=section.alignment,
            entry_size=section.entry_size,
        )

    def finish(self, symbols: Sequence[SymbolSpec]) -> bytes:
        for symbol in symbols:
            self._add_symbol(symbol)
        for section in self._sections:
            for relocation in section.relocations:
                self._add_relocation(section, relocation)
        return self._writer.finish()

    def _add_symbol(self, symbol: SymbolSpec) -> None:
        self._writer.add_symbol(
            symbol.name,
            value=symbol.place.offset,
            size=symbol.size,
            binding=STB_LOCAL if symbol.local else STB_GLOBAL,
            type=STT_FUNC if symbol.function else STT_OBJECT,
            section=self._index(symbol.place),
        )

    def _index(self, place: Place) -> int:
        if place.section not in self._indexes:
            raise UsageError(f"the payload has no section {place.section}")
        return self._indexes[place.section]

    def _add_relocation(self, section: SectionSpec, each: RelocationSpec) -> None:
        addend, key = each.addend, each.symbol
        if isinstance(key, Place):
            addend += key.offset
            key = Place(key.section)
        self._writer.add_relocation(
            self._indexes[section.name],
            each.offset,
            each.type,
            self._handle(key),
            addend,
        )

    def _handle(self, key: str | Place | int) -> int:
        """The symbol for an undefined name, for a section, or for an address."""
        if key not in self._handles:
            self._handles[key] = self._make_symbol(key)
        return self._handles[key]

    def _make_symbol(self, key: str | Place | int) -> int:
        if isinstance(key, str):
            return self._writer.add_symbol(key, binding=STB_GLOBAL, type=STT_NOTYPE)
        if isinstance(key, int):
            return self._writer.add_symbol(
                "", value=key, binding=STB_LOCAL, type=STT_NOTYPE, section=SHN_ABS
            )
        return self._writer.add_symbol(
            "", binding=STB_LOCAL, type=STT_SECTION, section=self._index(key)
        )
