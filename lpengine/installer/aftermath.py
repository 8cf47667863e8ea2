"""What follows a run: the host is looked at again, tasks are carried out or listed,
and whoever wants to know is told."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from lpengine import command
from lpengine.installer.hooks import Event
from lpengine.installer.journald import tell
from lpengine.installer.markers import Effective, EffectiveComponent, write_markers
from lpengine.installer.observe import Observed, observe
from lpengine.installer.prepare import decided, is_reboot, remaining
from lpengine.installer.request import (
    HostOutcome,
    PatchFailure,
    Prepared,
    Request,
)
from lpengine.installer.run import HostRun
from lpengine.installer.site import Site
from lpengine.journal import RunStatus
from lpengine.journal.actor import now
from lpengine.journal.host_entries import Deed, HostStep
from lpengine.package.model import LivePatch, Task
from lpengine.planner.updates.plan import Coverage, HostPlan, HostTask
from lpengine.planner.updates.state import Mode
from lpengine.targets.host.builds import Build


@dataclass(frozen=True)
class Ending:
    """What a run has come to by itself. `about` is what hooks are told, `kept` files
    that stay as somebody has changed them, `planned` what was to be applied; a reboot
    is `due` only where the plan said so."""

    about: Mapping[str, Any]
    failed: tuple[PatchFailure, ...] = ()
    kept: tuple[str, ...] = ()
    event: Event = Event.POST_APPLY
    planned: tuple[LivePatch, ...] = ()
    due: bool = False
    disk_missing: bool = False


def conclude(run: HostRun, ending: Ending, request: Request) -> HostOutcome:
    """Nothing here takes anything back: what goes wrong is a warning."""
    seen = observe(run.site, run.journal)
    failed = (*ending.failed, *unread(seen, ending, request))
    tasks = remaining(seen.updates, seen, request.level).after
    done: tuple[HostTask, ...] = ()
    if request.mode is Mode.AUTOMATIC:
        done = carry_out_tasks(run, tasks)
        tasks = tuple(task for task in tasks if task not in done)
    outcome = HostOutcome(
        "done",
        run.id,
        failed=failed,
        tasks=tasks,
        carried_out=done,
        kept=ending.kept,
        disk_missing=ending.disk_missing,
    )
    tell_hooks(run, ending, outcome)
    run.journal.end_run(run.id, RunStatus.DONE)
    run.beside(lambda: refresh_markers(run.site, observe(run.site, run.journal)))
    tell_log(run, ending, outcome)
    if request.mode is Mode.AUTOMATIC and ending.due:
        reboot(run, tasks)
    return replace(with_steps(run, outcome), warnings=tuple(run.warnings))


def unread(seen: Observed, ending: Ending, request: Request) -> list[PatchFailure]:
    """Live patches that went on and cannot be seen on the host."""
    plan = decided(seen.updates, seen, request)
    failed = {one.component for one in ending.failed}
    return [
        PatchFailure(one.component, one.name, "it is not there when read back")
        for one in ending.planned
        if one in plan.apply and one.component not in failed
    ]


def carry_out_tasks(run: HostRun, tasks: Iterable[HostTask]) -> tuple[HostTask, ...]:
    """Those that host.toml has a command for, but for the reboot, which comes last."""
    done = []
    for task in tasks:
        if task.task in run.site.commands and not is_reboot(task):
            step = HostStep(Deed.TASK, task.task, task.target)
            before = len(run.warnings)
            run.beside(lambda: run.take(step, lambda: obey(run.site, task)))  # noqa: B023
            if len(run.warnings) == before:
                run.journal.clear(task.task)
                done.append(task)
    return tuple(done)


def obey(site: Site, task: HostTask) -> None:
    words = [word.replace("{target}", task.target) for word in site.commands[task.task]]
    command.run(words, timeout=site.patience)


def reboot(run: HostRun, tasks: Iterable[HostTask]) -> None:
    """A live patch that failed is no reason to take a host away from whoever uses it:
    that is only said (as XenCenter does)."""
    if Task.REBOOT_HOST in run.site.commands:
        for task in filter(is_reboot, tasks):
            run.beside(lambda: obey(run.site, task))  # noqa: B023


def rolled_back(run: HostRun, error: str, cause: BaseException) -> HostOutcome:
    outcome = HostOutcome("rolled-back", run.id, error=error, cause=cause)
    run.beside(lambda: refresh_markers(run.site, observe(run.site, run.journal)))
    fields = {"run": str(run.id), "outcome": outcome.status}
    message = f"{run.site.name}: run {run.id} was rolled back: {error}"
    tell(run.site, message, fields, warning=True)
    return replace(with_steps(run, outcome), warnings=tuple(run.warnings))


def nothing(site: Site, prepared: Prepared) -> HostOutcome:
    tasks = remaining(prepared.updates, prepared.observed).after
    return HostOutcome("nothing", tasks=tasks)


def with_steps(run: HostRun, outcome: HostOutcome) -> HostOutcome:
    (entry,) = run.journal.entries(limit=1)
    return replace(outcome, steps=entry.steps)


# Who is told.


def about(prepared: Prepared) -> dict[str, Any]:
    """What hooks are told of a plan."""
    plan = prepared.plan
    return {
        "action": "install",
        "plan_id": prepared.id,
        "updates": list(prepared.install),
        "apply": [one.component for one in plan.apply],
        "tasks": [words(task) for task in plan.after],
    }


def tell_hooks(run: HostRun, ending: Ending, outcome: HostOutcome) -> None:
    tasks = [words(task) for task in outcome.tasks]
    document = {
        **ending.about,
        "run": run.id,
        "outcome": outcome.status,
        "failed": [msgspec.to_builtins(one) for one in outcome.failed],
        "tasks": tasks,
    }
    run.hooks(ending.event, document)
    if tasks:
        run.hooks(Event.ON_GUIDANCE, document)


def tell_log(run: HostRun, ending: Ending, outcome: HostOutcome) -> None:
    updates = " ".join(ending.about["updates"]) or "no update"
    tasks = ", ".join(words(task) for task in outcome.tasks) or "no action required"
    failed = " ".join(one.component for one in outcome.failed)
    fields = {
        "plan_id": ending.about.get("plan_id", ""),
        "action": ending.about["action"],
        "run": str(outcome.run_id),
        "updates": updates,
        "outcome": outcome.status,
        "tasks": tasks,
        "failed": failed,
    }
    warning = f"; live patches failed: {failed}" if failed else ""
    what = f"{run.site.name}: {ending.about['action']} {updates}"
    message = f"{what}: {outcome.status}{warning}; left: {tasks}"
    tell(run.site, message, fields, warning=bool(failed))


def words(task: HostTask) -> str:
    return f"{task.task} {task.target}".rstrip()


def refresh_markers(site: Site, seen: Observed) -> None:
    """What other programs read, as the host is now."""
    write_markers(site, effective(seen), now())


def effective(seen: Observed) -> Effective:
    plan = remaining(seen.updates, seen)
    state = seen.state
    waiting = state.updates_requiring_reboot - set(plan.covered)
    reasons = [*sorted(waiting), *(f"live-patch:{one}" for one in sorted(state.failed))]
    return Effective(
        components=tuple(component(seen, build) for build in seen.seen.builds),
        updates=tuple(update.id for update in seen.updates),
        pending=tuple(words(task) for task in plan.after),
        reboot_required=plan.needs_reboot,
        reasons=tuple(reasons) or (("pending",) if plan.needs_reboot else ()),
        failed=tuple(sorted(state.failed)),
        mismatch=is_mismatch(seen, plan),
        changed=seen.changed,
    )


def is_mismatch(seen: Observed, plan: HostPlan) -> bool:
    """Fixes on the disk that are not in memory, or the other way round."""
    behind = any(one.coverage is Coverage.UNCOVERED for one in plan.components)
    return behind or not all(one.on_disk for one in seen.kept)


def component(seen: Observed, build: Build) -> EffectiveComponent:
    running = next(r for r in seen.state.running if r.component == build.component)
    booted = str(running.booted) if running.booted else build.version
    return EffectiveComponent(
        build.component,
        build.build_id,
        booted,
        str(running.to) if running.to else booted,
        build.applied or (),
    )
