"""This host's state: what it shows, and what its journal remembers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec

from lpengine.errors import LpengineError
from lpengine.hosts.local import LocalHost
from lpengine.installer.modules import name_of
from lpengine.installer.policy import load_policy, opens_at, restricted
from lpengine.installer.site import Site
from lpengine.journal.host import HostJournal
from lpengine.journal.host_entries import KeptUpdate
from lpengine.package.manifest_reader import read_manifest
from lpengine.package.model import KERNEL, XEN, Level, Task, Update, Version
from lpengine.planner.updates.host_policy import HostPolicy
from lpengine.planner.updates.pending import host_after_livepatches
from lpengine.planner.updates.state import (
    LIVE_PATCHING,
    MIGRATION,
    UPDATES,
    Crash,
    HostState,
    Pending,
    RunningComponent,
)
from lpengine.planner.updates.words import in_order, published_all
from lpengine.targets import open_target
from lpengine.targets.host.answers import ask
from lpengine.targets.host.builds import Build, Builds, builds
from lpengine.targets.host.livepatches import xen_span
from lpengine.targets.host.observe import Seen, inventory, state_of, system_of
from lpengine.targets.host.remembered import Remembered

FEATURES = {one: True for one in (LIVE_PATCHING, UPDATES, MIGRATION)}
# What only a boot brings into effect, if no live patch does.
_BOOTED = frozenset({XEN, KERNEL})


@dataclass(frozen=True)
class Observed:
    """One look at this host. `updates` are those on it, in the order in which they
    came; `kept` is what the journal has of them, `remembered` all that it adds, and
    `changed` when something was last done to the host."""

    seen: Seen
    remembered: Remembered
    policy: HostPolicy
    updates: tuple[Update, ...]
    kept: tuple[KeptUpdate, ...]
    changed: str = ""

    @property
    def state(self) -> HostState:
        return self.seen.state


def observe(
    site: Site, journal: HostJournal, coming: Sequence[Update] = ()
) -> Observed:
    """`coming` are the updates that are asked for: policy may be about them."""
    kept = journal.updates()
    updates = tuple(read_manifest(one.manifest, one.id)[0] for one in kept)
    policy, utc = load_policy(site.policy)
    remembered = remember(site, journal, updates, coming)
    now = datetime.now(UTC)
    limits = restricted(policy, coming, now, utc=utc)
    remembered = replace(
        remembered,
        held=limits.held,
        pinned=policy.pinned,
        closed_until=opens_at(limits, now),
    )
    seen = look(site, remembered)
    state = replace(seen.state, features=FEATURES)
    seen = replace(seen, state=state)
    changed = "".join(run.started for run in journal.entries(limit=1))
    return Observed(seen, remembered, policy, updates, kept, changed)


def remember(
    site: Site,
    journal: HostJournal,
    updates: Sequence[Update],
    coming: Sequence[Update] = (),
) -> Remembered:
    """What the journal adds. What was left to do before a boot, a boot has done. One of
    `coming` that is here without its files is yet to be installed."""
    boot_id = site.boot_id
    failed = frozenset(f.component for f in journal.failures() if f.boot_id == boot_id)
    asked = {update.id for update in coming}
    kept = journal.updates()
    here = (one for one in kept if one.on_disk or one.id not in asked)
    return Remembered(
        versions=known_versions(journal, boot_id, (*updates, *coming)),
        installed_updates=frozenset(one.id for one in here),
        pending=host_after_livepatches(pending_of(journal, boot_id), (), failed),
        updates_requiring_reboot=requiring_reboot(boot_id, kept, updates),
        failed=failed,
        crashed=crashes(journal, boot_id, (*updates, *coming)),
    )


def known_versions(
    journal: HostJournal, boot_id: str, updates: Iterable[Update]
) -> Mapping[tuple[str, str], Version]:
    """What live patches bring their component to, by the name that they have there:
    as it was when they went on, else as updates have it."""
    went_on = {
        (one.component, one.name): version_from(one.to)
        for one in journal.applied()
        if one.boot_id == boot_id
    }
    return {**versions_of(updates), **went_on}


def version_from(text: str) -> Version:
    """As the journal has it (see `HostRun.try_patch`)."""
    return msgspec.json.decode(text, type=Version)


def versions_of(updates: Iterable[Update]) -> Mapping[tuple[str, str], Version]:
    """A name that stands for several versions says nothing."""
    found: dict[tuple[str, str], set[Version]] = {}
    for update in updates:
        for one in update.livepatches:
            if name := name_of(one):
                found.setdefault((one.component, name), set()).add(one.to)
    return {name: tos.pop() for name, tos in found.items() if len(tos) == 1}


def pending_of(journal: HostJournal, boot_id: str) -> Pending:
    """As it was asked for in this boot."""
    tasks: dict[Level, set[Task]] = {}
    for one in journal.pending():
        if one.boot_id == boot_id:
            tasks.setdefault(one.level, set()).add(one.task)
    return Pending(
        in_order(tasks.get(Level.MANDATORY, ())),
        in_order(tasks.get(Level.RECOMMENDED, ())),
        in_order(tasks.get(Level.FULL, ())),
    )


def crashes(
    journal: HostJournal, boot_id: str, updates: Iterable[Update]
) -> tuple[Crash, ...]:
    """Live patches whose application did not end in the boot that it began in."""
    versions = versions_of(updates)
    return tuple(
        Crash(one.component, versions.get((one.component, one.name)))
        for one in journal.trials()
        if one.boot_id != boot_id
    )


def requiring_reboot(
    boot_id: str, kept: Iterable[KeptUpdate], updates: Iterable[Update]
) -> frozenset[str]:
    """Updates that came in this boot and that a boot would bring into effect. The
    decision takes those out that live patches have brought there."""
    return frozenset(
        update.id
        for one, update in zip(kept, updates, strict=True)
        if one.on_disk and one.boot_id == boot_id and waits_for_boot(update)
    )


def waits_for_boot(update: Update) -> bool:
    asked = {
        task
        for level in (Level.MANDATORY, Level.RECOMMENDED)
        for task in published_all(update.guidance.get(level, ()))
    }
    return bool(_BOOTED & set(update.components)) or Task.REBOOT_HOST in asked


def look(site: Site, remembered: Remembered) -> Seen:
    """What the machine shows, and the targets that it is said to have."""
    root = "" if site.is_own else str(site.root)
    answers = ask(LocalHost(), "observe.sh", [root])
    found = builds(answers, lambda component: applied_on(site, component))
    found = with_named(site, found)
    state = state_of(answers, found, site.name, remembered)
    state = replace(state, running=doubting(state, found, remembered))
    if XEN in site.foreign:
        state = replace(state, guests=())  # an emulated hypervisor has none
    return Seen(
        state,
        found.running,
        inventory(answers).get("INSTALLATION_UUID", ""),
        system_of(answers),
    )


def doubting(
    state: HostState, found: Builds, remembered: Remembered
) -> tuple[RunningComponent, ...]:
    """A patch on Xen that came with no update would be taken off by one that does.
    Nobody knows what it is for, and it is not ours to take off."""
    strangers = {
        build.component
        for build in found.running
        for name in build.applied or ()
        if build.component == XEN
        and (XEN, name) not in remembered.versions
        and xen_span(name) is None
    }
    return tuple(
        replace(one, half_known=True) if one.component in strangers else one
        for one in state.running
    )


def with_named(site: Site, found: Builds) -> Builds:
    """Of a tree of files that has no target for a component, and no trace of one
    running, nothing of the kind runs there."""
    named = tuple(
        build_of(component, uri) for component, uri in sorted(site.foreign.items())
    )
    others = [one for one in found.running if one.component not in site.foreign]
    absent = {one.component for one in others if not (site.is_own or one.build_id)}
    running = (*named, *(one for one in others if one.component not in absent))
    missing = found.not_running | absent
    return Builds(running, missing - {one.component for one in running})


def build_of(component: str, uri: str) -> Build:
    """A target that cannot be looked at is one of which nothing is known."""
    try:
        facts = open_target(uri).facts()
    except LpengineError:
        return Build(component, "", None)
    image = facts.image
    return Build(component, image.build_id, facts.applied, image.version)


def applied_on(site: Site, component: str) -> tuple[str, ...] | None:
    uri = site.targets.get(component)
    return build_of(component, uri).applied if uri else None
