"""What live patches do for each component of a host, and which updates they bring into
effect. An update is live patched only if every component that it fixes is."""

from collections.abc import Iterable
from dataclasses import dataclass

from lpengine.package.versions import ORDERS
from lpengine.planner.updates.case import Case
from lpengine.planner.updates.livepatches import (
    NOTHING_SEEN,
    NOTHING_SELECTED,
    Line,
    Offer,
    Seen,
    Selection,
    newer,
    select_from,
)
from lpengine.planner.updates.plan import Coverage
from lpengine.planner.updates.state import LivepatchStatus, RunningComponent
from lpengine.planner.updates.update_set import Ids, Part, UpdateSet

NO_IDS: Ids = frozenset()


@dataclass(frozen=True)
class Covered:
    """One component. The updates in `in_effect` are in memory already, those in
    `covers` with the live patch that is `chosen`, and those in `misses` not at all,
    because of `cause`."""

    component: str
    coverage: Coverage
    running: RunningComponent | None = None
    chosen: Offer | None = None
    in_effect: Ids = frozenset()
    covers: Ids = frozenset()
    misses: Ids = frozenset()
    cause: str = ""

    @property
    def verdicts(self) -> frozenset[bool]:
        """Whether live patching does something for it, and whether it does all."""
        if self.coverage is Coverage.NOT_RUNNING:
            return frozenset()
        if not self.misses:
            return frozenset({True})
        return frozenset({False, bool(self.covers)})


@dataclass(frozen=True)
class Needs:
    """Updates that a host is to have: `wanted` ones need a restart where no live patch
    brings them into effect. The `others` say that they need none for what is installed
    there; whether that is true of what runs can be seen only where that is known."""

    wanted: Ids
    others: Ids = NO_IDS


def cover(
    updates: UpdateSet, case: Case, needs: Needs, refusal: str
) -> tuple[Covered, ...]:
    """Each component that the updates fix, or that is behind its live patches; twice
    if two builds of it run. `refusal` says why none may be applied, "" where they
    may."""
    running = {one.component for one in case.running}
    return tuple(
        covered
        for component in sorted(running.union(updates.fixing))
        for record in records(case, component)
        for covered in cover_one(updates, case, record, component, needs, refusal)
    )


def records(case: Case, component: str) -> tuple[RunningComponent | None, ...]:
    found = [one for one in case.running if one.component == component]
    if len(found) > 1:
        found.sort(key=repr)
    return tuple(found) or (None,)


def cover_one(
    updates: UpdateSet,
    case: Case,
    record: RunningComponent | None,
    component: str,
    needs: Needs,
    refusal: str,
) -> tuple[Covered, ...]:
    """Nothing where no update is about the component."""
    seen = look_up(updates, record)
    about = updates.fixing.get(component, NO_IDS)
    absent = record is None and component in case.not_running
    fixing = needs.wanted & about | seen.behind
    if not absent and not is_known(record):
        fixing |= needs.others & about
    if not fixing:
        return ()
    if absent:
        return (Covered(component, Coverage.NOT_RUNNING),)
    had = fixing & seen.in_effect
    selection, cause = permitted(case, seen.selection, component, refusal)
    covers = frozenset(offer.update for offer in selection.accumulative)
    misses = fixing - had - covers
    if misses and not cause:
        cause = why_missed(updates, record, component, misses)
    missed = Coverage.UNCOVERED if misses else Coverage.IN_EFFECT
    return (
        Covered(
            component=component,
            coverage=Coverage.APPLY if covers else missed,
            running=record,
            chosen=selection.chosen,
            in_effect=had,
            covers=covers,
            misses=misses,
            cause=cause if misses else "",
        ),
    )


def look_up(updates: UpdateSet, record: RunningComponent | None) -> Seen:
    """Depends on nothing else, so that it is worked out once for each thing that
    runs on any host."""
    if record is None:
        return NOTHING_SEEN
    found = updates.seen.get(record)
    if found is None:
        found = updates.seen[record] = compare(updates, record)
    return found


def compare(updates: UpdateSet, record: RunningComponent) -> Seen:
    line = updates.offers.line(record.component, record.build_id)
    start = newer(line, record, updates.package_format)
    return Seen(
        in_effect=in_effect(updates, record) if is_known(record) else NO_IDS,
        behind=frozenset(offer.update for offer in line.offers[start:]),
        selection=select_from(updates.offers, record),
    )


def is_known(record: RunningComponent | None) -> bool:
    """Whether it says enough to be compared with."""
    return record is not None and bool(record.build_id) and not record.half_known


def in_effect(updates: UpdateSet, record: RunningComponent) -> Ids:
    """The updates whose fix is in what runs: a live patch is on that reaches as far as
    the update's own for this build, or the build itself is as new."""
    order = ORDERS[updates.package_format]
    found = NO_IDS
    if record.to is not None:
        found |= updates.reached(record.component, record.build_id, order(record.to))
    if record.booted is not None:
        found |= updates.reached(record.component, "", order(record.booted))
    return found


def permitted(
    case: Case, selection: Selection, component: str, refusal: str
) -> tuple[Selection, str]:
    """What may be applied, and the cause if there would be something that may not."""
    if selection.chosen is None:
        return selection, ""
    cause = refusal
    if component in case.held:
        cause = cause or "component-held"
    if has_crashed(case, selection.chosen):
        cause = cause or "crashed-before"
    return (NOTHING_SELECTED, cause) if cause else (selection, "")


def has_crashed(case: Case, offer: Offer) -> bool:
    one = offer.livepatch
    return any(
        crash.component == one.component and crash.to in (None, one.to)
        for crash in case.crashed
    )


def why_missed(
    updates: UpdateSet,
    record: RunningComponent | None,
    component: str,
    misses: Iterable[str],
) -> str:
    """The cause why no live patch brings these updates into effect."""
    parts = [updates.parts[one] for one in misses]
    if any(component in part.doubtful for part in parts):
        return "live-patch-malformed"
    if record is None or not record.build_id:
        return "build-unknown"
    if record.half_known:
        return "half-known"
    if component not in updates.offers.newest:
        return "no-live-patch"
    line = updates.offers.line(component, record.build_id)
    if line.offers and not line.supported:
        return "build-end-of-life"
    return why_not_held(line, component, record, parts)


def why_not_held(
    line: Line, component: str, record: RunningComponent, parts: Iterable[Part]
) -> str:
    """A live patch would apply, if at all, that does not hold these updates."""
    served = any((component, record.build_id) in part.reach for part in parts)
    offered = any((component, "") in part.reach for part in parts)
    if not line.offers or (offered and not served):
        return "build-not-served"
    return "no-live-patch"


def status_of(verdicts: Iterable[bool]) -> LivepatchStatus:
    """Complete if all is covered, none if nothing is (or there is nothing to cover),
    incomplete in between."""
    seen = set(verdicts)
    if seen == {True}:
        return LivepatchStatus.COMPLETE
    if seen == {True, False}:
        return LivepatchStatus.INCOMPLETE
    return LivepatchStatus.NONE
