"""From updates and this host's state to a plan."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from lpengine.errors import UsageError
from lpengine.hosts.local import LocalHost
from lpengine.installer.observe import Observed, observe
from lpengine.installer.request import Asked, Prepared, Request
from lpengine.installer.site import Site
from lpengine.journal.host import HostJournal
from lpengine.package.bundle import Bundle
from lpengine.package.model import Level, Task, Update
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block, warn
from lpengine.planner.updates.decide import decide_host
from lpengine.planner.updates.plan import HostPlan, HostTask
from lpengine.planner.updates.state import (
    HostState,
    LivePatching,
    PoolState,
    UpdatePolicy,
)
from lpengine.targets.disk import DiskRefusal
from lpengine.targets.host.toolstack import with_toolstack
from lpengine.targets.host.xapi import Xapi

NOBODY: Mapping[str, str] = MappingProxyType({})


def prepare(
    site: Site,
    journal: HostJournal,
    bundles: Sequence[Bundle],
    request: Request,
    signers: Mapping[str, str] = NOBODY,
) -> Prepared:
    """Looks at the host and decides. Changes nothing. `signers` has who has signed
    each update, by its id."""
    if not (request.disk or request.memory):
        raise UsageError("neither disk nor memory: there is nothing to do")
    coming = {bundle.update.id: bundle for bundle in bundles}
    observed = observe(site, journal, [bundle.update for bundle in bundles])
    observed, pool = with_pool(site, observed, tuple(coming))
    others = tuple(one for one in observed.updates if one.id not in coming)
    updates = (*others, *(bundle.update for bundle in bundles))
    plan = decided(updates, observed, request, pool)
    asked = tuple(
        Asked(bundle.update, bundle.digest, signers.get(id, ""))
        for id, bundle in coming.items()
    )
    prepared = Prepared(observed, updates, plan, asked, disk=request.disk)
    found = (
        *other_contents(observed, coming),
        *evacuation(plan),
        *disk_refusals(site, coming, prepared.install),
        *missing_disk(prepared),
    )
    return replace(prepared, refusals=found)


def with_pool(
    site: Site, observed: Observed, updates: Sequence[str]
) -> tuple[Observed, PoolState | None]:
    """What the toolstack of a XenServer adds: licence, switch, and what it knows of the
    host and of these updates. `InconclusiveError` where it does not answer."""
    if not observed.seen.uuid:
        return observed, None
    root = "" if site.is_own else str(site.root)
    managed = Xapi(LocalHost(), root).managed(updates)
    known = managed.host(observed.seen.uuid)
    state = observed.state
    if known is not None:
        ours = state.updates_requiring_reboot
        state = with_toolstack(state, known)
        both = ours | state.updates_requiring_reboot
        state = replace(state, updates_requiring_reboot=both)
    pool = PoolState(managed.name, (state,), live_patching=managed.live_patching)
    return replace(observed, seen=replace(observed.seen, state=state)), pool


def decided(
    updates: Iterable[Update],
    observed: Observed,
    request: Request,
    pool: PoolState | None = None,
) -> HostPlan:
    policy = UpdatePolicy(
        mode=request.mode,
        live_patching=request.live_patching or observed.policy.live_patching,
        level=request.level,
        retry_crashed=request.retry_crashed,
        any_time=request.any_time,
    )
    return decide_host(updates, forgiving(observed.state, request), pool, policy)


def forgiving(state: HostState, request: Request) -> HostState:
    return replace(state, crashed=()) if request.retry_crashed else state


def remaining(
    updates: Iterable[Update],
    observed: Observed,
    level: Level = Level.RECOMMENDED,
) -> HostPlan:
    """What there is and is left to do if no live patch goes on any more."""
    policy = UpdatePolicy(
        live_patching=LivePatching.DISABLED, level=level, any_time=True
    )
    return decide_host(updates, observed.state, None, policy)


# What disk and guests have against it.


def other_contents(
    observed: Observed, coming: Mapping[str, Bundle]
) -> Iterator[Finding]:
    for kept in observed.kept:
        bundle = coming.get(kept.id)
        if bundle is not None and bundle.digest != kept.digest:
            yield block(
                "other-contents",
                kept.id,
                kept.id,
                observed=f"installed with manifest {kept.digest[:12]}",
                needed=f"manifest {bundle.digest[:12]}",
                remedy=f"lpengine uninstall {kept.id} first",
            )


def evacuation(plan: HostPlan) -> Iterator[Finding]:
    """Guests have to leave before an update after which nothing but a reboot is let
    happen; where it is only recommended, that is the operator's choice."""
    for task in plan.before:
        make = block if task.level is Level.MANDATORY else warn
        yield make(
            "evacuation-required",
            "",
            plan.host,
            observed="guests run on this host",
            needed="none, since it has to be rebooted",
        )


def disk_refusals(
    site: Site, coming: Mapping[str, Bundle], install: Iterable[str]
) -> Iterator[Finding]:
    disk, packages = site.disk, site.packages
    for update in install:
        if update not in coming:
            continue
        bundle = coming[update]
        try:
            packages.ask(bundle.update.packages, bundle.stream)
            transaction = disk.plan(update, bundle.digest, bundle.update.files)
            for room in disk.rooms(transaction) if transaction else ():
                room.check()
        except DiskRefusal as error:
            yield block(
                error.cause,
                update,
                error.path or update,
                observed=error.message,
                needed="a place where it can be put",
            )


def missing_disk(prepared: Prepared) -> Iterator[Finding]:
    if prepared.plan.install and not prepared.disk:
        yield warn(
            "disk-missing",
            ", ".join(prepared.plan.install),
            prepared.plan.host,
            observed="files that are not on the disk",
            needed="the files of the update",
        )


def is_reboot(task: HostTask) -> bool:
    return task.task is Task.REBOOT_HOST
