"""The entries of an object's debug information, with their names."""

from abc import ABC, abstractmethod
from collections import defaultdict
from functools import cached_property

from lpengine.core.dwarf import (
    IN_ENTRIES,
    IN_LINE_STRINGS,
    IN_STRINGS,
    Entry,
    dwarf_entries,
)
from lpengine.elf.dwarf.sections import debug_section
from lpengine.elf.dwarf.tags import COMPOSITES, QUALIFIERS, Tag
from lpengine.elf.image import Image

_DEEPEST = 64


class TypeInfo(ABC):
    """Entries about types and functions, wherever they are from."""

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        self._names: dict[tuple[int, int], str] = {}

    def __bool__(self) -> bool:
        return bool(self.entries)

    def name(self, entry: Entry) -> str:
        """An entry's own name, or that of what it is a copy of."""
        for _ in range(_DEEPEST):
            if entry.name_in or not entry.origin:
                break
            origin = self.at(entry.origin)
            if origin is None:
                break
            entry = origin
        key = entry.name_in, entry.name_at
        found = self._names.get(key)
        if found is None:
            found = self._names[key] = self._read(*key)
        return found

    def at(self, offset: int) -> Entry | None:
        """The entry at an offset."""
        place = self._places.get(offset)
        return None if place is None else self.entries[place]

    def children(self, entry: Entry) -> list[Entry]:
        """What is inside of an entry."""
        place = self._places[entry.offset]
        return [self.entries[each] for each in self._children.get(place, ())]

    def unqualified(self, offset: int) -> Entry | None:
        """The type at an offset, without const, volatile and names given to it."""
        entry = self.at(offset) if offset else None
        for _ in range(_DEEPEST):
            if entry is None or not (
                entry.tag in QUALIFIERS or entry.tag == Tag.TYPEDEF
            ):
                return entry
            entry = self.at(entry.type) if entry.type else None
        return None

    def size_of(self, offset: int) -> int:
        """How many bytes a type takes, 0 where that is not said."""
        count = 1
        for _ in range(_DEEPEST):
            entry = self.unqualified(offset)
            if entry is None:
                return 0
            if entry.tag == Tag.POINTER:
                return 8 * count
            if entry.tag != Tag.ARRAY or entry.has_size:
                return entry.size * count
            count *= self.elements(entry)
            offset = entry.type
        return 0

    def elements(self, array: Entry) -> int:
        """How many elements an array has in all its dimensions."""
        count = 1
        for each in self.children(array):
            if each.tag == Tag.SUBRANGE:
                count *= max(each.value, 0) if each.has_value else 0
        return count

    @cached_property
    def composites(self) -> tuple[Entry, ...]:
        """Structs and unions that are defined here."""
        return tuple(
            entry
            for entry in self.entries
            if entry.tag in COMPOSITES and not entry.is_declaration
        )

    @cached_property
    def _places(self) -> dict[int, int]:
        return {entry.offset: place for place, entry in enumerate(self.entries)}

    @cached_property
    def _children(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for place, entry in enumerate(self.entries):
            if entry.parent:
                found[entry.parent - 1].append(place)
        return found

    @abstractmethod
    def _read(self, section: int, offset: int) -> str:
        """The name at a place of what an entry says that it is in."""


class DebugInfo(TypeInfo):
    """What an object's DWARF debug information says about types and functions.

    InputError, when it is made, where that is damaged or of an unknown kind.
    """

    def __init__(self, image: Image) -> None:
        info = debug_section(image, ".debug_info")
        abbreviations = debug_section(image, ".debug_abbrev")
        offsets = debug_section(image, ".debug_str_offsets")
        super().__init__(dwarf_entries(info, abbreviations, offsets))
        self._image = image
        self._info = bytes(info)

    @cached_property
    def _strings(self) -> dict[int, bytes]:
        return {
            IN_STRINGS: bytes(debug_section(self._image, ".debug_str")),
            IN_LINE_STRINGS: bytes(debug_section(self._image, ".debug_line_str")),
            IN_ENTRIES: self._info,
        }

    def _read(self, section: int, offset: int) -> str:
        data = self._strings.get(section, b"")
        end = data.find(b"\0", offset)
        if not 0 <= offset < len(data) or end < 0:
            return ""
        return data[offset:end].decode("utf-8", "backslashreplace")
