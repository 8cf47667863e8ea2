"""What a payload must bring: the changed and new functions, and all they drag in."""

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from lpengine.diff.belonging import Belonging
from lpengine.diff.changes import (
    Definition,
    External,
    Inside,
    Original,
    Piece,
    PieceKind,
    Table,
    Target,
    Use,
)
from lpengine.diff.examine import Examination
from lpengine.diff.names import is_brought, is_static_local
from lpengine.diff.private import Privacy
from lpengine.diff.redirects import Redirects
from lpengine.diff.references import Reference, is_call
from lpengine.diff.sections import SectionKind
from lpengine.diff.shape import masked
from lpengine.diff.units import Role, Unit
from lpengine.elf import Section
from lpengine.elf.constants import (
    SHT_NOBITS,
    STB_LOCAL,
    STT_NOTYPE,
    STT_OBJECT,
)


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A reference that leads to nothing a payload could bind to."""

    unit: str
    symbol: str
    what: str


class Closure:
    """Grows from the changed functions until nothing is missing. `units` are the
    patched build's units that are included, by number, with their piece."""

    def __init__(self, examination: Examination, redirects: Redirects) -> None:
        self._pair = examination
        self._side = examination.new.references
        self._private = Privacy(self._side)
        self._changed = redirects.redirected
        self._carried = redirects.carried
        self._texts: dict[tuple[int, bytes], int] = {}
        self._waiting: deque[Unit] = deque()
        self._pieces: list[Piece | None] = []
        self._units: list[Unit | None] = []
        self.places: dict[int, int] = {}
        self.unresolved: list[Unresolved] = []
        self.contested: dict[str, list[str]] = {}
        self.tables: tuple[Table, ...] = ()
        self.hooks: tuple[Table, ...] = ()
        self.indexed: frozenset[int] = frozenset()

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return tuple(piece for piece in self._pieces if piece is not None)

    def grow(self) -> None:
        for pair in sorted(self._changed.values(), key=lambda each: each.new.number):
            if pair.new.kind is SectionKind.CODE:
                self.include(pair.new, "")
        for unit in self._pair.new_functions:
            self.include(unit, "")
        belonging = Belonging(self._pair, self)
        self.hooks = tuple(belonging.hooks())
        self.work()
        self.tables = tuple(belonging.tables())
        self.indexed = belonging.indexed

    def includes(self, unit: Unit) -> bool:
        return unit.number in self.places

    def included(self) -> Iterator[Unit]:
        return (unit for unit in self._units if unit is not None)

    def unit(self, place: int) -> Unit | None:
        """The `place`-th unit that was included, None for a text or behind the
        last."""
        return self._units[place] if place < len(self._units) else None

    @property
    def count(self) -> int:
        return len(self._units)

    def work(self) -> None:
        """Include what the units included so far refer to."""
        while self._waiting:
            unit = self._waiting.popleft()
            index = self.places[unit.number]
            piece = self._pieces[index]
            assert piece
            uses = tuple(self._use(unit, each) for each in self._side.of(unit))
            self._pieces[index] = replace(piece, uses=uses)

    def include(self, unit: Unit, why: str) -> int:
        found = self.places.get(unit.number)
        if found is not None:
            return found
        index = self.places[unit.number] = len(self._pieces)
        self._pieces.append(self._piece(unit, why))
        self._units.append(unit)
        self._waiting.append(unit)
        return index

    def _piece(self, unit: Unit, why: str) -> Piece:
        section = unit.section
        return Piece(
            unit.name,
            _piece_kind(unit),
            section.name,
            section.flags,
            section.entry_size,
            _alignment(section, unit.start),
            b"" if section.type == SHT_NOBITS else masked(self._side, unit),
            unit.size,
            tuple(
                Definition(s.name, s.value - unit.start, s.size, s.binding, s.type)
                for s in unit.symbols
                if s.name
            ),
            why=why,
        )

    def _text(self, section: Section, text: bytes, why: str) -> int:
        key = section.index, text
        found = self._texts.get(key)
        if found is None:
            is_string = self._side.object.kinds[section.index] is SectionKind.STRINGS
            kind = PieceKind.STRING if is_string else PieceKind.CONSTANT
            found = self._texts[key] = len(self._pieces)
            self._units.append(None)
            self._pieces.append(
                Piece(
                    f"{section.name}:{len(self._texts)}",
                    PieceKind.CODE if section.executable else kind,
                    section.name,
                    section.flags,
                    section.entry_size,
                    max(section.alignment, 1),
                    text,
                    len(text),
                    why=why,
                )
            )
        return found

    def _use(self, unit: Unit, reference: Reference) -> Use:
        code = self._side.object.bytes_of(unit)
        called = unit.is_code and is_call(code, reference)
        target, addend = self.target(reference, unit.name, called, unit)
        return Use(reference.offset, reference.type, target, addend, reference.shown)

    def target(
        self, reference: Reference, why: str, called: bool, user: Unit | None
    ) -> tuple[Target, int]:
        shift = reference.shift
        if reference.text is not None:
            assert reference.section
            piece = self._text(reference.section, reference.text, why)
            return Inside(piece, reference.place), shift
        unit = reference.unit
        if unit is None:
            if reference.section is not None and reference.section.executable:
                # An alternative that is nothing at all: `lfence` or not.
                return Inside(self._text(reference.section, b"", why)), shift
            if reference.section is not None:
                self.unresolved.append(
                    Unresolved(why, reference.shown, "an empty section")
                )
            external = External(reference.name, reference.weak)
            return external, reference.place + shift
        if unit.is_code:
            return self._code_target(unit, reference, why, called, user)
        return self._data_target(unit, reference, why)

    def _code_target(
        self,
        unit: Unit,
        reference: Reference,
        why: str,
        called: bool,
        user: Unit | None,
    ) -> tuple[Target, int]:
        original = self._pair.match.original_of(unit)
        carried = self._is_brought(unit)
        is_entry = reference.place == unit.entry and unit.role is Role.FUNCTION
        # What is known by its address stays known by it, also to others.
        by_address = is_entry and not called and user is not None
        by_address = by_address and unit.number not in self._carried
        is_part = unit.number in self._pair.parents
        if original is not None and not is_part and (not carried or by_address):
            place = reference.place - unit.entry
            return self._original(original), place + reference.shift
        return Inside(self.include(unit, why), reference.place), reference.shift

    def _is_brought(self, unit: Unit) -> bool:
        """Whether this code is part of the payload: it changed, is new, is a part of
        something included, or has no name to be found by."""
        number = unit.number
        if number in self.places or number in self._changed or number in self._carried:
            return True
        parent = self._pair.parents.get(unit.number)
        if parent is not None and parent.number in self.places:
            return True
        if self._pair.match.original_of(unit) is None:
            return True
        return self._private.holds(unit)

    def _data_target(
        self, unit: Unit, reference: Reference, why: str
    ) -> tuple[Target, int]:
        original = self._pair.match.original_of(unit)
        copied = self._is_copied(unit, original)
        if original is not None and not copied:
            return self._original(original), reference.place + reference.shift
        self._note_contested(unit)
        return Inside(self.include(unit, why), reference.place), reference.shift

    def _is_copied(self, unit: Unit, original: Unit | None) -> bool:
        """Constants that compilers make are copied; those of the source stay what
        they are, unless they changed."""
        if not self._private.holds(unit):
            return False
        if unit.role is Role.ANONYMOUS or original is None:
            return True
        pair = self._pair.by_new.get(unit.number)
        return pair is None or pair.differing is not None

    def _note_contested(self, unit: Unit) -> None:
        if unit.kind is SectionKind.ONCE or is_brought(unit.name):
            return
        for old in self._contested_by.get(unit.number, ()):
            self.contested.setdefault(unit.name, []).append(old.name)

    @cached_property
    def _contested_by(self) -> dict[int, list[Unit]]:
        """The units of the original that each unit of the patched build may be."""
        found: dict[int, list[Unit]] = defaultdict(list)
        for number, candidates in self._pair.match.contested.items():
            for unit in candidates:
                found[unit.number].append(self._pair.old_object.units[number])
        return found

    def _original(self, unit: Unit) -> Original:
        symbol = unit.symbol
        names = self._pair.old_object.function_names
        return Original(
            unit.name if symbol else "",
            unit.file,
            symbol.binding if symbol else STB_LOCAL,
            symbol.type if symbol else (STT_NOTYPE if unit.is_code else STT_OBJECT),
            unit.section.name,
            unit.start + unit.entry,
            symbol.size if symbol else unit.size,
            not unit.is_code and is_static_local(unit.name, names),
            symbol.index if symbol else 0,
        )

    def original_of(self, unit: Unit) -> Original:
        """How a unit of the original build is described."""
        return self._original(unit)


def _alignment(section: Section, start: int) -> int:
    whole = max(section.alignment, 1)
    return min(whole, start & -start) if start else whole


def _piece_kind(unit: Unit) -> PieceKind:
    if unit.is_code:
        return PieceKind.CODE
    if unit.is_constant:
        return PieceKind.CONSTANT
    if unit.kind is SectionKind.ZERO or unit.section.type == SHT_NOBITS:
        return PieceKind.ZERO
    return PieceKind.DATA
