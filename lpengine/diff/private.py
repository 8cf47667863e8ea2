"""Constants that are theirs alone who read them: a copy is as good as the original."""

from functools import cached_property

from lpengine.diff.match import family, referrers
from lpengine.diff.names import is_text, stem
from lpengine.diff.references import Reference, References
from lpengine.diff.units import Role, Unit


class Privacy:
    """Which units of one build can be compared and carried by content."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._known: dict[int, bool] = {}

    def holds(self, unit: Unit) -> bool:
        """Whether nothing depends on where this constant, or piece of code without
        a name, is."""
        found = self._known.get(unit.number)
        if found is None:
            found = self._known[unit.number] = self._is_private(unit)
        return found

    def _is_private(self, unit: Unit) -> bool:
        if unit.is_code:
            return unit.role is Role.CODE and not unit.symbols
        if not unit.is_constant:
            return False
        if unit.role is Role.ANONYMOUS or is_text(unit.name):
            return True
        return not unit.is_global and not self._is_known_elsewhere(unit)

    def _is_known_elsewhere(self, unit: Unit) -> bool:
        """Tables of functions are registered, and data that point to a constant keep
        doing so."""
        users = self._referrers.get(unit.number, ())
        if any(not each.is_code for each in users):
            return True
        families = {family(each) for each in users}
        return any(
            each.unit and each.unit.is_code and not _is_label(each, families)
            for each in self._references.of(unit)
        )

    @cached_property
    def _referrers(self) -> dict[int, list[Unit]]:
        return referrers(self._references)


def _is_label(reference: Reference, families: set[str]) -> bool:
    """Whether a field leads into a function whose own table it is: what computed
    gotos go to."""
    unit = reference.unit
    if unit is None or family(unit) not in families:
        return False
    return reference.place != unit.entry or stem(unit.name).is_cold
