"""Functions of headers that were inlined: one fix, and a copy in each object."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lpengine.core.dwarf import Entry
from lpengine.diff.changes import FanOut, ObjectChanges, Status
from lpengine.elf import Image
from lpengine.elf.dwarf import DebugInfo, LineTable, Tag
from lpengine.errors import InputError

_HEADERS = (".h", ".hpp", ".inc")
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Inlined:
    """A function of a header that is part of changed code."""

    function: str
    header: str


def inlined_in(
    changes: ObjectChanges, original: Image, patched: Image
) -> dict[str, Inlined]:
    """The inlined functions of headers in which changed functions first differ, as
    far as debug information tells."""
    found: dict[str, Inlined] = {}
    places = list(_first_places(changes, patched))
    if not places:
        return found
    try:
        lines, info = LineTable(patched), DebugInfo(patched)
    except InputError:
        return found
    for section, offset, function in places:
        row = lines.at(section, offset)
        if row is None or not row[0].endswith(_HEADERS):
            continue
        name = _function_at(info, lines, row)
        if name in _inlined_into(info, function):
            found[name] = Inlined(name, row[0])
    return found


def _function_at(info: DebugInfo, lines: LineTable, row: tuple[str, int]) -> str:
    """The function that a line of a file belongs to: the last one to begin above."""
    above = [
        entry
        for entry in info.entries
        if entry.tag == Tag.FUNCTION
        and 0 < entry.line <= row[1]
        and lines.file(entry.file) == row[0]
    ]
    return info.name(max(above, key=lambda entry: entry.line)) if above else ""


def _first_places(
    changes: ObjectChanges, patched: Image
) -> Iterator[tuple[int, int, str]]:
    """Section, offset and function where each changed function first differs."""
    names = {symbol.name: symbol for symbol in patched.symbols if symbol.is_function}
    for function in changes.functions:
        reason = function.reason
        if function.status is not Status.CHANGED or reason is None:
            continue
        symbol = names.get(function.patched_name)
        if symbol is not None and reason.first and reason.first.after.offset >= 0:
            offset = symbol.value + reason.first.after.offset - function.entry
            yield symbol.section_index, offset, function.patched_name


def _inlined_into(info: DebugInfo, function: str) -> Iterator[str]:
    """The functions of other files that were inlined into one."""
    owners = {
        place + 1
        for place, entry in enumerate(info.entries)
        if entry.tag == Tag.FUNCTION and info.name(entry) == function
    }
    for entry in info.entries:
        if entry.tag == Tag.INLINED and _is_inside(info, entry, owners):
            origin = info.at(entry.origin)
            if origin is not None:
                yield info.name(origin)


def _is_inside(info: DebugInfo, entry: Entry, owners: set[int]) -> bool:
    for _ in range(_DEEPEST):
        if not entry.parent:
            return False
        if entry.parent in owners:
            return True
        entry = info.entries[entry.parent - 1]
    return False


def fan_out(
    inlined: dict[str, Inlined],
    fresh: Mapping[str, Image],
    stale: Mapping[str, Image],
) -> Iterator[FanOut]:
    """Where copies of each of these functions are: in objects that were built again,
    and in `stale` ones that were not."""
    copies: dict[str, list[str]] = {name: [] for name in inlined}
    missing: dict[str, list[str]] = {name: [] for name in inlined}
    for objects, left in ((fresh, False), (stale, True)):
        for name, image in objects.items():
            for function in _copies_in(image, inlined):
                copies[function].append(name)
                if left:
                    missing[function].append(name)
    for name, each in inlined.items():
        yield FanOut(name, each.header, tuple(copies[name]), tuple(missing[name]))


def _copies_in(image: Image, wanted: dict[str, Inlined]) -> set[str]:
    """Which of these functions were inlined somewhere in an object."""
    try:
        info = DebugInfo(image)
    except InputError:
        return set()
    found: set[str] = set()
    for entry in info.entries:
        if entry.tag == Tag.INLINED:
            origin = info.at(entry.origin)
            name = info.name(origin) if origin is not None else ""
            if name in wanted:
                found.add(name)
    return found
