"""Functions that address the same things a little further: what a struct that changed
its layout does to code, and all that is seen of it without debug information."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lpengine.diff.references import Reference
from lpengine.diff.shape import Instructions

_SIB, _FRAME = 4, 5
_STACK = 4


@dataclass(frozen=True, slots=True)
class Shift:
    """How much further things are addressed, and from where: the displacements that
    the original has."""

    by: int
    places: frozenset[int]


def shift_of(
    before: Instructions,
    after: Instructions,
    pairs: Iterable[tuple[int, int]],
    same_target: Callable[[Reference, Reference], bool],
) -> Shift | None:
    """How much further the second function addresses what the first does, where that
    is all that these pairs of instructions differ in and it is the same in all."""
    found: set[int] = set()
    places: set[int] = set()
    for index, other in pairs:
        shift = _shift_at(before, index, after, other, same_target)
        if shift is None:
            return None
        if shift:
            found.add(shift)
            places.add(_displacement(before, index))
    return Shift(found.pop(), frozenset(places)) if len(found) == 1 else None


def _shift_at(
    before: Instructions,
    index: int,
    after: Instructions,
    other: int,
    same_target: Callable[[Reference, Reference], bool],
) -> int | None:
    """The difference of two displacements; None where more than that differs."""
    fields, others = before.fields_at(index), after.fields_at(other)
    if len(fields) != len(others):
        return None
    if not all(same_target(a, b) for a, b in zip(fields, others, strict=True)):
        return None
    if before.bytes_at(index) == after.bytes_at(other) and not fields:
        return 0
    if before.target(index) is not None:
        target, twin = before.target(index), after.target(other)
        if target is None or twin is None:
            return None
        return 0 if before.ranks.get(target) == after.ranks.get(twin) else None
    if _without(before, index) != _without(after, other):
        return None
    shift = _displacement(after, other) - _displacement(before, index)
    return None if shift and _is_frame(before, index) else shift


def _without(code: Instructions, index: int) -> tuple[int, int, int, bytes]:
    """An instruction but for its displacement, and for how long that is."""
    each = code.decoded[index]
    raw = code.bytes_at(index)
    start = each.displacement_at if each.displacement_size else len(raw)
    rest = raw[start + each.displacement_size :] if each.displacement_size else b""
    if not each.displacement_size and each.immediate_size:
        start, rest = each.immediate_at, raw[each.immediate_at :]
    front = raw[:start]
    if each.modrm >> 6 != 3 and front:
        at = each.opcode_at + 1 + (each.map == 1) + 2 * (each.map in (2, 3))
        front = front[:at] + bytes((each.modrm & 0x3F,)) + front[at + 1 :]
    return each.map, each.opcode, each.flags, front + rest


def _displacement(code: Instructions, index: int) -> int:
    each = code.decoded[index]
    start = each.offset + each.displacement_at
    raw = code.code[start : start + each.displacement_size]
    return int.from_bytes(raw, "little", signed=True)


def _is_frame(code: Instructions, index: int) -> bool:
    """Whether an address is on the stack: by the stack pointer, or below the frame
    pointer."""
    each = code.decoded[index]
    register = each.modrm & 7
    if register == _SIB and each.modrm >> 6 != 3:
        base = code.bytes_at(index)[each.displacement_at - 1 : each.displacement_at]
        return bool(base) and base[0] & 7 == _STACK
    return register == _FRAME and _displacement(code, index) < 0
