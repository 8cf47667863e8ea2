"""The way back to the state before a run, after a failure or a crash."""

from collections.abc import Collection

from lpengine.engine.outcome import Undoing
from lpengine.engine.run import Run, line
from lpengine.engine.stack import Stack, differences, way_back
from lpengine.engine.steps import describe
from lpengine.errors import BusyError, TargetError
from lpengine.planner.plan import Apply, Load, Revert, Step, Unload

# How often an undoing step is tried while the target is busy, and how much longer
# each time: to give up there costs more than to wait.
TRIES = 3
PATIENCE = 2


def undo(run: Run, start: Stack, names: Collection[str], error: str) -> tuple[str, ...]:
    """Bring the named patches back to how they were at the start.

    What there is to undo is read off the target, not off the journal, so it does
    not matter where the run stopped or whether it was being undone already.
    Returns what is left, one sentence each; () is success.
    """
    run.quietly(lambda: run.journal.begin_undoing(run.id, error))
    run.tell_quietly(Undoing(run.id, error))
    reasons: dict[str, str] = {}
    try:
        now = Stack.of(run.target.facts())
        reasons = take_all_back(run, way_back(start, now, names))
        now = Stack.of(run.target.facts())
    except Exception as failure:
        return (f"the target cannot be read: {line(failure)}", *reasons.values())
    found = differences(start.only(names), now.only(names))
    return tuple(
        text + because(reasons.get(name)) + whereabouts(run, name, now)
        for name, text in found.items()
    )


def because(reason: str | None) -> str:
    return f" ({reason})" if reason else ""


def whereabouts(run: Run, name: str, now: Stack) -> str:
    """Where the bytes of a patch are that the run took and could not bring back."""
    if now.patch(name) is not None or name not in run.kept:
        return ""
    return f"; its module is kept in {run.journal.path}, run {run.id}"


def take_all_back(run: Run, steps: tuple[Step, ...]) -> dict[str, str]:
    """Take as many of the steps as make sense; patch name -> what failed. After a
    failed step nothing more is done to its patch, and nothing is applied above a
    stack that is not as it should be."""
    failed: dict[str, str] = {}
    sound = True
    for step in steps:
        if step.name in failed or (isinstance(step, Apply) and not sound):
            sound = sound and not isinstance(step, Apply)
            continue
        if failure := take_one_back(run, step):
            failed[step.name] = f"{describe(step)}: {line(failure)}"
            sound = sound and not isinstance(step, Revert | Apply)
    return failed


def take_one_back(run: Run, step: Step) -> BaseException | None:
    timeout = run.timeout
    failure = run.take_back(step, timeout)
    for _ in range(TRIES - 1):
        if not isinstance(failure, BusyError):
            break
        timeout *= PATIENCE
        failure = run.take_back(step, timeout)
    if isinstance(failure, TargetError) and failure.cause == "reapply-with-data":
        return apply_afresh(run, step)
    return failure


def apply_afresh(run: Run, step: Step) -> BaseException | None:
    """A patch with data of its own has to be loaded again to be applied again. The
    facts say so beforehand where the target knows; this is for when it does not.
    """
    module = run.kept.get(step.name)
    sha256 = module.sha256 if module else ""
    for each in (Unload(step.name, sha256), Load(step.name, sha256), step):
        if failure := run.take_back(each, run.timeout):
            return failure
    return None
