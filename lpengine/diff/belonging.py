"""The records of special sections that go with what a payload brings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Protocol

from lpengine.diff.changes import Inside, Record, Table, Target, Use
from lpengine.diff.examine import Examination
from lpengine.diff.match import family
from lpengine.diff.records import TABLES
from lpengine.diff.references import Reference
from lpengine.diff.sections import SectionKind
from lpengine.diff.tables import TableRecord
from lpengine.diff.units import Role, Unit
from lpengine.elf import Section

# Linux: include/linux/printk.h, struct pi_entry: the function's name is its second.
_MESSAGES, _FUNCTION_AT = ".printk_index", 8
_POINTER = 8


class Bringing(Protocol):
    """What grows: see Closure."""

    @property
    def count(self) -> int: ...
    def unit(self, place: int) -> Unit | None: ...
    def work(self) -> None: ...
    def include(self, unit: Unit, why: str) -> int: ...
    def target(
        self, reference: Reference, why: str, called: bool, user: Unit | None
    ) -> tuple[Target, int]: ...


class Belonging:
    """Finds the records about included functions, and includes what they lead to.
    `indexed` are the units that only the index of messages leads to."""

    def __init__(self, examination: Examination, closure: Bringing) -> None:
        self._tables = examination.new
        self._side = examination.new.references
        self._closure = closure
        self.indexed: frozenset[int] = frozenset()

    def hooks(self) -> Iterator[Table]:
        """The sections that declare hooks, whole, with the functions they name."""
        object_ = self._side.object
        for section, kind in zip(object_.image.sections, object_.kinds, strict=True):
            if kind is SectionKind.HOOKS and section.size:
                found = [
                    self._side.of_field(record, 0, 0)
                    for record in object_.relocations(section)
                ]
                uses = tuple(self._use(each, section.name) for each in found)
                data = object_.data(section)
                yield _table(section, len(data), [Record(data, uses, "")])

    def tables(self) -> Iterator[Table]:
        """The records about everything included, by section; of sections that run in
        parallel both."""
        records: dict[str, list[tuple[int, int, Record]]] = defaultdict(list)
        sections: dict[str, tuple[Section, int]] = {}
        for found, owner in self._found():
            section = found.table.section
            sections.setdefault(section.name, (section, found.table.form.size))
            record = self._record(found, owner)
            records[section.name].append((section.index, found.index, record))
        for name, (section, size) in sections.items():
            ordered = sorted(records[name], key=lambda each: each[:2])
            yield _table(section, size, [record for _, _, record in ordered])
            yield from self._beside(name, [number for _, number, _ in ordered])
        yield from self._messages()

    def _found(self) -> Iterator[tuple[TableRecord, Unit]]:
        """Records of what is included, which grows by what they lead to."""
        place = 0
        while place < self._closure.count:
            unit = self._closure.unit(place)
            place += 1
            if unit is not None:
                for found in self._tables.by_owner.get(unit.number, ()):
                    yield found, unit
            self._closure.work()

    def _record(self, found: TableRecord, owner: Unit) -> Record:
        uses = tuple(self._use(each, owner.name) for each in found.references)
        return Record(found.data, uses, owner.name)

    def _use(self, reference: Reference, why: str) -> Use:
        target, addend = self._closure.target(reference, why, False, None)
        return Use(reference.offset, reference.type, target, addend, reference.shown)

    def _beside(self, name: str, numbers: list[int]) -> Iterator[Table]:
        """The records that run in parallel: without relocations, one size."""
        beside = TABLES[name].beside
        other = self._side.object.image.section(beside) if beside else None
        if other is None:
            return
        size = TABLES[beside].forms[0].size
        data = self._side.object.data(other)
        rows = [Record(data[n * size : (n + 1) * size], (), "") for n in numbers]
        yield _table(other, size, rows)

    def _messages(self) -> Iterator[Table]:
        """The index of messages, as far as it is about included functions."""
        section = self._side.object.image.section(_MESSAGES)
        if section is None:
            return
        names = {
            family(unit)
            for place in range(self._closure.count)
            if (unit := self._closure.unit(place)) and unit.role is Role.FUNCTION
        }
        rows, entries = [], set()
        for record in self._side.object.relocations(section):
            entry = self._side.of_field(record, 0, 0).unit
            name = self._function_named(entry) if entry is not None else ""
            if entry is None or name not in names:
                continue
            entries.add(entry.number)
            target = Inside(self._closure.include(entry, _MESSAGES))
            use = Use(0, record.type, target, 0, entry.name)
            rows.append(Record(bytes(_POINTER), (use,), name))
        self._closure.work()
        self.indexed = frozenset(entries)
        if rows:
            yield _table(section, _POINTER, rows)

    def _function_named(self, entry: Unit) -> str:
        """The function that an entry of the index says it is from."""
        for each in self._side.of(entry):
            if each.offset == _FUNCTION_AT:
                text = each.text
                if text is None and each.unit is not None:
                    text = self._side.object.bytes_of(each.unit)
                return (text or b"").split(b"\0")[0].decode(errors="replace")
        return ""


def _table(section: Section, size: int, records: list[Record]) -> Table:
    return Table(
        section.name,
        section.type,
        section.flags,
        max(section.alignment, 1),
        section.entry_size,
        size,
        tuple(records),
    )
