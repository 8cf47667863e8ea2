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
from lpengine.planner.facts import Facts
from lpengine.planner.plan import Step
from lpengine.targets.base import Target


def recover(
    target: Target,
    journal: Journal,
    *,
    timeout: timedelta | None = None,
    notify: Notify | None = None,
) -> Outcome | None:
    """Close the run that a dead process left open; None if there is none. Without a
    `timeout` each step has as long as the target usually takes.

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
    timeout: timedelta | None,
    notify: Notify | None,
) -> Outcome:
    start, steps = recorded(entry, journal)
    facts = target.facts()
    if timeout is None:
        timeout = timedelta(seconds=facts.capabilities.patience)
    modules = journal.modules(entry.id)
    kept = {name: read_patch(raw, name) for name, raw in modules.items()}
    run = Run(entry.id, target, journal, {}, kept, timeout, notify)
    run.steps = [StepOutcome(s.step, s.state, s.undoing, s.error) for s in entry.steps]
    error = entry.error or f"{entry.verb} was interrupted (pid {entry.pid})"
    now = Stack.of(facts)
    if not now.same_boot(start):
        # No patch outlives a boot: it has undone all of it.
        return run.finish("recovered", f"{error}; the target has booted since")
    names = touched(steps)
    under_way = facts.in_progress in names
    if not under_way and is_complete(entry, steps, start.only(names), now.only(names)):
        return run.finish("done")
    with interruptions_held():
        left = undo(run, start, names, error)
        return run.finish("stuck" if left else "recovered", error, None, left)


def has_booted_since(entry: Entry, facts: Facts) -> bool:
    """Whether a boot lies between the start of a run and these facts: then nothing
    of it is left."""
    try:
        start = Stack.from_json(entry.start)
    except msgspec.DecodeError:
        return False
    return not Stack.of(facts).same_boot(start)


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
