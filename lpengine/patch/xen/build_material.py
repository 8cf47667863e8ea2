"""Gathers what a payload is made of, whatever brought it: sections by kind, so
that a payload of many functions stays far below Xen's limit of 1023 sections."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from lpengine.elf.constants import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_NOBITS,
    SHT_PROGBITS,
)
from lpengine.patch.xen.spec import RelocationSpec, SectionSpec, SymbolSpec

_FILL_CODE, _FILL_DATA = b"\x90", b"\0"


@dataclass(frozen=True)
class Material:
    """What a payload is made of, whether it was compiled or assembled: loaded
    sections, what is defined in them, and `key=value` metadata."""

    sections: tuple[SectionSpec, ...]
    symbols: tuple[SymbolSpec, ...]
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def undefined(self) -> tuple[str, ...]:
        """The names of the image's symbols that it refers to, sorted."""
        wanted = (ref.symbol for each in self.sections for ref in each.relocations)
        return tuple(sorted({name for name in wanted if isinstance(name, str)}))

    def section(self, name: str) -> SectionSpec | None:
        return next((each for each in self.sections if each.name == name), None)

    def symbol(self, name: str) -> SymbolSpec | None:
        return next((each for each in self.symbols if each.name == name), None)

    def renamed(self, names: Mapping[str, str]) -> "Material":
        """The same with other names for the image's symbols."""
        sections = tuple(_with_names(each, names) for each in self.sections)
        return dataclasses.replace(self, sections=sections)


def _with_names(section: SectionSpec, names: Mapping[str, str]) -> SectionSpec:
    relocations = tuple(
        dataclasses.replace(ref, symbol=names.get(ref.symbol, ref.symbol))
        if isinstance(ref.symbol, str)
        else ref
        for ref in section.relocations
    )
    return dataclasses.replace(section, relocations=relocations)


@dataclass
class Merge:
    """A section of the payload while its parts are still being appended."""

    name: str
    writable: bool
    executable: bool
    zero_filled: bool
    alignment: int = 1
    size: int = 0
    data: bytearray = field(default_factory=bytearray)
    relocations: list[RelocationSpec] = field(default_factory=list)

    def append(self, data: bytes, size: int, alignment: int) -> int:
        """Returns where the appended section begins."""
        start = -(-self.size // alignment) * alignment
        if not self.zero_filled:
            fill = _FILL_CODE if self.executable else _FILL_DATA
            self.data += fill * (start - self.size) + data
        self.size = start + size
        self.alignment = max(self.alignment, alignment)
        return start

    def finish(self) -> SectionSpec:
        write = SHF_WRITE if self.writable else 0
        execute = SHF_EXECINSTR if self.executable else 0
        return SectionSpec(
            name=self.name,
            data=bytes(self.data),
            flags=SHF_ALLOC | write | execute,
            type=SHT_NOBITS if self.zero_filled else SHT_PROGBITS,
            alignment=self.alignment,
            size=self.size if self.zero_filled else None,
            relocations=tuple(self.relocations),
        )
