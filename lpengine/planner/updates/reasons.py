"""Findings about a host and its updates: why something is not live patched."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from lpengine.package.model import FAILURES, KERNEL, XEN
from lpengine.planner.catalogue import CATALOGUE
from lpengine.planner.catalogue.causes import CODE_OF
from lpengine.planner.findings import Finding, Guidance
from lpengine.planner.updates.case import Case
from lpengine.planner.updates.coverage import Covered
from lpengine.planner.updates.metadata import reason
from lpengine.planner.updates.outstanding import Outstanding
from lpengine.planner.updates.pending import OF_HOST, by_component, failure_of
from lpengine.planner.updates.plan import Coverage
from lpengine.planner.updates.state import HostState, LivepatchStatus, ServerPrecheck
from lpengine.planner.updates.update_set import UpdateSet
from lpengine.planner.updates.words import in_order

# What was seen, for the causes of which that is always the same.
_OBSERVED = {
    "no-live-patch": "no live patch for it",
    "build-unknown": "a build id that could not be read",
    "half-known": "a live patch of which it is not known what it brings",
    "live-patch-malformed": "live patches that cannot be relied on",
    "live-patching-disabled": "live patching is switched off",
    "not-licensed": "a licence without live patching",
    "mandatory-reboot": "an update that has to be followed by a reboot",
    "component-held": "a component that is held",
    "crashed-before": "a host that did not survive it last time",
}


def about_component(one: Covered) -> Iterator[Finding]:
    """Why a component is not wholly covered, with all the updates it misses."""
    if not one.misses:
        return
    newest = max(one.misses)
    observed = _OBSERVED.get(one.cause) or f"build {build_id(one)}"
    found = reason(one.cause, newest, one.component, observed, "a live patch for it")
    yield replace(
        found,
        severity=CATALOGUE[CODE_OF["no-live-patch"]].severity,
        guidance=guidance_for(one.component),
        evidence={"updates": sorted(one.misses), "build_id": build_id(one)},
    )


def build_id(one: Covered) -> str:
    return one.running.build_id if one.running else ""


def guidance_for(component: str) -> Guidance:
    """What is left to do for a component that is not live patched."""
    if component.startswith("process:"):
        return Guidance.RESTART_PROCESS
    return Guidance.EVACUATE_AND_REBOOT


def about_retries(case: Case, covered: Iterable[Covered]) -> Iterator[Finding]:
    for one in covered:
        if one.coverage is Coverage.APPLY and one.component in case.failed:
            update = one.chosen.update if one.chosen else ""
            observed = "the live patch failed last time"
            yield reason("failed-before", update, one.component, observed)


def about_whole_updates(
    whole: Iterable[str], answers: Mapping[str, ServerPrecheck], suppressed: str
) -> Iterator[Finding]:
    """Why updates as a whole are not live patched, of which no component is known."""
    for update_id in sorted(whole):
        answer = answers.get(update_id)
        if answer is None:
            yield reason("no-live-patch", update_id, "", _OBSERVED["no-live-patch"])
        elif answer.status in (None, LivepatchStatus.NONE):
            yield reason("server-without", update_id, "", "what the host answers")
        elif suppressed:
            yield reason(suppressed, update_id, "", _OBSERVED[suppressed])
        else:
            yield reason("server-incomplete", update_id, "", "what the host answers")


def about_updates(updates: UpdateSet, found: Outstanding) -> Iterator[Finding]:
    """What is odd about the updates that are to go onto the host, and why others are
    not."""
    for update_id in sorted(found.ids):
        yield from updates.parts[update_id].findings
    for name in found.unnamed:
        if name:
            yield reason("update-unknown", name, name, "not among the updates given")
        else:
            yield reason("update-unknown", "", "packages", "packages of no update")
    for update_id in sorted(updates.foreign):
        observed = f"no packages of the host's format ({updates.package_format})"
        yield reason("not-for-this-host", update_id, update_id, observed)


def about_left(
    host: HostState, applied: Collection[str], waiting: Collection[str]
) -> Iterator[Finding]:
    """Why a host has tasks that the updates do not ask for. What is `applied` makes up
    for failures before; updates in `waiting` are installed and not in effect. Mandatory
    tasks have a precheck of their own."""
    left = host.pending.recommended
    failures = by_component(task for task in left if task in FAILURES)
    failures -= {failure_of(component) for component in applied}
    for component in (XEN, KERNEL):
        if failure_of(component) in failures:
            observed = "a live patch failed, and was not made up for"
            yield reason("left-before", "", component, observed)
    for task in in_order(set(left) & OF_HOST - FAILURES):
        yield reason("left-before", "", "", f"{task} is left to be done")
    if names := ", ".join(sorted(waiting)):
        observed = f"{names} installed, and not in effect before a boot"
        yield reason("left-before", "", "", observed)
    if host.toolstack_restart_pending:
        observed = "the toolstack is older than its files"
        yield reason("left-before", "", "", observed)
