"""An update taken off this host: disk first, then the live patch, then what remains of
earlier ones is put on again."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lpengine.engine.interruptions import interruptions_held
from lpengine.engine.run import line
from lpengine.errors import NotFoundError, RefusedError, StuckError
from lpengine.installer import disk_half
from lpengine.installer.aftermath import Ending, conclude, rolled_back
from lpengine.installer.hooks import Event
from lpengine.installer.install import patch
from lpengine.installer.intent import Intent, Reverting
from lpengine.installer.modules import name_of
from lpengine.installer.observe import Observed, observe, waits_for_boot
from lpengine.installer.prepare import decided
from lpengine.installer.recover import recover
from lpengine.installer.request import HostOutcome, PatchFailure, Request
from lpengine.installer.reverting import own_patches, revert_all
from lpengine.installer.run import HostRun, Notify, silent
from lpengine.installer.site import Site
from lpengine.journal import RunStatus
from lpengine.journal.host import HostJournal
from lpengine.journal.host_entries import KeptUpdate
from lpengine.package.model import Level, Task, Update
from lpengine.planner.updates.pending import OF_HOST
from lpengine.planner.updates.words import published_all

BUILT_UPON = "LP-DSK-709"


@dataclass(frozen=True)
class Leaving:
    """An update on its way out, and what stays."""

    kept: KeptUpdate
    update: Update
    others: tuple[tuple[KeptUpdate, Update], ...]
    observed: Observed
    boot_id: str


def uninstall(
    site: Site,
    update: str,
    request: Request,
    *,
    keep_changed: bool = False,
    notify: Notify = silent,
) -> HostOutcome:
    """Raises `NotFoundError` for an update that is not here, `RefusedError` where
    files were changed since or a later update builds on it: nothing was changed then.
    """
    with HostJournal(site.state) as journal, journal.lock("uninstall"):
        recover(site, journal, notify)
        leaving = find(site, journal, update)
        check(site, leaving, keep_changed)
        intent = intent_of(leaving, journal, keep_changed)
        intent = replace(intent, forgiven=own_names(leaving.update))
        if request.memory:
            intent = replace(intent, reverts=tuple(reverting(leaving)))
        id = journal.begin_run(
            "uninstall", [update], site.boot_id, plan=intent.to_json()
        )
        run = HostRun(site, journal, id, site.boot_id, notify)
        try:
            run.hooks(Event.PRE_APPLY, about(leaving))
            kept = disk_half.take_off(run, update, keep_changed=keep_changed)
        except BaseException as cause:
            return back_out(run, leaving, cause)
        with interruptions_held():
            journal.settle(
                run.id,
                run.boot_id,
                intent.pending,
                gone=[update],
                obsolete=intent.obsolete,
                forgiven=intent.forgiven,
            )
            failed = revert(run, intent) if request.memory else ()
            ending = Ending(about(leaving), failed, kept, Event.POST_REVERT)
            return conclude(run, ending, request)


def find(site: Site, journal: HostJournal, update: str) -> Leaving:
    observed = observe(site, journal)
    both = tuple(zip(observed.kept, observed.updates, strict=True))
    for kept, found in both:
        if kept.id == update:
            others = tuple(one for one in both if one[0] is not kept)
            return Leaving(kept, found, others, observed, site.boot_id)
    names = ", ".join(kept.id for kept in observed.kept)
    raise NotFoundError(
        f"{update} is not installed here", hint=f"installed are: {names or 'none'}"
    )


def check(site: Site, leaving: Leaving, keep_changed: bool) -> None:
    """Whatever can be known beforehand."""
    id = leaving.update.id
    for _, other in leaving.others:
        if id in other.requires:
            raise RefusedError(
                f"{other.id} requires {id}",
                codes=[BUILT_UPON],
                hint=f"lpengine uninstall {other.id} first",
            )
    if site.disk.find(id):
        site.disk.check_uninstall(id, keep_changed=keep_changed)
    if site.packages.find(id):
        site.packages.check_uninstall(id)


def about(leaving: Leaving) -> dict[str, object]:
    return {"action": "uninstall", "updates": [leaving.update.id]}


def back_out(run: HostRun, leaving: Leaving, cause: BaseException) -> HostOutcome:
    """Where nothing has gone yet, nothing has happened. Packages that are gone do not
    come back by themselves: the run stays open, to be carried on."""
    error, id = line(cause), leaving.update.id
    whole = disk_half.is_whole(
        run.site,
        id,
        files=bool(leaving.update.files) and leaving.kept.on_disk,
        packages=bool(leaving.update.packages) and leaving.kept.on_disk,
    )
    if whole and not isinstance(cause, StuckError):
        run.journal.end_run(run.id, RunStatus.ROLLED_BACK, error)
        return rolled_back(run, error, cause)
    raise StuckError(
        f"run {run.id} failed half way: {error}",
        left=cause.left if isinstance(cause, StuckError) else [f"files of {id}"],
        hint="put right what stands against it, then: lpengine recover",
    ) from cause


def reverting(leaving: Leaving) -> Iterator[Reverting]:
    others = [update for _, update in leaving.others]
    seen, known = leaving.observed.seen, leaving.observed.remembered
    return own_patches(leaving.update, others, seen.builds, known.versions)


# What is left to do once the files are gone.


def intent_of(leaving: Leaving, journal: HostJournal, keep_changed: bool) -> Intent:
    """Files that have changed ask for the same, whichever way they changed; but what
    was not done since they came need not be done at all."""
    asked = asked_by(leaving.update)
    if leaving.kept.boot_id != leaving.boot_id or not leaving.kept.on_disk:
        pending = asked if leaving.kept.on_disk else ()
        return Intent(pending, keep_changed=keep_changed)
    still = {one.task for one in journal.pending() if one.boot_id == leaving.boot_id}
    still.add(Task.REBOOT_HOST)  # there was none since
    others = {
        task
        for kept, update in leaving.others
        if kept.boot_id == leaving.boot_id
        for _, task in asked_by(update)
    }
    return Intent(
        tuple(one for one in asked if one[1] not in still),
        tuple(sorted({task for _, task in asked} & still - others)),
        keep_changed=keep_changed,
    )


def own_names(update: Update) -> tuple[tuple[str, str], ...]:
    """Component and name of all its live patches: whether they went on is no matter
    once it is gone. Where an update that stays has one of that name, it is tried
    again, and so its failure comes back."""
    return tuple((one.component, name_of(one)) for one in update.livepatches)


def asked_by(update: Update) -> tuple[tuple[Level, Task], ...]:
    found = [
        (level, task)
        for level in (Level.MANDATORY, Level.RECOMMENDED)
        for task in sorted(published_all(update.guidance.get(level, ())) & OF_HOST)
    ]
    if waits_for_boot(update):
        found.append((Level.RECOMMENDED, Task.REBOOT_HOST))
    return tuple(dict.fromkeys(found))


# Memory.


def revert(run: HostRun, intent: Intent) -> tuple[PatchFailure, ...]:
    """The update's own live patches where they are on top; then what the updates that
    stay have for what then runs."""
    failed = revert_all(run, intent.reverts)
    seen = observe(run.site, run.journal)
    plan = decided(seen.updates, seen, Request(any_time=True))
    tried = {failure.component for failure in failed}
    again = (patch(run, one) for one in plan.apply if one.component not in tried)
    return (*failed, *(failure for failure in again if failure is not None))
