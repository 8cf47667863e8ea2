"""Two builds of one object, matched and compared: all that is known of the pair
before anything is decided."""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cached_property

from lpengine.diff.changes import Difference
from lpengine.diff.compare import Comparer, Differing
from lpengine.diff.declarations import Declarations
from lpengine.diff.lines import Lines
from lpengine.diff.match import Match, Matcher, parent_name
from lpengine.diff.object import ObjectFile
from lpengine.diff.references import References
from lpengine.diff.sections import SectionKind
from lpengine.diff.tables import Tables
from lpengine.diff.units import Role, Unit
from lpengine.elf.constants import STB_WEAK


@dataclass(frozen=True, slots=True)
class Pair:
    """A matched pair of units, and how they differ."""

    old: Unit
    new: Unit
    differing: Differing | None


class Examination:
    """The pair of objects, units matched and compared."""

    def __init__(
        self,
        old: ObjectFile,
        new: ObjectFile,
        lines: Lines,
        overridden: Set[str] = frozenset(),
    ) -> None:
        self._overridden = overridden
        self.old = Tables(References(old))
        self.new = Tables(References(new))
        self.match: Match = Matcher(self.old, self.new).match()
        self.comparer = Comparer(self.old, self.new, self.match, lines)
        self.pairs: tuple[Pair, ...] = tuple(self._compare())

    @property
    def old_object(self) -> ObjectFile:
        return self.old.references.object

    @property
    def new_object(self) -> ObjectFile:
        return self.new.references.object

    def _compare(self) -> Iterator[Pair]:
        """All pairs. Numbers that looked changed are looked at again when all lines
        that moved are known."""
        first = []
        for number, new in sorted(self.match.forward.items(), key=_by_number):
            old = self.old_object.units[number]
            first.append((old, new, self.comparer.differing(old, new)))
        for old, new, differing in first:
            if differing is not None and differing.kind is Difference.CODE:
                differing = self.comparer.differing(old, new)
            yield Pair(old, new, differing)

    @cached_property
    def by_old(self) -> dict[int, Pair]:
        return {pair.old.number: pair for pair in self.pairs}

    @cached_property
    def by_new(self) -> dict[int, Pair]:
        return {pair.new.number: pair for pair in self.pairs}

    @cached_property
    def gone(self) -> tuple[Unit, ...]:
        """Units of the original that the patched build does not have."""
        forward = self.match.forward
        return tuple(u for u in self.old_object.units if u.number not in forward)

    @cached_property
    def added(self) -> tuple[Unit, ...]:
        """Units that only the patched build has."""
        backward = self.match.backward
        return tuple(u for u in self.new_object.units if u.number not in backward)

    @cached_property
    def differing_code(self) -> dict[int, Pair]:
        """The changed functions by the number of the patched build's unit: a cold
        part that changed is a change of its function."""
        found: dict[int, Pair] = {}
        for pair in self.pairs:
            if pair.differing is None or pair.new.role is not Role.FUNCTION:
                continue
            if self.is_boot_text(pair) or self.is_declared(pair):
                continue
            if self.is_overridden(pair):
                continue
            parent = self.parents.get(pair.new.number)
            owner = self.by_new.get(parent.number) if parent else None
            if owner is None:
                found[pair.new.number] = pair
            elif owner.new.number not in found:
                found[owner.new.number] = _with_child(owner, pair)
        return found

    @cached_property
    def declarations(self) -> Declarations:
        return Declarations(self.new.references)

    def is_declared(self, pair: Pair) -> bool:
        """Whether the patched source says that this change is not to be taken."""
        declared = self.declarations
        return (
            pair.new.number in declared.functions
            or pair.new.section.name in declared.sections
        )

    def is_overridden(self, pair: Pair) -> bool:
        """Whether it is a weak function, and another object's is used."""
        symbol = pair.old.symbol
        is_weak = symbol is not None and symbol.binding == STB_WEAK
        return is_weak and pair.old.name in self._overridden

    def is_boot_text(self, pair: Pair) -> bool:
        """Whether boot code differs in its texts alone: nobody will miss them."""
        both = pair.old.kind is pair.new.kind is SectionKind.BOOT_CODE
        return both and self.comparer.only_texts_differ(pair.old, pair.new)

    @cached_property
    def parents(self) -> dict[int, Unit]:
        """The function that each cold part of the patched build belongs to."""
        return parents_in(self.new_object)

    @cached_property
    def children(self) -> dict[int, list[Unit]]:
        """The cold parts of each function of the patched build."""
        found: dict[int, list[Unit]] = {}
        for number, parent in self.parents.items():
            found.setdefault(parent.number, []).append(self.new_object.units[number])
        return found

    @cached_property
    def differing_data(self) -> tuple[Pair, ...]:
        return tuple(
            pair for pair in self.pairs if pair.differing and not pair.new.is_code
        )

    @cached_property
    def new_functions(self) -> tuple[Unit, ...]:
        """Functions that only the patched build has, without cold parts."""
        return tuple(
            unit
            for unit in self.added
            if unit.role is Role.FUNCTION
            and unit.kind is SectionKind.CODE
            and unit.number not in self.parents
        )

    @cached_property
    def gone_functions(self) -> tuple[Unit, ...]:
        cold = parents_in(self.old_object)
        return tuple(
            unit
            for unit in self.gone
            if unit.role is Role.FUNCTION and unit.number not in cold
        )


def _by_number(matched: tuple[int, Unit]) -> int:
    """In the order of the object, which does not depend on how they were matched."""
    return matched[0]


def parents_in(object_: ObjectFile) -> dict[int, Unit]:
    """The function that each cold part of an object belongs to, by its number."""
    named = {s.name: unit for unit in object_.functions for s in unit.symbols}
    found: dict[int, Unit] = {}
    for unit in object_.functions:
        parent = named.get(parent_name(unit.name))
        if parent is not None and parent is not unit:
            found[unit.number] = parent
    return found


def _with_child(owner: Pair, child: Pair) -> Pair:
    if owner.differing is not None:
        return owner
    assert child.differing
    differing = Differing(
        Difference.CHILD,
        child.differing.before,
        child.differing.after,
        f"in {child.old.name}: {child.differing.what}",
    )
    return Pair(owner.old, owner.new, differing)
