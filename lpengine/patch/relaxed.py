"""Compares code whose jumps may have other lengths.

Within one section the assembler knows how far a jump goes and takes a short one;
with each function in a section of its own it cannot, and leaves a long one to the
linker. Whatever follows is then in another place, and the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lpengine.core import decode
from lpengine.core.instructions import Decoded
from lpengine.elf import Relocation
from lpengine.elf.constants import (
    R_X86_64_32,
    R_X86_64_32S,
    R_X86_64_64,
    R_X86_64_PC32,
    R_X86_64_PLT32,
)

_SHORT_JUMP, _LONG_JUMP = 0xEB, 0xE9
# The bytes that a linker fills in.
WIDTHS = {
    int(R_X86_64_64): 8,
    int(R_X86_64_PC32): 4,
    int(R_X86_64_PLT32): 4,
    int(R_X86_64_32): 4,
    int(R_X86_64_32S): 4,
}
# jcc: 70+cc with one byte, 0f 80+cc with four.
_SHORT_CONDITIONS, _LONG_CONDITIONS = 0x70, 0x80
_CONDITION = 0x0F


@dataclass(frozen=True)
class Field:
    """Where what `record` refers to is in the linked code: a field that the linker
    filled in at `at`, or else the `target` of a jump that the assembler resolved,
    counted from the start of the function."""

    record: Relocation
    at: int
    target: int | None = None


def align(
    ours: bytes, theirs: bytes, records: Sequence[Relocation], start: int
) -> tuple[Field, ...] | None:
    """Where each of our references is in the linked code, None where the code is not
    the same. `records` are those of our code, which begins at `start` in its section;
    `theirs` may go on behind the function."""
    walk = _Walk(ours, theirs, {each.offset - start: each for each in records})
    return tuple(walk.fields) if walk.agrees() else None


class _Walk:
    def __init__(
        self, ours: bytes, theirs: bytes, records: dict[int, Relocation]
    ) -> None:
        self._ours, self._theirs = ours, theirs
        self._records = records
        self._places: dict[int, int] = {}
        self._jumps: list[tuple[int, int]] = []
        self.fields: list[Field] = []

    def agrees(self) -> bool:
        others = {each.offset: each for each in decode(self._theirs)}
        at = 0
        for mine in decode(self._ours):
            other = others.get(at)
            if other is None or not self._pair(mine, other):
                return False
            self._places[mine.offset] = at
            at = other.end
        self._places[len(self._ours)] = at
        # A jump out of the function has to be as far, since nobody says to where.
        return all(self._places.get(a, a) == b for a, b in self._jumps)

    def _pair(self, mine: Decoded, other: Decoded) -> bool:
        kind = _jump(mine)
        if kind is None:
            return self._same(mine, other)
        if _jump(other) != kind:
            return False
        target = other.end + _distance(self._theirs, other)
        record = self._records.get(mine.offset + mine.immediate_at)
        if record is None:
            self._jumps.append((mine.end + _distance(self._ours, mine), target))
        else:
            place = other.offset + other.immediate_at
            self.fields.append(Field(record, place, target))
        return True

    def _same(self, mine: Decoded, other: Decoded) -> bool:
        if mine.size != other.size:
            return False
        a = bytearray(self._ours[mine.offset : mine.end])
        b = bytearray(self._theirs[other.offset : other.end])
        for record, at in self._within(mine):
            width = min(_width(record), mine.size - at)
            a[at : at + width] = b[at : at + width] = bytes(width)
            self.fields.append(Field(record, other.offset + at))
        return a == b

    def _within(self, mine: Decoded) -> Iterator[tuple[Relocation, int]]:
        for at in range(mine.size):
            record = self._records.get(mine.offset + at)
            if record is not None:
                yield record, at


def _width(record: Relocation) -> int:
    return WIDTHS.get(record.type, 4)


def _jump(instruction: Decoded) -> int | None:
    """What kind of jump it is, whatever its length: -1 for jmp, else the condition.
    None for everything else."""
    if not instruction.is_relative:
        return None
    if instruction.map == 0 and instruction.opcode in (_SHORT_JUMP, _LONG_JUMP):
        return -1
    first = _SHORT_CONDITIONS if instruction.map == 0 else _LONG_CONDITIONS
    if instruction.map in (0, 1) and instruction.opcode & ~_CONDITION == first:
        return instruction.opcode & _CONDITION
    return None


def _distance(code: bytes, instruction: Decoded) -> int:
    at = instruction.offset + instruction.immediate_at
    field = code[at : at + instruction.immediate_size]
    return int.from_bytes(field, "little", signed=True)
