"""Which updates a host does not have on its disk, and whether their guidance is for
it."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from lpengine.package.versions import ORDERS, Key, satisfies
from lpengine.planner.updates.case import Case, Presence
from lpengine.planner.updates.guidance import applies
from lpengine.planner.updates.update_set import Condition, Ids, UpdateSet

# Installed versions by package, as UpdateSet.places has them.
There = Mapping[str, Key | Presence]


@dataclass(frozen=True)
class Outstanding:
    """`ids` are not on the disk. `applicable` ones have guidance for this host;
    `superseded` ones have nothing that a newer one among them does not bring.
    `unnamed` are updates that the host's package manager names, but that were not
    given."""

    ids: Ids
    applicable: Ids
    superseded: Ids
    unnamed: tuple[str, ...] = ()

    @property
    def to_install(self) -> Ids:
        return self.ids - self.superseded


def outstanding(updates: UpdateSet, case: Case) -> Outstanding:
    if case.rows is not None:
        return from_rows(updates, case)
    there = installed_keys(updates, case)
    found = (updates.by_id - case.installed) | packaged(updates, case, there)
    superseded = (found & updates.replaceable) - leading(updates, found)
    return Outstanding(found, applicable(updates, there, found), superseded)


def from_rows(updates: UpdateSet, case: Case) -> Outstanding:
    """As the host's own package manager says. It installs the newest of everything,
    so that nothing is superseded."""
    rows = case.rows or frozenset()
    named = {row.update for row in rows}
    found = frozenset(named & updates.parts.keys())
    applicable = frozenset(
        row.update
        for row in rows
        if row.update in found
        and applies(updates.parts[row.update].update, row, updates.package_format)
    )
    return Outstanding(
        ids=found,
        applicable=applicable,
        superseded=frozenset(),
        unnamed=tuple(sorted(named - found)),
    )


def installed_keys(updates: UpdateSet, case: Case) -> There:
    """The installed versions that matter to the set, taken apart to be compared."""
    if case.packages is None:
        return dict.fromkeys(updates.places, Presence.UNKNOWN)
    order = ORDERS[updates.package_format]
    return {
        name: one if isinstance(one, Presence) else order(one)
        for name, one in zip(updates.places, case.packages, strict=True)
    }


def packaged(updates: UpdateSet, case: Case, there: There) -> Ids:
    """Those with a package that is newer than the installed one. Where none is
    installed, or its version is not known, what the host says of the updates that it
    has tells how far it is."""
    found: set[str] = set()
    for name, line in updates.packages.items():
        key = there[name]
        if isinstance(key, Presence):
            had = [key for key, one in line.rows if one in case.installed]
            start = bisect_right(line.keys, had[-1]) if had else 0
            rest = (one for one in line.updates[start:] if one not in case.installed)
            found.update(rest)
        else:
            found.update(line.updates[bisect_right(line.keys, key) :])
    return frozenset(found)


def applicable(updates: UpdateSet, there: There, found: Ids) -> Ids:
    """Those whose guidance counts on this host: without conditions always, else if any
    of them holds for what is installed."""
    conditional = found & updates.conditional
    return found.difference(
        one
        for one in conditional
        if not any(holds(there[c.package], c) for c in updates.parts[one].conditions)
    )


def holds(key: Key | Presence, condition: Condition) -> bool:
    """A version that is not known may be the one that is asked for."""
    if isinstance(key, Presence):
        return key is Presence.UNKNOWN
    order = (key > condition.key) - (key < condition.key)
    return satisfies(order, condition.inequality)


def leading(updates: UpdateSet, found: Ids) -> Ids:
    """Those that bring the newest version of some package among them."""
    ahead: set[str] = set()
    for line in updates.packages.values():
        newest: Key | None = None
        for key, one in reversed(line.rows):
            if newest is not None and key != newest:
                break
            if one in found:
                newest = key
                ahead.add(one)
    return frozenset(ahead)
