"""Which unit of the patched build is which of the original.

Names decide where a compiler did not number them. Numbered ones are told apart by
what refers to them: the same instruction of the same function means the same
variable. What stays undecided stays unmatched; nothing is matched by its position.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lpengine.diff.names import is_label, stem
from lpengine.diff.object import ObjectFile
from lpengine.diff.references import Reference, References
from lpengine.diff.shape import align_units, same_shape
from lpengine.diff.tables import Tables
from lpengine.diff.units import Role, Unit

Key = Hashable

# How long a chain of variables that lead to each other is followed.
_ROUNDS = 32


@dataclass(slots=True)
class Match:
    """The pairs found, both ways by unit number. `contested` are units of the
    original for which the evidence names several of the patched build."""

    forward: dict[int, Unit] = field(default_factory=dict)
    backward: dict[int, Unit] = field(default_factory=dict)
    contested: dict[int, list[Unit]] = field(default_factory=dict)

    def of(self, old: Unit) -> Unit | None:
        """The patched build's unit for one of the original's."""
        return self.forward.get(old.number)

    def original_of(self, new: Unit) -> Unit | None:
        return self.backward.get(new.number)

    def pair(self, old: Unit, new: Unit) -> None:
        self.forward[old.number] = new
        self.backward[new.number] = old
        self.contested.pop(old.number, None)

    def has(self, old: Unit, new: Unit) -> bool:
        return self.forward.get(old.number) is new

    def is_free(self, old: Unit, new: Unit) -> bool:
        return old.number not in self.forward and new.number not in self.backward


class Matcher:
    """Finds the pairs of two builds of one object."""

    def __init__(self, old: Tables, new: Tables) -> None:
        self._old_tables = old
        self._new_tables = new
        self._old = old.references
        self._new = new.references
        self._match = Match()
        self._waiting: list[tuple[Unit, Unit]] = []

    def match(self) -> Match:
        self._by_name()
        self._by_group(_clone_key, Role.FUNCTION)
        self._cold_parts()
        self._by_reference(self._same_fields)
        self._by_reference(self._aligned)
        self._left_over()
        return self._match

    def _pair(self, old: Unit, new: Unit) -> None:
        if self._match.is_free(old, new):
            self._match.pair(old, new)
            self._waiting.append((old, new))

    def _by_name(self) -> None:
        """Names that no compiler numbers: first those that are unique, then those
        that are unique in their source file."""
        for key in (_plain_key, _file_key):
            old = _unique(key, self._free_old())
            new = _unique(key, self._free_new())
            for name in old.keys() & new.keys():
                if _are_alike(old[name], new[name]):
                    self._pair(old[name], new[name])

    def _by_group(self, key: Callable[[Unit], Key | None], role: Role) -> None:
        """Clones: by stem where one is left on each side, else by equal code."""
        old = _groups(key, (unit for unit in self._free_old() if unit.role is role))
        new = _groups(key, (unit for unit in self._free_new() if unit.role is role))
        for name in old.keys() & new.keys():
            if len(old[name]) == len(new[name]) == 1:
                self._pair(old[name][0], new[name][0])
            else:
                self._by_content(old[name], new[name])

    def _by_content(self, old: Sequence[Unit], new: Sequence[Unit]) -> None:
        before = _unique(lambda unit: self._content(self._old, unit), old)
        after = _unique(lambda unit: self._content(self._new, unit), new)
        for content in before.keys() & after.keys():
            self._pair(before[content], after[content])

    def _content(self, side: References, unit: Unit) -> Key:
        references = tuple(
            (each.offset, each.place, each.text, stem(each.shown).text)
            for each in side.of(unit)
        )
        return side.object.bytes_of(unit), unit.size, references

    def _cold_parts(self) -> None:
        """A cold part belongs to the function it was split from."""
        old = {key: unit for key, unit in self._colds(self._old.object)}
        for parent, unit in self._colds(self._new.object):
            original = self._match.original_of(parent)
            if original and original in old:
                self._pair(old[original], unit)

    def _colds(self, object_: ObjectFile) -> Iterator[tuple[Unit, Unit]]:
        named = {s.name: unit for unit in object_.functions for s in unit.symbols}
        for unit in object_.functions:
            parent = named.get(parent_name(unit.name))
            if parent is not None and parent is not unit:
                yield parent, unit

    def _by_reference(
        self, pairs_of: Callable[[Unit, Unit], Iterable[tuple[Reference, Reference]]]
    ) -> None:
        """Votes of all matched units on what their fields refer to, until no more
        is learnt."""
        units = self._old.object.units
        waiting = [(units[n], unit) for n, unit in self._match.forward.items()]
        for _ in range(_ROUNDS):
            free = self._mentioning({u.number for u in self._free_old()})
            votes: dict[int, Counter[int]] = defaultdict(Counter)
            for old, new in waiting:
                if old.number not in free:
                    continue
                for one, two in pairs_of(old, new):
                    if self._may_be_same(one, two):
                        assert one.unit
                        assert two.unit
                        votes[one.unit.number][two.unit.number] += 1
            self._waiting = []
            self._count(votes)
            waiting = self._waiting
            if not waiting:
                break

    def _mentioning(self, wanted: set[int]) -> set[int]:
        """The numbers of the original's units with a field, or a record about them,
        that leads to one of these units."""
        object_ = self._old.object
        wanted = {n for n in wanted if _is_renumbered(object_.units[n])}
        if not wanted:
            return set()
        sections = {object_.units[number].section.index for number in wanted}
        symbols = {
            symbol.index
            for symbol in object_.symbols
            if symbol.in_section and symbol.section_index in sections
        }
        found = {
            unit.number
            for unit in object_.units
            if any(r.symbol_index in symbols for r in object_.relocations_of(unit))
        }
        found |= {
            record.owner.number
            for record in self._old_tables.records
            if record.owner
            and any(r.unit and r.unit.number in wanted for r in record.references[1:])
        }
        return found

    def _count(self, votes: dict[int, Counter[int]]) -> None:
        claims = Counter(new for counter in votes.values() for new in counter)
        for number, counter in votes.items():
            old = self._old.object.units[number]
            candidates = [self._new.object.units[new] for new in counter]
            if len(candidates) == 1 and claims[candidates[0].number] == 1:
                self._pair(old, candidates[0])
            else:
                self._match.contested[number] = candidates

    def _may_be_same(self, one: Reference, two: Reference) -> bool:
        if one.unit is None or two.unit is None or one.place != two.place:
            return False
        return self._match.is_free(one.unit, two.unit) and _may_match(
            one.unit, two.unit
        )

    def _same_fields(
        self, old: Unit, new: Unit
    ) -> Iterator[tuple[Reference, Reference]]:
        if not same_shape(self._old, old, self._new, new):
            return
        yield from zip(self._old.of(old), self._new.of(new), strict=True)
        records = self._old_tables.by_owner.get(old.number, [])
        others = self._new_tables.by_owner.get(new.number, [])
        if len(records) == len(others):
            for one, two in zip(records, others, strict=True):
                if one.section == two.section and one.place == two.place:
                    yield from zip(one.references, two.references, strict=False)

    def _aligned(self, old: Unit, new: Unit) -> Iterator[tuple[Reference, Reference]]:
        if not (old.is_code and new.is_code):
            return
        alignment = align_units(self._old, old, self._new, new)
        yield from alignment.fields
        others = {
            (record.section, record.place): record
            for record in self._new_tables.by_owner.get(new.number, ())
        }
        for one in self._old_tables.by_owner.get(old.number, ()):
            two = others.get((one.section, alignment.places.get(one.place, -1)))
            if two is not None:
                yield from zip(one.references, two.references, strict=False)

    def _left_over(self) -> None:
        """Numbered variables of which one is left on each side, where functions that
        are the same refer to both."""
        old = _groups(_variable_key, self._free_old())
        new = _groups(_variable_key, self._free_new())
        both = [key for key in old if key in new]
        if not both:
            return
        before = referrers(self._old)
        after = referrers(self._new)
        for key in both:
            self._pair_used_alike(old[key], new[key], before, after)

    def _pair_used_alike(
        self,
        old: Sequence[Unit],
        new: Sequence[Unit],
        before: dict[int, list[Unit]],
        after: dict[int, list[Unit]],
    ) -> None:
        """Of one name, size and section: those that are alone on both sides, else
        those whose initial values are, if the same functions use them."""
        if len(old) > 1 or len(new) > 1:
            one = _unique(lambda unit: self._content(self._old, unit), old)
            two = _unique(lambda unit: self._content(self._new, unit), new)
            pairs = [(one[key], two[key]) for key in one.keys() & two.keys()]
        else:
            pairs = [(old[0], new[0])]
        for left, right in pairs:
            users = {family(user) for user in before.get(left.number, ())}
            others = {family(user) for user in after.get(right.number, ())}
            if users & others or not (users or others):
                self._pair(left, right)

    def _free_old(self) -> Iterator[Unit]:
        paired = self._match.forward
        return (u for u in self._old.object.units if u.number not in paired)

    def _free_new(self) -> Iterator[Unit]:
        paired = self._match.backward
        return (u for u in self._new.object.units if u.number not in paired)


def referrers(side: References) -> dict[int, list[Unit]]:
    """The units that refer to each unit, by its number."""
    found: dict[int, list[Unit]] = defaultdict(list)
    for unit in side.object.units:
        for each in side.of(unit):
            if each.unit is not None and each.unit is not unit:
                found[each.unit.number].append(unit)
    return found


def parent_name(name: str) -> str:
    """The exact name of the function that a cold part was split from, or ""."""
    if not stem(name).is_cold:
        return ""
    return name[: name.rindex(".cold")]


def family(unit: Unit) -> str:
    """A function with its clones and parts."""
    return stem(unit.name).text.partition(".")[0]


def _is_renumbered(unit: Unit) -> bool:
    return unit.role is Role.ANONYMOUS or stem(unit.name).is_numbered


def _may_match(old: Unit, new: Unit) -> bool:
    return _is_renumbered(old) and _are_alike(old, new) and _stem(old) == _stem(new)


def _are_alike(old: Unit, new: Unit) -> bool:
    return old.is_code == new.is_code and (old.role is Role.ANONYMOUS) == (
        new.role is Role.ANONYMOUS
    )


def _stem(unit: Unit) -> str:
    if unit.role is Role.ANONYMOUS or is_label(unit.name):
        return unit.section.name
    return stem(unit.name).text


def _plain_key(unit: Unit) -> Key | None:
    if unit.role is Role.ANONYMOUS or not unit.symbols or stem(unit.name).is_numbered:
        return None
    return unit.name


def _file_key(unit: Unit) -> Key | None:
    name = _plain_key(unit)
    return (unit.file, name) if name else None


def _clone_key(unit: Unit) -> Key | None:
    found = stem(unit.name)
    if unit.role is not Role.FUNCTION or not found.is_numbered or found.is_cold:
        return None
    return unit.file, found.text


def _variable_key(unit: Unit) -> Key | None:
    if unit.role is not Role.VARIABLE or not stem(unit.name).is_numbered:
        return None
    return unit.file, stem(unit.name).text, unit.kind, unit.size


def _groups(
    key: Callable[[Unit], Key | None], units: Iterable[Unit]
) -> dict[Key, list[Unit]]:
    groups: dict[Key, list[Unit]] = defaultdict(list)
    for unit in units:
        found = key(unit)
        if found is not None:
            groups[found].append(unit)
    return groups


def _unique(
    key: Callable[[Unit], Key | None], units: Iterable[Unit]
) -> dict[Key, Unit]:
    """The units that have their key to themselves."""
    groups = _groups(key, units)
    return {name: found[0] for name, found in groups.items() if len(found) == 1}
