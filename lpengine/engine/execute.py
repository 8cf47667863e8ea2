"""A plan is carried out, or everything is as before."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta

from lpengine.engine.interruptions import interruptions_held
from lpengine.engine.observe import observe
from lpengine.engine.outcome import Notify, Outcome, RunStarted
from lpengine.engine.recover import recover
from lpengine.engine.run import Run, line
from lpengine.engine.stack import Stack, differences
from lpengine.engine.steps import promise, touched
from lpengine.engine.undo import undo
from lpengine.errors import (
    LpengineError,
    RefusedError,
    StalePlanError,
    StuckError,
    TargetError,
    UsageError,
)
from lpengine.journal import Journal
from lpengine.patch.model import Patch
from lpengine.planner import Facts, state_digest
from lpengine.planner.plan import Load, Plan, Unload, Verdict
from lpengine.targets.base import DEFAULT_TIMEOUT, Target


def execute(
    plan: Plan,
    target: Target,
    journal: Journal,
    patches: Mapping[str, Patch],
    *,
    seen: Facts | None = None,
    timeout: timedelta = DEFAULT_TIMEOUT,
    notify: Notify | None = None,
) -> Outcome:
    """Carry out a plan under the target's lock; `patches` has its modules by name.
    `seen` is what the target was seen to be under that very lock; without it, it is
    looked at once more.

    A step that fails, a target that does not read back as promised, an interruption
    (Ctrl-C) or a `notify` that raises is undone: then the outcome is "rolled-back",
    or "stuck" with what is left. What is raised has changed nothing: `RefusedError`,
    `StalePlanError` (target or module are not those of the plan), `LockedError`,
    `StuckError` (an earlier run is in the way), `InputError` (the journal).
    """
    if plan.verdict is Verdict.REFUSED:
        raise refused(plan)
    if plan.verdict is Verdict.NOTHING or not plan.steps:
        return Outcome("nothing")
    with journal.lock(plan.action):
        if finish_earlier_run(target, journal, timeout) or seen is None:
            seen = target.facts()
        start = planned_for(plan, seen)
        check_modules(plan, patches)
        kept = modules_to_keep(plan, target, start)
        raw = {name: patch.raw for name, patch in kept.items()}
        number = journal.begin_run(plan, start.build_id, start.to_json(), raw)
        run = Run(number, target, journal, patches, kept, timeout, notify)
        return carry_out(run, plan, start, bool(seen.code))


def carry_out(run: Run, plan: Plan, start: Stack, with_code: bool) -> Outcome:
    try:
        run.tell(RunStarted(run.id, plan.steps))
        for step in plan.steps:
            run.take(step, last=step is plan.steps[-1])
        found = read_back(run, promise(start, plan.steps), with_code)
    except BaseException as cause:
        return back_out(run, plan, start, cause)
    return run.finish("done", found=found)


def back_out(run: Run, plan: Plan, start: Stack, cause: BaseException) -> Outcome:
    error = line(cause)
    with interruptions_held():
        left = undo(run, start, touched(plan.steps), error)
        return run.finish("stuck" if left else "rolled-back", error, cause, left)


def read_back(run: Run, promised: Stack, with_code: bool) -> Facts:
    """Believe no exit code: look (Xen answers an action in the wrong state with
    success and does nothing). At the code too, where it could be seen before."""
    if with_code:
        facts = observe(run.target, tuple(run.patches.values()))
    else:
        facts = run.target.facts()
    found = differences(promised, Stack.of(facts))
    if found:
        raise TargetError(
            f"the target is not as promised: {'; '.join(found.values())}",
            cause="wrong-state",
        )
    return facts


def refused(plan: Plan) -> RefusedError:
    findings = plan.blocking
    reasons = "; ".join(f"{f.code} {f.subject}: {f.observed}" for f in findings)
    return RefusedError(
        f"{plan.action} is refused: {reasons or 'the plan says so'}",
        codes=[finding.code for finding in findings],
        hint=findings[0].remedy if findings else "",
    )


def finish_earlier_run(target: Target, journal: Journal, timeout: timedelta) -> bool:
    """Whether there was one."""
    earlier = recover(target, journal, timeout=timeout)
    if earlier and earlier.status == "stuck":
        raise StuckError(
            f"run {earlier.run_id} broke off and cannot be undone: {earlier.error}",
            left=earlier.left,
            hint="put right what is left, then plan again",
        )
    return earlier is not None


def planned_for(plan: Plan, facts: Facts) -> Stack:
    """The start of the run, if it is what the plan was made for."""
    if state_digest(facts) != plan.state_digest:
        raise StalePlanError(
            f"{facts.target} has changed since the plan was made", hint="plan again"
        )
    return Stack.of(facts)


def check_modules(plan: Plan, patches: Mapping[str, Patch]) -> None:
    for step in plan.steps:
        if not isinstance(step, Load):
            continue
        if step.name not in patches:
            raise UsageError(f"the plan loads {step.name}, which was not given")
        if hashlib.sha256(patches[step.name].raw).hexdigest() != step.sha256:
            raise StalePlanError(
                f"{step.name} has changed since the plan was made", hint="plan again"
            )


def modules_to_keep(plan: Plan, target: Target, start: Stack) -> dict[str, Patch]:
    """The modules of the patches that the plan is about and that are loaded now:
    what undoing may have to load again. One that is to be unloaded must be had."""
    unloaded = {s.name: s.sha256 for s in plan.steps if isinstance(s, Unload)}
    kept = {}
    for name in touched(plan.steps):
        if start.patch(name) is None:
            continue
        try:
            kept[name] = target.module(name)
        except LpengineError:
            # Only a patch with data of its own will miss it, and then says so.
            if name in unloaded:
                raise
    for name, sha256 in unloaded.items():
        if name in kept and sha256 and kept[name].sha256 != sha256:
            raise StalePlanError(
                f"{name} is not the module the plan was made for", hint="plan again"
            )
    return kept
