"""Whether two units mean the same, and if not, where they first differ."""

from collections.abc import Sequence
from dataclasses import dataclass

from lpengine.core import differing_instructions
from lpengine.diff.align import aligned
from lpengine.diff.changes import Difference
from lpengine.diff.instructions import (
    immediate,
    same_but_immediate,
    same_jump,
)
from lpengine.diff.lines import Lines, Side
from lpengine.diff.match import Match
from lpengine.diff.offsets import Shift, shift_of
from lpengine.diff.private import Privacy
from lpengine.diff.references import Reference, References
from lpengine.diff.shape import Instructions, kind, masked, same_shape
from lpengine.diff.tables import TableRecord, Tables
from lpengine.diff.units import Role, Unit
from lpengine.elf.constants import SHT_NOBITS

_WORD = 4
_ZEROES_MAX = 1 << 20
# Constants without a name that lead to each other: what is further down is not looked
# at, and counts as changed.
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Differing:
    """Where two units differ first: `kind`, and the places of the instructions (or
    bytes, for data) in both; -1 where one has nothing there. `what` says it in a
    few words."""

    kind: Difference
    before: int
    after: int
    what: str


class Comparer:
    """Compares matched units of two builds."""

    def __init__(
        self,
        old: Tables,
        new: Tables,
        match: Match,
        lines: Lines,
    ) -> None:
        self.old = old.references
        self.new = new.references
        self.match = match
        self.old_tables = old
        self.new_tables = new
        self._lines = lines
        self._private_old = Privacy(self.old)
        self._private_new = Privacy(self.new)
        self._alike: dict[tuple[int, int], bool] = {}
        self._supposed: list[tuple[int, int]] = []
        self._depth = 0
        self._code: dict[tuple[int, int], dict[int, int]] = {}
        self._taken_apart: dict[tuple[int, int], tuple[Instructions, Instructions]] = {}
        self._note_lines()

    def differing(self, one: Unit, two: Unit) -> Differing | None:
        """The first difference of two matched units, None where they mean the
        same."""
        if one.is_code:
            return self._differing_code(one, two) or self._differing_records(one, two)
        return self._differing_data(one, two)

    def _note_lines(self) -> None:
        for number, records in self.old_tables.by_owner.items():
            other = self.match.forward.get(number)
            if other is not None:
                others = self.new_tables.by_owner.get(other.number, [])
                self._lines.note_records(records, others)

    def shift(self, one: Unit, two: Unit) -> Shift | None:
        """How much further one function addresses what the other does, if that is
        all they differ in."""
        before, after = self._instructions(one, two)
        places = differing_instructions(before.code, after.code)
        if places is None:
            if len(before.significant) != len(after.significant):
                return None
            pairs = list(zip(before.significant, after.significant, strict=True))
        elif self._differing_fields(one, two) is not None:
            return None
        else:
            index_of = before.decoded.index_of
            pairs = [(index_of(place), index_of(place)) for place in places]
        return shift_of(before, after, pairs, self.same_target)

    def _instructions(self, one: Unit, two: Unit) -> tuple[Instructions, Instructions]:
        """Both functions taken apart, and kept: most that differ are looked at
        again."""
        key = one.number, two.number
        found = self._taken_apart.get(key)
        if found is None:
            found = Instructions(self.old, one), Instructions(self.new, two)
            self._taken_apart[key] = found
        return found

    def same_target(self, one: Reference, two: Reference) -> bool:
        """Whether two fields refer to the same."""
        if kind(one) != kind(two):
            return False
        if one.text is not None or two.text is not None:
            return self._same_text(one, two)
        if one.unit is None or two.unit is None:
            return self._name(one) == self._name(two)
        if self._by_content(one.unit, two.unit):
            return one.place == two.place and self.alike(one.unit, two.unit)
        if not self.match.has(one.unit, two.unit):
            return False
        return self._same_place(one, two)

    def only_texts_differ(self, one: Unit, two: Unit) -> bool:
        """Whether the texts that two functions use are all that differs."""
        before, after = self.old.of(one), self.new.of(two)
        if not same_shape(self.old, one, self.new, two):
            return False
        return all(
            self.same_target(a, b) or (a.text is not None and b.text is not None)
            for a, b in zip(before, after, strict=True)
        )

    def alike(self, one: Unit, two: Unit) -> bool:
        """Whether two constants, or pieces of code without a name, hold the same."""
        key = one.number, two.number
        found = self._alike.get(key)
        if found is None:
            found = self._find_alike(key, one, two)
        return found

    def _find_alike(self, key: tuple[int, int], one: Unit, two: Unit) -> bool:
        if self._depth == _DEEPEST:
            return False
        # What leads back to itself is alike unless something else differs.
        self._alike[key] = True
        begun = len(self._supposed)
        self._supposed.append(key)
        self._depth += 1
        found = self._are_alike(one, two)
        self._depth -= 1
        if not found:
            # What was found alike on the way may have led back to this.
            for each in self._supposed[begun:]:
                del self._alike[each]
            del self._supposed[begun:]
            self._alike[key] = False
        return found

    def _are_alike(self, one: Unit, two: Unit) -> bool:
        if one.is_code:
            return self._differing_code(one, two) is None
        return self._differing_data(one, two) is None

    def _by_content(self, one: Unit, two: Unit) -> bool:
        return self._private_old.holds(one) and self._private_new.holds(two)

    def _same_text(self, one: Reference, two: Reference) -> bool:
        before, after = self._text(one), self._text(two)
        if before is None or after is None or one.place != two.place:
            return False
        return before == after or self._lines.explain_text(before, after)

    def _text(self, reference: Reference) -> bytes | None:
        """The text that a field leads to, also where it is a variable of its own:
        compilers merge some and not others."""
        return reference.text

    def _name(self, reference: Reference) -> tuple[str, int]:
        """A name and the place behind it, for what one build defines and the other
        does not."""
        unit = reference.unit
        if unit is None:
            return reference.name, reference.place
        return unit.name, reference.place - unit.entry

    def _same_place(self, one: Reference, two: Reference) -> bool:
        assert one.unit
        assert two.unit
        if one.place - one.unit.entry == two.place - two.unit.entry:
            return True
        moved = self._code.get((one.unit.number, two.unit.number))
        return moved is not None and moved.get(one.place) == two.place

    def _differing_code(self, one: Unit, two: Unit) -> Differing | None:
        left, right = masked(self.old, one), masked(self.new, two)
        if left == right:
            return self._differing_fields(one, two)
        before, after = self._instructions(one, two)
        places = differing_instructions(left, right)
        if places is not None:
            return self._differing_places(one, two, before, after, places)
        return self._differing_instructions(one, two, before, after)

    def _differing_places(
        self,
        one: Unit,
        two: Unit,
        before: Instructions,
        after: Instructions,
        places: Sequence[int],
    ) -> Differing | None:
        """For code that differs in single instructions and is laid out alike."""
        found = self._differing_fields(one, two)
        if found is not None and found.before < places[0]:
            return found
        sides = Side(self.old, one, before), Side(self.new, two, after)
        for place in places:
            index = before.decoded.index_of(place)
            other = after.decoded.index_of(place)
            differing = self._differing_at(*sides, index, other)
            if differing is not None:
                return differing
        return found

    def _differing_fields(self, one: Unit, two: Unit) -> Differing | None:
        """For equal bytes: the first field that refers to something else."""
        before, after = self.old.of(one), self.new.of(two)
        for left, right in zip(before, after, strict=False):
            if left.offset != right.offset or left.shift != right.shift:
                return Differing(
                    Difference.REFERENCE, left.offset, right.offset, "another field"
                )
            if not self.same_target(left, right):
                return self._other_target(left, right, left.offset, right.offset)
        if len(before) != len(after):
            return Differing(
                Difference.REFERENCE,
                _offset(before, len(after)),
                _offset(after, len(before)),
                "a field more or less",
            )
        return None

    def _differing_instructions(
        self, one: Unit, two: Unit, before: Instructions, after: Instructions
    ) -> Differing | None:
        if len(before.significant) != len(after.significant):
            return self._first_unaligned(before, after)
        self._code[one.number, two.number] = {
            before.decoded[index].offset: after.decoded[other].offset
            for index, other in zip(before.significant, after.significant, strict=True)
        }
        sides = Side(self.old, one, before), Side(self.new, two, after)
        for places in zip(before.significant, after.significant, strict=True):
            found = self._differing_at(*sides, *places)
            if found is not None:
                return found
        return None

    def _first_unaligned(
        self, before: Instructions, after: Instructions
    ) -> Differing | None:
        tokens, others = before.tokens(), after.tokens()
        expected = 0
        for left, right in aligned(tokens, others):
            if left != expected or right != expected:
                break
            expected += 1
        return Differing(
            Difference.CODE,
            _at(before, expected),
            _at(after, expected),
            f"{len(before)} instructions became {len(after)}",
        )

    def _differing_at(
        self, old: Side, new: Side, index: int, other: int
    ) -> Differing | None:
        """How an instruction differs from its twin, if it does."""
        before, after = old.code, new.code
        left, right = before.decoded[index], after.decoded[other]
        fields, others = before.fields_at(index), after.fields_at(other)
        places = left.offset, right.offset
        if before.target(index) is not None or after.target(other) is not None:
            if same_jump(before, index, after, other):
                return None
            return Differing(Difference.CODE, *places, "a jump goes elsewhere")
        if len(fields) != len(others):
            return Differing(Difference.CODE, *places, "another instruction")
        if not same_but_immediate(before, index, after, other):
            return Differing(Difference.CODE, *places, "another instruction")
        for a, b in zip(fields, others, strict=True):
            if not self.same_target(a, b):
                return self._other_target(a, b, *places)
        if immediate(before, index) == immediate(after, other):
            return None
        if self._lines.explain_immediate(old, new, index, other):
            return None
        return Differing(Difference.CODE, *places, "another number")

    def _other_target(
        self, one: Reference, two: Reference, before: int, after: int
    ) -> Differing:
        """Says that two fields lead to different things: elsewhere, or to a constant
        that holds something else."""
        what = f"{one.shown}{_plus(one)} became {two.shown}{_plus(two)}"
        kind = Difference.REFERENCE
        if one.unit and two.unit and self._by_content(one.unit, two.unit):
            kind = Difference.CONSTANT
            if one.shown == two.shown:
                what = f"{one.shown} holds something else"
        return Differing(kind, before, after, what)

    def _differing_records(self, one: Unit, two: Unit) -> Differing | None:
        """Records that change what the code means: other alternatives, another way
        on after an exception, another key."""
        before = _meaning(self.old_tables, one)
        after = _meaning(self.new_tables, two)
        for left, right in zip(before, after, strict=False):
            if not self._same_record(left, right):
                return Differing(
                    Difference.TABLE,
                    left.place,
                    right.place,
                    f"another record in {left.section}",
                )
        if len(before) == len(after):
            return None
        longer = before if len(before) > len(after) else after
        extra = longer[min(len(before), len(after))]
        return Differing(
            Difference.TABLE,
            extra.place if longer is before else -1,
            extra.place if longer is after else -1,
            f"a record more or less in {extra.section}",
        )

    def _same_record(self, one: TableRecord, two: TableRecord) -> bool:
        if one.section != two.section or one.meaning != two.meaning:
            return False
        if len(one.references) != len(two.references):
            return False
        return all(
            a.offset == b.offset and self.same_target(a, b)
            for a, b in zip(one.references, two.references, strict=True)
        )

    def _differing_data(self, one: Unit, two: Unit) -> Differing | None:
        if one.section.type == two.section.type == SHT_NOBITS and one.size == two.size:
            return None
        before, after = _filled(self.old, one), _filled(self.new, two)
        fields, others = self.old.of(one), self.new.of(two)
        if one.role is Role.ANONYMOUS and one.size != two.size:
            before, after = before.rstrip(b"\0"), after.rstrip(b"\0")
        elif one.size != two.size:
            return Differing(
                Difference.SIZE, -1, -1, f"{one.size} bytes became {two.size}"
            )
        for left, right in zip(fields, others, strict=False):
            if left.offset != right.offset or not self.same_target(left, right):
                return self._other_target(left, right, left.offset, right.offset)
        if len(fields) != len(others):
            at = max(len(fields), len(others)) - 1
            place = (fields if len(fields) > len(others) else others)[at].offset
            return Differing(
                Difference.CONSTANT, place, place, "a pointer more or less"
            )
        if before == after:
            return None
        return self._differing_words(list(fields), before, after)

    def _differing_words(
        self, fields: list[Reference], before: bytes, after: bytes
    ) -> Differing | None:
        if len(before) != len(after):
            place = min(len(before), len(after))
            return Differing(Difference.CONSTANT, place, place, "another length")
        for at in range(0, len(before), _WORD):
            left, right = before[at : at + _WORD], after[at : at + _WORD]
            if left != right and not self._lines.explain_word(fields, at):
                what = f"{left.hex()} became {right.hex()}"
                return Differing(Difference.CONSTANT, at, at, what)
        return None


def _filled(side: References, unit: Unit) -> bytes:
    """A variable's initial value, zeroes where it takes no bytes of the file; those
    of very large ones are not made."""
    if unit.section.type == SHT_NOBITS:
        return bytes(min(unit.size, _ZEROES_MAX))
    return side.object.bytes_of(unit)


def _plus(reference: Reference) -> str:
    entry = reference.unit.entry if reference.unit else 0
    place = reference.place - entry
    return f"{place:+#x}" if place else ""


def _offset(references: Sequence[Reference], index: int) -> int:
    return references[index].offset if index < len(references) else -1


def _at(code: Instructions, index: int) -> int:
    return code.decoded[index].offset if index < len(code) else -1


def _meaning(tables: Tables, unit: Unit) -> list[TableRecord]:
    records = tables.by_owner.get(unit.number, ())
    return [
        record
        for record in records
        if record.table.spec.is_meaning and not _leads_nowhere(record)
    ]


def _leads_nowhere(record: TableRecord) -> bool:
    """Jump labels that lead to themselves: how unwanted ones are put out of action
    without moving the others."""
    targets = record.references[1:2]
    return record.section == "__jump_table" and any(
        each.unit is record.owner and each.place == record.place for each in targets
    )
