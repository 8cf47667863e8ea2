"""Functions of headers that were inlined: one fix, and a copy in each object."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lpengine.diff.changes import FanOut, FunctionChange, ObjectChanges, Status
from lpengine.diff.origins import Origin, Origins, without_registers
from lpengine.elf import Image
from lpengine.elf.dwarf import DebugInfo, Tag
from lpengine.errors import InputError

_HEADERS = (".h", ".hpp", ".inc")


@dataclass(frozen=True, slots=True)
class Inlined:
    """A function of a header that changed where it is inlined."""

    function: str
    header: str


def inlined_in(
    changes: ObjectChanges, original: Image, patched: Image
) -> dict[str, Inlined]:
    """The functions of headers, inlined into changed functions, that changed
    themselves, as far as debug information tells."""
    functions = [each for each in changes.functions if _differs_in_place(each)]
    if not functions:
        return {}
    try:
        before, after = Origins(original), Origins(patched)
    except InputError:
        return {}
    found: dict[str, Inlined] = {}
    for function in functions:
        origin = _first_origin(function, after)
        if (
            origin is not None
            and origin.file.endswith(_HEADERS)
            and origin.function in after.inlined_into(function.patched_name)
            and _changed(origin, function, before, after)
        ):
            found[origin.function] = Inlined(origin.function, origin.file)
    return found


def _differs_in_place(function: FunctionChange) -> bool:
    reason = function.reason
    if function.status is not Status.CHANGED or reason is None or not reason.first:
        return False
    return reason.first.after.offset >= 0


def _first_origin(function: FunctionChange, after: Origins) -> Origin | None:
    """What a changed function first differs in."""
    symbol = after.symbol(function.patched_name)
    if symbol is None or function.reason is None or function.reason.first is None:
        return None
    offset = function.reason.first.after.offset - function.entry
    return after.at(symbol.section_index, symbol.value + offset)


def _changed(
    origin: Origin, function: FunctionChange, before: Origins, after: Origins
) -> bool:
    """Whether an inlined function does something else than before, or with something
    else: it may only be what comes first now."""
    deeds = before.deeds(function.name, origin)
    if deeds != after.deeds(function.patched_name, origin):
        return True
    symbol, reason = before.symbol(function.name), function.reason
    if symbol is None or reason is None or reason.first is None:
        return False
    old, new = reason.first.before, reason.first.after
    place = symbol.value + old.offset - function.entry
    same_origin = before.at(symbol.section_index, place) == origin
    return same_origin and without_registers(old.text) != without_registers(new.text)


def fan_out(
    inlined: dict[str, Inlined],
    fresh: Mapping[str, Image],
    stale: Mapping[str, Image],
) -> Iterator[FanOut]:
    """Where copies of each of these functions are, as far as debug information tells:
    in objects that were built again, and in `stale` ones that were not."""
    copies: dict[str, list[str]] = {name: [] for name in inlined}
    missing: dict[str, list[str]] = {name: [] for name in inlined}
    for objects, left in ((fresh, False), (stale, True)):
        for name, image in objects.items():
            for function in _copies_in(image, inlined):
                copies[function].append(name)
                if left:
                    missing[function].append(name)
    for name, each in inlined.items():
        if copies[name]:
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
