"""One build of an object: its units, and what refers to what."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from lpengine.core import field_ends
from lpengine.diff import units as cut
from lpengine.diff.names import is_label
from lpengine.diff.records import TABLES, Form, TableSpec
from lpengine.diff.sections import SectionKind, kind_of
from lpengine.diff.units import Role, Unit
from lpengine.elf import Image, Relocation, Section, Symbol
from lpengine.elf.constants import (
    ET_REL,
    R_X86_64_NONE,
    SHT_NOBITS,
    RelocationType,
)
from lpengine.errors import ElfError

_RELATIVE = frozenset(
    int(each)
    for each in (
        RelocationType.R_X86_64_PC32,
        RelocationType.R_X86_64_PLT32,
        RelocationType.R_X86_64_GOTPCREL,
        RelocationType.R_X86_64_GOTPCRELX,
        RelocationType.R_X86_64_REX_GOTPCRELX,
        RelocationType.R_X86_64_PC16,
        RelocationType.R_X86_64_PC8,
        RelocationType.R_X86_64_GOTTPOFF,
        RelocationType.R_X86_64_TLSGD,
        RelocationType.R_X86_64_TLSLD,
    )
)
_BY_CONTENT = (SectionKind.STRINGS, SectionKind.MERGED)
_CODE = (SectionKind.CODE, SectionKind.BOOT_CODE, SectionKind.DERIVED)
_NO_UNITS = (
    SectionKind.IGNORED,
    SectionKind.TABLE,
    SectionKind.HOOKS,
    *_BY_CONTENT,
)


@dataclass(frozen=True, slots=True)
class TableSection:
    """A special section, and how its records look."""

    section: Section
    spec: TableSpec
    form: Form


class ObjectFile:
    """A relocatable object, taken apart as far as it is asked for.

    Raises ElfError where it is no relocatable file, or damaged.
    """

    def __init__(self, image: Image) -> None:
        if image.header.type != ET_REL:
            raise ElfError(image.path, 16, "not a relocatable object file")
        self.image = image
        self.symbols: tuple[Symbol, ...] = tuple(image.symbols)
        self.kinds = tuple(kind_of(section) for section in image.sections)
        self._data: dict[int, bytes] = {}
        self._relocations: dict[int, tuple[Relocation, ...]] = {}
        self._offsets: dict[int, list[int]] = {}
        self._in_section: dict[int, list[Unit]] = {}
        self._starts: dict[int, list[int]] = {}
        self.units: list[Unit] = []
        self._cut()

    def __repr__(self) -> str:
        return f"<ObjectFile {self.image.path}>"

    @property
    def path(self) -> str:
        return self.image.path

    def section_of(self, symbol: Symbol) -> Section | None:
        """Where a symbol is defined."""
        if not symbol.in_section or symbol.section_index >= len(self.image.sections):
            return None
        return self.image.sections[symbol.section_index]

    def data(self, section: Section) -> bytes:
        """A section's bytes; none for one that takes none in the file."""
        if section.type == SHT_NOBITS:
            return b""
        found = self._data.get(section.index)
        if found is None:
            found = self._data[section.index] = self.image.section_data(section)
        return found

    def bytes_of(self, unit: Unit) -> bytes:
        return self.data(unit.section)[unit.start : unit.end]

    def relocations(self, section: Section) -> tuple[Relocation, ...]:
        """The relocations of a section, by offset."""
        found = self._relocations.get(section.index)
        if found is None:
            records = self.image.relocations(section)
            found = tuple(sorted(r for r in records if r.type != R_X86_64_NONE))
            self._check(section, found)
            self._relocations[section.index] = found
            self._offsets[section.index] = [record.offset for record in found]
        return found

    def relocations_in(
        self, section: Section, start: int, end: int
    ) -> tuple[Relocation, ...]:
        """Those whose field begins between two offsets of a section."""
        records = self.relocations(section)
        if not records:
            return ()
        offsets = self._offsets[section.index]
        return records[bisect_left(offsets, start) : bisect_left(offsets, end)]

    def relocations_of(self, unit: Unit) -> tuple[Relocation, ...]:
        return self.relocations_in(unit.section, unit.start, unit.end)

    def marks_of(self, unit: Unit) -> Iterator[str]:
        """The symbols that relocations without effect name in a unit: recordmcount
        leaves one where it turned the call of __fentry__ into a NOP."""
        for record in self.image.relocations(unit.section):
            inside = unit.start <= record.offset < unit.end
            if record.type == R_X86_64_NONE and inside:
                yield self.symbols[record.symbol_index].name

    def units_in(self, section_index: int) -> Sequence[Unit]:
        return self._in_section.get(section_index, ())

    def unit_at(self, section_index: int, offset: int) -> Unit | None:
        """The unit that covers a place, or else the last one that begins before it:
        places right behind a table belong to that table."""
        units = self._in_section.get(section_index)
        if not units:
            return None
        at = bisect_right(self._starts[section_index], offset) - 1
        return units[max(at, 0)]

    @cached_property
    def functions(self) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.units if unit.role is Role.FUNCTION)

    @cached_property
    def function_names(self) -> frozenset[str]:
        return frozenset(s.name for unit in self.functions for s in unit.symbols)

    @cached_property
    def tables(self) -> tuple[TableSection, ...]:
        """The special sections whose records can be told apart, in file order."""
        return tuple(table for table in self._tables() if table.form.size)

    @cached_property
    def strange_tables(self) -> tuple[Section, ...]:
        """Special sections that are of no known form."""
        beside = {spec.beside for spec in TABLES.values()}
        return tuple(
            table.section
            for table in self._tables()
            if not table.form.size and table.section.name not in beside
        )

    def _tables(self) -> Iterator[TableSection]:
        for section, kind in zip(self.image.sections, self.kinds, strict=True):
            if kind is SectionKind.TABLE and section.size:
                spec = TABLES[section.name]
                form = spec.form(section.size, self.relocations(section))
                yield TableSection(section, spec, form or Form(0))

    def _check(self, section: Section, records: Sequence[Relocation]) -> None:
        if records and records[-1].offset >= section.size:
            raise ElfError(
                self.path,
                section.offset,
                f"relocation at {records[-1].offset:#x} of section {section.name}, "
                f"which has {section.size:#x} bytes",
            )

    def _cut(self) -> None:
        by_section = self._symbols_by_section()
        uncut: list[tuple[Section, list[tuple[int, int]]]] = []
        for section, kind in zip(self.image.sections, self.kinds, strict=True):
            if kind in _NO_UNITS:
                continue
            spans = self._cut_named(section, kind, by_section.get(section.index, ()))
            left = self._gaps(section, kind, spans)
            if left:
                uncut.append((section, left))
        if uncut:
            self._cut_anonymous(uncut)
        for index, units in self._in_section.items():
            units.sort(key=lambda unit: unit.start)
            self._starts[index] = [unit.start for unit in units]

    def _symbols_by_section(self) -> dict[int, list[Symbol]]:
        by_section: dict[int, list[Symbol]] = defaultdict(list)
        for symbol in self.symbols:
            if symbol.in_section:
                by_section[symbol.section_index].append(symbol)
        return by_section

    def _cut_named(
        self, section: Section, kind: SectionKind, symbols: Sequence[Symbol]
    ) -> list[tuple[int, int]]:
        is_code = kind in _CODE
        named = cut.named_spans(section, symbols, is_code)
        if is_code:
            cut.with_tails(named, section.size)
        for span, entry in cut.with_prefixes(named):
            self._add(section, kind, span.start, span.end, span.symbols, entry)
        return [(span.start, span.end) for span in named]

    def _gaps(
        self, section: Section, kind: SectionKind, spans: list[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        if section.size == 0:
            return []
        if section.type == SHT_NOBITS:
            return [] if spans else [(0, section.size)]
        if not spans and kind not in _CODE:
            return [(0, section.size)]
        self.relocations(section)
        busy = self._offsets[section.index]
        data = self.data(section)
        return list(cut.gaps(spans, section.size, data, kind in _CODE, busy))

    def _cut_anonymous(
        self, uncut: Sequence[tuple[Section, list[tuple[int, int]]]]
    ) -> None:
        """What has no symbol is cut where it is referred to."""
        anchors = self._anchors({section.index for section, _ in uncut})
        for section, areas in uncut:
            kind = self.kinds[section.index]
            starts = anchors.get(section.index, [])
            for start, end in areas:
                inner = starts[bisect_right(starts, start) : bisect_left(starts, end)]
                for first, last in zip([start, *inner], [*inner, end], strict=True):
                    self._add(section, kind, first, last, (), 0)

    def _anchors(self, wanted: set[int]) -> dict[int, list[int]]:
        found: dict[int, set[int]] = defaultdict(set)
        for section, kind in zip(self.image.sections, self.kinds, strict=True):
            if kind is SectionKind.IGNORED:
                continue
            records = [
                record
                for record in self._pointing(section)
                if self.symbols[record.symbol_index].section_index in wanted
            ]
            for record, shift in self.shifts(section, records):
                symbol = self.symbols[record.symbol_index]
                if symbol.in_section:
                    anchor = symbol.value + record.addend - shift
                    found[symbol.section_index].add(anchor)
        return {index: sorted(places) for index, places in found.items()}

    def _pointing(self, section: Section) -> Sequence[Relocation]:
        """The relocations that point to where something begins: what a record of a
        special section is about may be the middle of something."""
        records = self.relocations(section)
        if self.kinds[section.index] is not SectionKind.TABLE or not records:
            return records
        form = TABLES[section.name].form(section.size, records)
        return [r for r in records if form and r.offset % form.size]

    def shifts(
        self, section: Section, records: Sequence[Relocation]
    ) -> Iterator[tuple[Relocation, int]]:
        """Each record, and what its addend has only because a processor counts from
        the end of the instruction: -4, or more with an immediate behind."""
        is_code = self.kinds[section.index] in _CODE
        relative = [r for r in records if is_code and r.type in _RELATIVE]
        ends = field_ends(self.data(section), [r.offset for r in relative])
        behind = {r: r.offset - end for r, end in zip(relative, ends, strict=True)}
        for record in records:
            yield record, behind.get(record, 0)

    def _add(
        self,
        section: Section,
        kind: SectionKind,
        start: int,
        end: int,
        symbols: Sequence[Symbol],
        entry: int,
    ) -> None:
        role, name, file = self._identity(section, kind, symbols)
        unit = Unit(
            len(self.units),
            role,
            section,
            kind,
            start,
            end,
            name,
            tuple(symbols),
            entry,
            file,
        )
        self.units.append(unit)
        self._in_section.setdefault(section.index, []).append(unit)

    def _identity(
        self, section: Section, kind: SectionKind, symbols: Sequence[Symbol]
    ) -> tuple[Role, str, str]:
        if not symbols:
            role = Role.CODE if kind in _CODE else Role.ANONYMOUS
            return role, section.name, ""
        first = cut.principal(symbols)
        if kind in _CODE:
            role = Role.FUNCTION if first.is_function else Role.CODE
        else:
            role = Role.ANONYMOUS if is_label(first.name) else Role.VARIABLE
        return role, first.name, first.file
