"""What the patched source declares about itself, in the sections that kpatch's macros
make (kmod/patch/kpatch-macros.h)."""

from collections.abc import Iterator

from lpengine.diff.object import ObjectFile
from lpengine.diff.references import References
from lpengine.diff.units import Unit
from lpengine.elf import Section

_FUNCTIONS, _SECTIONS = ".kpatch.ignore.functions", ".kpatch.ignore.sections"


class Declarations:
    """`functions` are the units to be left as they are in the original, by number;
    `sections` the names of sections whose changes do not matter."""

    def __init__(self, references: References) -> None:
        self._references = references
        object_: ObjectFile = references.object
        self.functions = frozenset(
            unit.number for unit in self._functions(object_.image.section(_FUNCTIONS))
        )
        self.sections = frozenset(self._sections(object_.image.section(_SECTIONS)))

    def _functions(self, section: Section | None) -> Iterator[Unit]:
        if section is None:
            return
        for record in self._references.object.relocations(section):
            unit = self._references.of_field(record, 0, 0).unit
            if unit is not None:
                yield unit

    def _sections(self, section: Section | None) -> Iterator[str]:
        """The section holds pointers to names in a section of strings."""
        if section is None:
            return
        object_ = self._references.object
        for record in object_.relocations(section):
            symbol = object_.symbols[record.symbol_index]
            holder = object_.section_of(symbol)
            if holder is None:
                continue
            data = object_.data(holder)
            start = symbol.value + record.addend
            if 0 <= start < len(data):
                name = data[start:].split(b"\0", 1)[0]
                yield name.decode(errors="replace")
