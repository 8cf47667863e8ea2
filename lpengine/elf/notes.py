"""Notes: small typed records, among them the build id (gABI, "Note Section")."""

from collections.abc import Iterator
from dataclasses import dataclass

from lpengine.elf.layout import NOTE_HEADER
from lpengine.errors import ElfError


@dataclass(frozen=True, slots=True)
class Note:
    """One note. `section` is "" where the file has program headers only."""

    section: str
    owner: str
    type: int
    description: bytes


def parse_notes(
    data: bytes | memoryview,
    alignment: int = 4,
    *,
    section: str = "",
    path: str = "<memory>",
    offset: int = 0,
) -> tuple[Note, ...]:
    """The notes that follow each other in data. `section`, `path` and `offset` (of
    data in the file) go into the notes and the ElfError that a malformed one gets.

    `alignment` is the section's or segment's: descriptions are padded by 8 where
    it is 8, else by 4 (gABI of 2017; older files have 0 or 1 there).
    """
    unit = 8 if alignment == 8 else 4
    return tuple(_notes(memoryview(data), unit, section, path, offset))


def _notes(
    data: memoryview, unit: int, section: str, path: str, offset: int
) -> Iterator[Note]:
    at = 0
    while at < len(data):
        if len(data) - at < NOTE_HEADER.size:
            raise ElfError(path, offset + at, "notes end inside a note header")
        owner_size, size, type_ = NOTE_HEADER.unpack_from(data, at)
        owner_at = at + NOTE_HEADER.size
        start = _align(owner_at + owner_size, unit)
        if start + size > len(data):
            raise ElfError(
                path,
                offset + at,
                f"note with {owner_size} + {size} bytes in a section of {len(data)}",
            )
        owner = bytes(data[owner_at : owner_at + owner_size]).rstrip(b"\0")
        description = bytes(data[start : start + size])
        yield Note(
            section, owner.decode("utf-8", "backslashreplace"), type_, description
        )
        at = _align(start + size, unit)


def _align(value: int, unit: int) -> int:
    return (value + unit - 1) & -unit
