"""How two units look, leaving aside what they refer to."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lpengine.arch.x86 import is_padding
from lpengine.core import DecodedCode, decode
from lpengine.diff.align import aligned
from lpengine.diff.names import stem
from lpengine.diff.references import Reference, References
from lpengine.diff.units import Unit


def same_shape(old: References, one: Unit, new: References, two: Unit) -> bool:
    """Whether both have the same bytes and fields of the same kinds at the same
    places."""
    before, after = old.of(one), new.of(two)
    if one.size != two.size or len(before) != len(after):
        return False
    if any(
        a.offset != b.offset or kind(a) != kind(b)
        for a, b in zip(before, after, strict=True)
    ):
        return False
    return masked(old, one) == masked(new, two)


def kind(reference: Reference) -> int:
    """The relocation's type, but for what assemblers of different ages call the same
    call: R_X86_64_PLT32 and R_X86_64_PC32."""
    return 2 if reference.type == 4 else reference.type


def masked(side: References, unit: Unit) -> bytes:
    """A unit's bytes with zeroes where the assembler filled a field in."""
    code = side.object.bytes_of(unit)
    filled = [each for each in side.of(unit) if each.is_filled]
    if not filled:
        return code
    blank = bytearray(code)
    for each in filled:
        size = 4 if kind(each) == 2 else 1
        blank[each.offset : each.offset + size] = bytes(size)
    return bytes(blank)


class Instructions:
    """A unit's code as instructions, with the references in each."""

    def __init__(self, side: References, unit: Unit) -> None:
        self.code = masked(side, unit)
        self.decoded: DecodedCode = decode(self.code)
        self._fields: dict[int, list[Reference]] = {}
        for reference in side.of(unit) if self.code else ():
            index = self.decoded.index_of(reference.offset)
            self._fields.setdefault(index, []).append(reference)

    def __len__(self) -> int:
        return len(self.decoded)

    def fields_at(self, index: int) -> Sequence[Reference]:
        """The references in an instruction."""
        return self._fields.get(index, ())

    def bytes_at(self, index: int) -> bytes:
        each = self.decoded[index]
        return self.code[each.offset : each.end]

    def target(self, index: int) -> int | None:
        """Where a jump inside of the unit goes, as an offset."""
        each = self.decoded[index]
        if not each.is_relative or self._fields.get(index):
            return None
        field = each.offset + each.immediate_at
        raw = self.code[field : field + each.immediate_size]
        return each.end + int.from_bytes(raw, "little", signed=True)

    @cached_property
    def significant(self) -> tuple[int, ...]:
        """The instructions that are not there for the sake of alignment: NOPs in
        front of a place that is jumped to, or behind one that control does not leave
        by falling through."""
        targets = {self.target(index) for index in range(len(self))} | {len(self.code)}
        kept: list[int] = []
        padding: list[int] = []
        for index, each in enumerate(self.decoded):
            if not self._fields.get(index) and is_padding(self.bytes_at(index)):
                padding.append(index)
                continue
            behind_end = bool(kept) and self._ends(kept[-1])
            if padding and not behind_end and each.offset not in targets:
                kept += padding
            padding = []
            kept.append(index)
        return tuple(kept)

    @cached_property
    def ranks(self) -> dict[int, int]:
        """Which significant instruction is at, or first behind, each place where an
        instruction begins."""
        found: dict[int, int] = {}
        rank = 0
        for index, each in enumerate(self.decoded):
            found[each.offset] = rank
            if rank < len(self.significant) and self.significant[rank] == index:
                rank += 1
        found[len(self.code)] = rank
        return found

    def _ends(self, index: int) -> bool:
        each = self.decoded[index]
        return (each.map == 0 and each.opcode in (0xC3, 0xC2, 0xE9, 0xEB)) or (
            each.map == 1 and each.opcode == 0x0B
        )

    def token(self, index: int) -> Hashable:
        """What is alike in instructions that mean the same: bytes without distances,
        stems instead of names."""
        each = self.decoded[index]
        references = tuple(
            (r.place, r.text, stem(r.shown).text) for r in self.fields_at(index)
        )
        if each.is_relative and not references:
            return each.map, each.opcode
        return self.bytes_at(index), references

    def tokens(self) -> list[Hashable]:
        return [self.token(index) for index in range(len(self))]


@dataclass(frozen=True, slots=True)
class Alignment:
    """The instructions of two units that are alike: their references in pairs, and
    the place in the second of each place in the first."""

    fields: tuple[tuple[Reference, Reference], ...]
    places: dict[int, int]


def align_units(old: References, one: Unit, new: References, two: Unit) -> Alignment:
    """Puts two functions beside each other."""
    before, after = Instructions(old, one), Instructions(new, two)
    fields: list[tuple[Reference, Reference]] = []
    places: dict[int, int] = {}
    for left, right in aligned(before.tokens(), after.tokens()):
        fields += zip(before.fields_at(left), after.fields_at(right), strict=False)
        places[before.decoded[left].offset] = after.decoded[right].offset
    return Alignment(tuple(fields), places)
