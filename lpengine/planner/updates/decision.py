"""The decision for one case: what goes onto the disk and into memory, and what the
updates then ask for. It depends on nothing but the updates and the case."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lpengine.package.model import KERNEL, XEN, Level, LivePatch, Task
from lpengine.planner.findings import Finding
from lpengine.planner.updates.case import MANDATORY_REBOOT, Case
from lpengine.planner.updates.coverage import NO_IDS, Covered, Needs, cover, status_of
from lpengine.planner.updates.outstanding import Outstanding, outstanding
from lpengine.planner.updates.plan import ComponentPlan, Coverage
from lpengine.planner.updates.precedence import cascaded, reduced
from lpengine.planner.updates.reasons import (
    about_component,
    about_retries,
    about_updates,
    about_whole_updates,
)
from lpengine.planner.updates.state import LivepatchStatus
from lpengine.planner.updates.update_set import UpdateSet
from lpengine.planner.updates.words import in_order

PROCESS = "process:"


@dataclass(frozen=True)
class Decision:
    """See HostPlan for what the parts mean. `processes` are to be started anew, since
    no live patch brings them up to date."""

    status: LivepatchStatus
    effective: LivepatchStatus
    suppressed: str
    components: tuple[ComponentPlan, ...]
    uncovered: tuple[str, ...]
    covered: tuple[str, ...]
    processes: tuple[str, ...]
    install: tuple[str, ...]
    superseded: tuple[str, ...]
    apply: tuple[LivePatch, ...]
    guidance: Mapping[Level, tuple[Task, ...]]
    unresolved: frozenset[str]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class View:
    """What live patches come to. Updates in `livepatched` are in effect with them, in
    every component; those in `whole` need a reboot as a whole: no component is known
    that could be live patched instead, or the host itself denies that it can."""

    covered: tuple[Covered, ...]
    livepatched: frozenset[str]
    whole: frozenset[str]
    status: LivepatchStatus


def decide_case(updates: UpdateSet, case: Case) -> Decision:
    found = outstanding(updates, case)
    mandatory = reduced(updates.asked(found.applicable, Level.MANDATORY))
    refusal = MANDATORY_REBOOT if Task.REBOOT_HOST in mandatory else case.refusal
    needs = Needs(found.applicable | case.requiring, found.ids - found.applicable)
    possible = look(updates, case, needs, "")
    actual = look(updates, case, needs, refusal) if refusal else possible
    # A fix that is in memory already spares no reboot that is demanded.
    some = possible.status is not LivepatchStatus.NONE
    overruled = refusal == MANDATORY_REBOOT and some
    suppressed = refusal if overruled or actual != possible else ""
    levels = cascaded(
        (
            (Level.MANDATORY, mandatory),
            (Level.RECOMMENDED, recommended(updates, case, found, actual)),
            (Level.FULL, reduced(updates.asked(found.applicable, Level.FULL))),
        )
    )
    return Decision(
        status=possible.status,
        effective=LivepatchStatus.NONE if suppressed else possible.status,
        suppressed=suppressed,
        components=tuple(component_plan(one) for one in actual.covered),
        uncovered=uncovered(actual),
        covered=in_memory(actual),
        processes=processes(actual),
        install=updates.order.arrange(found.to_install),
        superseded=tuple(sorted(found.superseded)),
        apply=livepatches(actual),
        guidance={level: in_order(tasks) for level, tasks in levels},
        unresolved=case.requiring - actual.livepatched,
        findings=findings(updates, case, found, actual, suppressed),
    )


def look(updates: UpdateSet, case: Case, needs: Needs, refusal: str) -> View:
    """`refusal` is why no live patch may be applied, "" where they may."""
    wanted = needs.wanted
    covered = cover(updates, case, needs, refusal)
    missed = NO_IDS.union(*(row.misses for row in covered))
    verdicts = {verdict for row in covered for verdict in row.verdicts}
    granted, denied = set[str](), set[str]()
    for update_id, answer in case.prechecks:
        if update_id in wanted:
            said = heard(None if refusal else answer.status)
            verdicts |= said
            (denied if False in said else granted).add(update_id)
    unpatched = wanted & updates.plain - granted
    whole = (unpatched & updates.rebooting) | (denied - updates.plain)
    if whole:
        verdicts.add(False)
    livepatched = wanted - missed - denied - unpatched
    return View(covered, livepatched, whole, status_of(verdicts))


def heard(status: LivepatchStatus | None) -> frozenset[bool]:
    """What a host's own answer for an update comes to; one that it did not give, or
    that was an error, is that nothing is live patched."""
    if status is LivepatchStatus.COMPLETE:
        return frozenset({True})
    return frozenset({False, status is LivepatchStatus.INCOMPLETE})


def recommended(
    updates: UpdateSet, case: Case, found: Outstanding, actual: View
) -> frozenset[Task]:
    """The guidance for live patches takes the place of the recommended one where the
    update is live patched in every component. It counts for everything that a live
    patch holds, since its packages may be there from an earlier attempt. What is not
    covered is started anew."""
    applicable, livepatched = found.applicable, actual.livepatched
    tasks = updates.asked(applicable - livepatched, Level.RECOMMENDED)
    tasks |= updates.asked(applicable & livepatched, Level.LIVEPATCH)
    for one in actual.covered:
        tasks |= updates.asked(one.covers, Level.LIVEPATCH)
        if one.misses:
            tasks |= {restart_of(one.component)}
    if case.requiring - livepatched or actual.whole - updates.plain:
        tasks |= {Task.REBOOT_HOST}
    return reduced(tasks)


def restart_of(component: str) -> Task:
    """What brings a component up to date without a live patch."""
    is_process = component.startswith(PROCESS)
    return Task.RESTART_PROCESS if is_process else Task.REBOOT_HOST


def component_plan(one: Covered) -> ComponentPlan:
    chosen = one.chosen if one.coverage is Coverage.APPLY else None
    return ComponentPlan(
        component=one.component,
        coverage=one.coverage,
        livepatch=chosen.livepatch if chosen else None,
        source=chosen.update if chosen else "",
        covers=tuple(sorted(one.covers | one.in_effect)),
        misses=tuple(sorted(one.misses)),
        findings=tuple(about_component(one)),
    )


def uncovered(actual: View) -> tuple[str, ...]:
    """The components with something that no live patch brings into effect, "" for
    updates as a whole."""
    missed = {one.component for one in actual.covered if one.misses}
    return tuple(sorted(missed | ({""} if actual.whole else set())))


def in_memory(actual: View) -> tuple[str, ...]:
    """The updates that are in effect once the live patches are on."""
    held = {one for row in actual.covered for one in row.covers | row.in_effect}
    missed = {one for row in actual.covered for one in row.misses}
    return tuple(sorted((held | actual.livepatched) - missed - actual.whole))


def processes(actual: View) -> tuple[str, ...]:
    names = {one.component for one in actual.covered if one.misses}
    found = (one.removeprefix(PROCESS) for one in names if one.startswith(PROCESS))
    return tuple(sorted(found))


def livepatches(actual: View) -> tuple[LivePatch, ...]:
    """The hypervisor, then the kernel, then processes by name; each one once."""
    chosen = {one.chosen.livepatch: None for one in actual.covered if one.chosen}
    return tuple(sorted(chosen, key=place_of))


def place_of(one: LivePatch) -> tuple[int, str, str]:
    order = {XEN: 0, KERNEL: 1}
    return order.get(one.component, 2), one.component, one.base_build_id


def findings(
    updates: UpdateSet,
    case: Case,
    found: Outstanding,
    actual: View,
    suppressed: str,
) -> tuple[Finding, ...]:
    """Those about components are in their plans."""

    def collected() -> Iterator[Finding]:
        yield from about_updates(updates, found)
        yield from about_whole_updates(actual.whole, dict(case.prechecks), suppressed)
        yield from about_retries(case, actual.covered)

    return tuple(collected())
