"""What a crash left behind is finished or undone before anything else happens."""

from datetime import timedelta

import msgspec

from lpengine.engine.interruptions import interruptions_held
from lpengine.engine.outcome import Notify, Outcome, StepOutcome
from lpengine.engine.run import Run
from lpengine.engine.stack import Stack, differences
from lpengine.engine.steps import promise, touched
from lpengine.engine.undo import undo
from lpengine.errors import InputError
from lpengine.journal import Entry, Journal, RunStatus, decode_plan_steps
from lpengine.patch.reader import read_patch
from lpengine.planner.plan import Step
from lpengine.targets.base import DEFAULT_TIMEOUT, Target


def recover(
    target: Target,
    journal: Journal,
    *,
    timeout: timedelta = DEFAULT_TIMEOUT,
    notify: Notify | None = None,
) -> Outcome | None:
    """Close the run that a dead process left open; None if there is none.

    "done" where the target is as the plan promised and only the journal's last
    word was missing, else "recovered" (as before the run) or "stuck". Killed
    itself, it is carried on by the next call. Raises what reading the target or
    the journal raises, and `LockedError` if that process is not dead at all.
    """
    if journal.open_run() is None:
        return None
    with journal.lock("recover"):
        entry = journal.open_run()
        return None if entry is None else close(entry, target, journal, timeout, notify)


def close(
    entry: Entry,
    target: Target,
    journal: Journal,
    timeout: timedelta,
    notify: Notify | None,
) -> Outcome:
    start, steps = recorded(entry, journal)
    modules = journal.modules(entry.id)
    kept = {name: read_patch(raw, name) for name, raw in modules.items()}
    run = Run(entry.id, target, journal, {}, kept, timeout, notify)
    run.steps = [StepOutcome(s.step, s.state, s.undoing, s.error) for s in entry.steps]
    error = entry.error or f"{entry.verb} was interrupted (pid {entry.pid})"
    now = Stack.of(target.facts())
    if not now.same_boot(start):
        # No patch outlives a boot: it has undone all of it.
        return run.finish("recovered", f"{error}; the target has booted since")
    names = touched(steps)
    if is_complete(entry, steps, start.only(names), now.only(names)):
        return run.finish("done")
    with interruptions_held():
        left = undo(run, start, names, error)
        return run.finish("stuck" if left else "recovered", error, None, left)


def is_complete(
    entry: Entry, steps: tuple[Step, ...], start: Stack, now: Stack
) -> bool:
    """Whether every step was begun, none undone, and the promised state is there."""
    return (
        entry.status is RunStatus.RUNNING
        and len(entry.steps) == len(steps)
        and not differences(promise(start, steps), now)
    )


def recorded(entry: Entry, journal: Journal) -> tuple[Stack, tuple[Step, ...]]:
    try:
        return Stack.from_json(entry.start), decode_plan_steps(entry.plan)
    except (msgspec.DecodeError, KeyError) as error:
        raise InputError(f"{journal.path}: run {entry.id}: {error}") from error
