"""Which live patch a running component gets (XAPI, repository_helpers.ml).

A live patch is for one build and holds all earlier ones for it, so that only the newest
is ever applied; the older ones matter because the updates they came with count as live
patched. A build that the newest live patch of a component no longer serves has reached
the end of its life: it gets none, not even those that once were for it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from lpengine.package.model import LivePatch, PackageFormat, Update, Version
from lpengine.package.versions import ORDERS, Key
from lpengine.planner.updates.state import RunningComponent


@dataclass(frozen=True)
class Offer:
    """A live patch, and the update that brings it."""

    livepatch: LivePatch
    update: str


@dataclass(frozen=True)
class Line:
    """All that is offered for one component and build, oldest first. `supported`:
    the component's newest live patch serves it too."""

    keys: tuple[Key, ...] = ()
    offers: tuple[Offer, ...] = ()
    supported: bool = False


NO_LINE = Line()


@dataclass(frozen=True)
class Selection:
    """What a running component gets: `chosen` is applied, the updates of
    `accumulative` are then in effect."""

    chosen: Offer | None
    accumulative: tuple[Offer, ...]


NOTHING_SELECTED = Selection(None, ())


@dataclass(frozen=True)
class Seen:
    """Updates held against one thing that runs: those `in_effect` in it already, and
    those with a live patch for its build that is newer, served still or not."""

    in_effect: frozenset[str]
    behind: frozenset[str]
    selection: Selection


NOTHING_SEEN = Seen(frozenset(), frozenset(), NOTHING_SELECTED)


@dataclass(frozen=True)
class Offers:
    """The live patches of a set of updates, sorted for being asked about thousands of
    hosts; `newest` has the highest version of each component, for whatever build."""

    package_format: PackageFormat
    lines: Mapping[tuple[str, str], Line]
    newest: Mapping[str, Key]

    def line(self, component: str, build_id: str) -> Line:
        return self.lines.get((component, build_id), NO_LINE)


def offers(updates: Iterable[Update], package_format: PackageFormat = "rpm") -> Offers:
    """Sorts the live patches of `updates`, in whatever order they come."""
    order = ORDERS[package_format]
    found: dict[tuple[str, str], list[tuple[Key, str, Offer]]] = {}
    newest: dict[str, Key] = {}
    for update in updates:
        for one in update.livepatches:
            key = order(one.to)
            newest[one.component] = max(newest.get(one.component, key), key)
            if one.base_build_id:
                row = (key, update.id, Offer(one, update.id))
                found.setdefault((one.component, one.base_build_id), []).append(row)
    lines = {at: _line(rows, newest[at[0]]) for at, rows in found.items()}
    return Offers(package_format, MappingProxyType(lines), MappingProxyType(newest))


def _line(rows: list[tuple[Key, str, Offer]], newest: Key) -> Line:
    rows = sorted(rows, key=lambda row: (*row[:2], str(row[2].livepatch)))
    keys = tuple(key for key, _, _ in rows)
    return Line(keys, tuple(offer for _, _, offer in rows), keys[-1] == newest)


def collect(
    updates: Iterable[Update], component: str, build_id: str
) -> tuple[Offer, ...]:
    """Every live patch for this component and build. The version of the base is not
    looked at: the build id says it all."""
    return offers(updates).line(component, build_id).offers


def is_supported(updates: Iterable[Update], component: str, build_id: str) -> bool:
    """The rule for the end of life: whether the newest live patch of the component
    serves this build. Updates without one for the component do not count."""
    return offers(updates).line(component, build_id).supported


def newer(line: Line, running: RunningComponent, package_format: PackageFormat) -> int:
    """Where in the line begins what is strictly newer than what runs: at its start
    where no live patch is on, at its end where that is only half known."""
    if running.half_known:
        return len(line.keys)
    if running.to is None:
        return 0
    return bisect_right(line.keys, ORDERS[package_format](running.to))


def select_from(all_offers: Offers, running: RunningComponent) -> Selection:
    """The same as `select`, from offers that are sorted already."""
    line = all_offers.line(running.component, running.build_id)
    if not line.supported:
        return NOTHING_SELECTED
    start = newer(line, running, all_offers.package_format)
    accumulative = line.offers[start:]
    if not accumulative:
        return NOTHING_SELECTED
    # The first of several that reach the same version, so that it is always the same.
    at = line.keys.index(line.keys[-1])
    return Selection(line.offers[at], accumulative)


def select(
    updates: Iterable[Update],
    running: RunningComponent,
    package_format: PackageFormat = "rpm",
) -> Selection:
    """What this running component gets from `updates`: of what is for its build and
    strictly newer than what runs, the newest; nothing where the build's life has
    ended."""
    return select_from(offers(updates, package_format), running)


def accumulative(
    updates: Iterable[Update],
    running: RunningComponent,
    package_format: PackageFormat = "rpm",
) -> tuple[Offer, ...]:
    """All live patches that the chosen one holds, itself among them."""
    return select(updates, running, package_format).accumulative


def chosen(
    updates: Iterable[Update],
    running: RunningComponent,
    package_format: PackageFormat = "rpm",
) -> LivePatch | None:
    """The one live patch to be applied."""
    best = select(updates, running, package_format).chosen
    return best.livepatch if best else None


def displayed(update: Update, chosen_ones: Iterable[LivePatch]) -> Update:
    """The update with only those live patches that some host's chosen one holds: the
    same component and build. Builds that nobody runs are not shown."""
    wanted = {(one.component, one.base_build_id) for one in chosen_ones}
    kept = tuple(
        one
        for one in update.livepatches
        if (one.component, one.base_build_id) in wanted
    )
    return replace(update, livepatches=kept)


def running(
    component: str,
    build_id: str,
    to_version: str | None = None,
    to_release: str | None = None,
) -> RunningComponent:
    """A running component in XAPI's terms (Livepatch.t). Only one of version and
    release is a state that should not be: then nothing is offered."""
    half_known = (to_version is None) != (to_release is None)
    if half_known or to_version is None:
        return RunningComponent(component, build_id, half_known=half_known)
    return RunningComponent(component, build_id, Version(to_version, to_release or ""))
