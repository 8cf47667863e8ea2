"""How this host is: what runs, what is on its disk, and what is left to do."""

from collections.abc import Iterator
from dataclasses import dataclass

from lpengine.engine.run import line
from lpengine.errors import LpengineError
from lpengine.installer.aftermath import effective
from lpengine.installer.observe import Observed, observe
from lpengine.installer.prepare import remaining
from lpengine.installer.site import Site
from lpengine.journal import Holder, lock_holder
from lpengine.journal.host import HostJournal
from lpengine.journal.host_entries import FailedPatch, HostEntry, KeptUpdate, Trial
from lpengine.planner.updates.plan import HostPlan


@dataclass(frozen=True)
class UpdateStatus:
    """An update on this host. `in_effect` is None where it fixes nothing that could be
    live patched; `differs` names what of it is not as it was put there."""

    kept: KeptUpdate
    title: str
    in_effect: bool | None
    differs: tuple[str, ...] = ()

    @property
    def disk(self) -> str:
        if not self.kept.on_disk:
            return "missing"
        return "changed" if self.differs else "matches"


@dataclass(frozen=True)
class HostStatus:
    """`plan` is what is left to do if nothing more is applied. `crashed` are live
    patches over which the host went down, `failed` those that did not go on.
    `interrupted` is a run that was broken off, `busy` who is at work now; `loose` says
    what is half done on the disk."""

    site: Site
    observed: Observed
    plan: HostPlan
    updates: tuple[UpdateStatus, ...]
    failed: tuple[FailedPatch, ...] = ()
    crashed: tuple[Trial, ...] = ()
    last: HostEntry | None = None
    interrupted: HostEntry | None = None
    busy: Holder | None = None
    loose: tuple[str, ...] = ()

    @property
    def needs_reboot(self) -> bool:
        return self.plan.needs_reboot

    @property
    def reboot_reasons(self) -> tuple[str, ...]:
        return effective(self.observed).reasons if self.needs_reboot else ()


def status(site: Site) -> HostStatus:
    """Changes nothing, and waits for nobody."""
    with HostJournal(site.state) as journal:
        busy = lock_holder(site.state)
        observed = observe(site, journal)
        plan = remaining(observed.updates, observed)
        entries = journal.entries(limit=1)
        return HostStatus(
            site,
            observed,
            plan,
            tuple(update_statuses(site, observed, plan)),
            failed=tuple(
                f for f in journal.failures() if f.component in observed.state.failed
            ),
            crashed=tuple(
                trial for trial in journal.trials() if trial.boot_id != site.boot_id
            ),
            last=entries[0] if entries else None,
            interrupted=None if busy else journal.open_run(),
            busy=busy,
            loose=() if busy else tuple(half_done(site)),
        )


def update_statuses(
    site: Site, observed: Observed, plan: HostPlan
) -> Iterator[UpdateStatus]:
    missed = {one for component in plan.components for one in component.misses}
    for kept, update in zip(observed.kept, observed.updates, strict=True):
        in_effect = kept.id not in missed if update.components else None
        yield UpdateStatus(kept, update.title, in_effect, tuple(differing(site, kept)))


def differing(site: Site, kept: KeptUpdate) -> Iterator[str]:
    """Of files and packages that are there no more as they came."""
    try:
        files = site.disk.find(kept.id)
        if files is not None:
            yield from map(str, site.disk.deviations(files))
        packages = site.packages.find(kept.id)
        if packages is not None:
            yield from site.packages.deviations(packages)
    except LpengineError as error:
        yield line(error)


def is_broken_off(site: Site) -> bool:
    """Whether a run never ended, and nobody is at it."""
    if lock_holder(site.state) is not None:
        return False
    with HostJournal(site.state) as journal:
        return journal.open_run() is not None or any(half_done(site))


def half_done(site: Site) -> Iterator[str]:
    files, packages = site.disk.pending(), site.packages.pending()
    if files is not None:
        yield f"files of {files.update} ({files.purpose})"
    if packages is not None:
        yield f"packages of {packages.update}"
