"""Will every task switch? Seen from the stacks as they are now."""

from collections.abc import Iterator

from lpengine.patch.model import Patch
from lpengine.planner.facts import BusyFact, LoadedPatch
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import warn
from lpengine.planner.rules.linux_findings import refuse
from lpengine.planner.situation import Situation


def tasks_leave(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """A kernel thread that was started in an old function never leaves it, and
    neither signals nor waiting help; anybody else may."""
    functions = {function.name for function in patch.functions}
    for busy in situation.facts.busy:
        if busy.function not in functions:
            continue
        if busy.resident and not situation.policy.force:
            yield never_leaves(patch, busy)
        else:
            yield passing(patch.name, busy)


def tasks_leave_again(one: LoadedPatch, situation: Situation) -> Iterator[Finding]:
    """As the patch goes off, those in its own code have to leave it; its functions
    are known here by the names of the old ones."""
    functions = {function.name for function in one.patched}
    for busy in situation.facts.busy:
        if busy.function in functions:
            yield passing(one.name, busy)


def passing(patch: str, busy: BusyFact) -> Finding:
    return warn(
        "function-busy",
        patch,
        busy.function,
        observed=f"{busy.who} is in it",
        needed="nobody inside",
        remedy="wake or end it, or allow more time",
        who=busy.who,
        backtrace=list(busy.backtrace),
    )


def never_leaves(patch: Patch, busy: BusyFact) -> Finding:
    return refuse(
        "function-resident",
        patch.name,
        busy.function,
        observed=f"{busy.who} consists of it",
        needed="a function that every task leaves",
        remedy="patch a function that it calls instead, or reboot",
        who=busy.who,
        backtrace=list(busy.backtrace),
    )
