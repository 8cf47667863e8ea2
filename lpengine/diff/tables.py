"""The records of an object's special sections, by the code that they are about."""

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property

from lpengine.diff.object import ObjectFile, TableSection
from lpengine.diff.references import Reference, References
from lpengine.diff.sections import SectionKind
from lpengine.diff.units import Unit
from lpengine.elf import Relocation

# Xen: asm/bug.h. BUG_DISP_WIDTH bits are the distance, the rest is half of the line.
_DISTANCE_BITS = 24
_HALF_LINE_BITS = 31 - _DISTANCE_BITS


@dataclass(frozen=True, slots=True)
class TableRecord:
    """One record: the `index`-th of its section. `owner` is the unit that it is
    about, at `place` in it; `line` the source line it names, 0 where it names none;
    `data` has zeroes there and in fields with references."""

    table: TableSection
    index: int
    data: bytes
    meaning: bytes
    references: tuple[Reference, ...]
    owner: Unit | None
    place: int
    line: int

    @property
    def section(self) -> str:
        return self.table.section.name


class Tables:
    """All records of one object."""

    def __init__(self, references: References) -> None:
        self.references = references
        self._object: ObjectFile = references.object

    @cached_property
    def records(self) -> tuple[TableRecord, ...]:
        found: list[TableRecord] = []
        for table in self._object.tables:
            found += self._read(table)
        return tuple(found)

    @cached_property
    def by_owner(self) -> dict[int, list[TableRecord]]:
        """The records about each unit, by its number; those about code that other
        records lead to (exceptions in replacements) belong to it alike."""
        owned: dict[int, list[TableRecord]] = defaultdict(list)
        for record in self.records:
            if record.owner is not None:
                owned[record.owner.number].append(record)
        return owned

    def _read(self, table: TableSection) -> list[TableRecord]:
        size = table.form.size
        data = self._object.data(table.section)
        return [
            self._record(table, start // size, data[start : start + size])
            for start in range(0, len(data), size)
        ]

    def _record(self, table: TableSection, index: int, data: bytes) -> TableRecord:
        size = table.form.size
        start = index * size
        raw = self._object.relocations_in(table.section, start, start + size)
        halves: list[int] = []
        if table.spec.packs_lines:
            halves, raw = _unpack_lines(raw)
        found = tuple(self._field(table, each, start) for each in raw)
        first = next((each for each in found if each.offset == 0), None)
        line, meaning = _line(table, data.ljust(size, b"\0"), halves)
        if halves:
            found = _with_lines(found, halves)
        return TableRecord(
            table,
            index,
            data.ljust(size, b"\0"),
            meaning,
            found,
            first.unit if first else None,
            first.place if first else 0,
            line,
        )

    def _field(self, table: TableSection, record: Relocation, start: int) -> Reference:
        """What one field refers to. Some count from the record's start, not from
        where they are: all of Xen's bug frames, and the file names of Linux's until
        5.17."""
        offset = record.offset - start
        if table.spec.packs_lines:
            return self.references.of_field(record, start, offset)
        found = self.references.of_field(record, start, 0)
        if offset and self._starts_late(found):
            return self.references.of_field(record, start, offset)
        return found

    def _starts_late(self, found: Reference) -> bool:
        """Whether this points behind the start of a string by just the distance of
        the field from its record."""
        section = found.section
        if section is None or found.text is None:
            return False
        if self._object.kinds[section.index] is not SectionKind.STRINGS:
            return False
        data = self._object.data(section)
        late, start = found.position, found.position - found.offset
        return not _starts_string(data, late) and _starts_string(data, start)


def _starts_string(data: bytes, position: int) -> bool:
    if not 0 <= position < len(data):
        return False
    return position == 0 or data[position - 1] == 0


def _unpack_lines(
    raw: tuple[Relocation, ...],
) -> tuple[list[int], tuple[Relocation, ...]]:
    """What the addends hold beside a distance, and the records without it."""
    halves, plain = [], []
    for record in raw:
        low = record.addend & ((1 << _DISTANCE_BITS) - 1)
        if low >> (_DISTANCE_BITS - 1):
            low -= 1 << _DISTANCE_BITS
        halves.append(record.addend - low)
        plain.append(record._replace(addend=low))
    return halves, tuple(plain)


def _with_lines(
    found: tuple[Reference, ...], halves: list[int]
) -> tuple[Reference, ...]:
    return tuple(
        replace(each, shift=each.shift + half)
        for each, half in zip(found, halves, strict=True)
    )


def _line(table: TableSection, data: bytes, halves: list[int]) -> tuple[int, bytes]:
    """The source line that a record names, and its bytes without."""
    if len(halves) > 1:
        high, low = (half >> _DISTANCE_BITS for half in halves[:2])
        return high << _HALF_LINE_BITS | low, data
    field = table.form.line
    if field is None:
        return 0, data
    end = field.offset + field.size
    line = int.from_bytes(data[field.offset : end], "little")
    return line, data[: field.offset] + bytes(field.size) + data[end:]
