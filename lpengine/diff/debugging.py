"""The debug information of two builds, read when it is asked for."""

from collections.abc import Iterator
from functools import cached_property

from lpengine.diff.changes import Note
from lpengine.diff.layouts import Types, types_of
from lpengine.diff.linemap import LineMap
from lpengine.diff.lines import Lines
from lpengine.diff.object import ObjectFile
from lpengine.diff.units import Unit
from lpengine.elf import dwarf
from lpengine.errors import InputError


class Debugging:
    """Debug information of both builds of an object, as far as they have it. What
    cannot be read counts as not there, and is noted."""

    def __init__(self, old: ObjectFile, new: ObjectFile) -> None:
        self._old = old
        self._new = new
        self._unreadable: list[str] = []

    def lines(self, line_map: LineMap | None) -> Lines:
        """What is known of source lines."""
        if line_map is not None or not self._have(".debug_line"):
            return Lines(line_map)
        return Lines(None, _Table(self, self._old).at, _Table(self, self._new).at)

    def types(self) -> tuple[Types, Types] | None:
        """The types of both builds."""
        return self._types

    @cached_property
    def _types(self) -> tuple[Types, Types] | None:
        if not self._have(".debug_info") and not self._have(".BTF"):
            return None
        old, new = self._read_types(self._old), self._read_types(self._new)
        return (old, new) if old is not None and new is not None else None

    def notes(self) -> Iterator[Note]:
        """What could not be checked, once everything was tried."""
        if self.types() is None and not self._unreadable:
            yield Note(
                "no-debug-information",
                "",
                "no debug information: layouts and prototypes were not compared",
            )
        for what in self._unreadable:
            yield Note("debug-information-unreadable", "", what)

    def line_table(self, object_: ObjectFile) -> dwarf.LineTable | None:
        try:
            return dwarf.LineTable(object_.image)
        except InputError as error:
            self._unreadable.append(f"{object_.path}: {error.message}")
            return None

    def _have(self, section: str) -> bool:
        return all(
            each.image.section(section) is not None for each in (self._old, self._new)
        )

    def _read_types(self, object_: ObjectFile) -> Types | None:
        image = object_.image
        btf = image.section(".BTF")
        try:
            if btf is not None and image.section(".debug_info") is None:
                return types_of(dwarf.BtfInfo(image.section_data(btf)))
            return types_of(dwarf.DebugInfo(image))
        except InputError as error:
            self._unreadable.append(f"{object_.path}: {error.message}")
            return None


class _Table:
    """One build's line table, by unit, read at the first question."""

    def __init__(self, debugging: Debugging, object_: ObjectFile) -> None:
        self._debugging = debugging
        self._object = object_

    @cached_property
    def _table(self) -> dwarf.LineTable | None:
        return self._debugging.line_table(self._object)

    def at(self, unit: Unit, offset: int) -> tuple[str, int] | None:
        if self._table is None:
            return None
        return self._table.at(unit.section.index, unit.start + offset)
