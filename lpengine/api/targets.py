"""The verbs that look at a target or act on it."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from lpengine import planner
from lpengine.engine import (
    Event,
    Outcome,
    execute,
    has_booted_since,
    observe,
    recover,
)
from lpengine.errors import StalePlanError, UsageError
from lpengine.journal import Journal, lock, lock_holder
from lpengine.patch.model import Patch
from lpengine.patch.reader import load_patch
from lpengine.planner import Facts, PatchState, Plan, Policy, Verdict
from lpengine.report.values import (
    Acted,
    FunctionChange,
    History,
    Planned,
    Status,
)
from lpengine.targets import (
    Target,
    open_target,
    state_directory_of,
)

Notify = Callable[[Event], None]
Decide = Callable[[Facts], Plan]

DEFAULT_POLICY = Policy()
WORD_SIZE = 8


def plan(
    payloads: Sequence[str | Path],
    target: str | Target,
    policy: Policy = DEFAULT_POLICY,
    *,
    replace: bool = False,
) -> Planned:
    """What applying the modules in that order (or replacing everything by the one
    module) would do, and why not. Changes nothing."""
    patches = read(payloads)
    decide = replacing(patches, policy) if replace else applying(patches, policy)
    return observe_and_decide(opened(target), patches, decide)


def plan_revert(
    names: Sequence[str],
    target: str | Target,
    policy: Policy = DEFAULT_POLICY,
    *,
    everything: bool = False,
) -> Planned:
    """What taking the named patches back would do. Changes nothing."""
    decide = reverting(names, everything, policy)
    return observe_and_decide(opened(target), (), decide)


def apply(
    payloads: Sequence[str | Path],
    target: str | Target,
    policy: Policy = DEFAULT_POLICY,
    *,
    timeout: timedelta | None = None,
    strict: bool = False,
    notify: Notify | None = None,
) -> Acted:
    """Load and apply the modules, in order: the plan, and one stage more."""
    patches = read(payloads)
    decide = applying(patches, policy)
    return act("apply", target, patches, decide, timeout, strict, notify)


def apply_plan(
    plan: Plan,
    payloads: Sequence[str | Path],
    target: str | Target,
    *,
    timeout: timedelta | None = None,
    notify: Notify | None = None,
) -> Acted:
    """Carry out a plan made earlier, with the modules it was made for.
    `StalePlanError` where the target or a module has changed since."""
    patches, name = read(payloads), target if isinstance(target, str) else target.name
    if name != plan.target:
        raise StalePlanError(
            f"the plan is for {plan.target}, not for {name}", hint="plan again"
        )
    return act(plan.action, target, patches, lambda _: plan, timeout, False, notify)


def replace(
    payload: str | Path,
    target: str | Target,
    policy: Policy = DEFAULT_POLICY,
    *,
    timeout: timedelta | None = None,
    strict: bool = False,
    notify: Notify | None = None,
) -> Acted:
    """Revert everything and apply the module, in one stop of the target."""
    patches = read([payload])
    decide = replacing(patches, policy)
    return act("replace", target, patches, decide, timeout, strict, notify)


def revert(
    names: Sequence[str],
    target: str | Target,
    policy: Policy = DEFAULT_POLICY,
    *,
    everything: bool = False,
    timeout: timedelta | None = None,
    notify: Notify | None = None,
) -> Acted:
    """Take the named patches back, newest first; all of them with `everything`."""
    decide = reverting(names, everything, policy)
    return act("revert", target, (), decide, timeout, False, notify)


def unload(
    names: Sequence[str],
    target: str | Target,
    *,
    everything: bool = False,
    notify: Notify | None = None,
) -> Acted:
    """Remove patches that are loaded and not applied."""

    def decide(facts: Facts) -> Plan:
        wanted = checked_names(facts) if everything else tuple(names)
        return planner.plan_unload(wanted, facts, DEFAULT_POLICY)

    return act("unload", target, (), decide, None, False, notify)


def status(target: str | Target) -> Status:
    """What runs now, observed on the target itself. A run that was broken off is
    named, one that goes on is not."""
    there = opened(target)
    facts = there.facts()
    with Journal(there.state_directory) as journal:
        broken = journal.open_run()
    if broken is None or lock_holder(there.state_directory) is not None:
        return Status(facts)
    return Status(facts, broken, has_booted_since(broken, facts))


def history(target: str | Target, limit: int = 50) -> History:
    """What was done to a target, newest first."""
    there = opened(target)
    with Journal(there.state_directory) as journal:
        return History(there.name, tuple(journal.entries(limit)))


# What the verbs share, in the order of the stages.


def read(payloads: Sequence[str | Path]) -> tuple[Patch, ...]:
    return tuple(load_patch(Path(path)) for path in payloads)


def opened(target: str | Target) -> Target:
    return open_target(target) if isinstance(target, str) else target


def state_directory(target: str | Target) -> Path:
    if isinstance(target, str):
        return state_directory_of(target)
    return target.state_directory


def applying(patches: Sequence[Patch], policy: Policy) -> Decide:
    return lambda facts: planner.plan_apply(patches, facts, policy)


def replacing(patches: Sequence[Patch], policy: Policy) -> Decide:
    if len(patches) != 1:
        raise UsageError("replace takes one module", hint="build a cumulative one")
    return lambda facts: planner.plan_replace(patches[0], facts, policy)


def reverting(names: Sequence[str], everything: bool, policy: Policy) -> Decide:
    def decide(facts: Facts) -> Plan:
        wanted = tuple(reversed(facts.applied)) if everything else tuple(names)
        return planner.plan_revert(wanted, facts, policy)

    return decide


def checked_names(facts: Facts) -> tuple[str, ...]:
    """The loaded patches that are not applied, newest first."""
    loaded = reversed(facts.loaded)
    return tuple(p.name for p in loaded if p.state is PatchState.CHECKED)


def observe_and_decide(
    target: Target, patches: tuple[Patch, ...], decide: Decide
) -> Planned:
    facts = observe(target, patches)
    return Planned(decide(facts), patches, facts)


def act(
    verb: str,
    target: str | Target,
    patches: tuple[Patch, ...],
    decide: Decide,
    timeout: timedelta | None,
    strict: bool,
    notify: Notify | None,
) -> Acted:
    """Plan and carry out under the target's lock, first undoing what an earlier
    run left half done. The target is opened under the lock: what it was before may
    be what another process has changed since."""
    directory = state_directory(target)
    with lock(directory, verb), Journal(directory) as journal:
        there = opened(target)
        recovered = recover(there, journal)
        planned = observe_and_decide(there, patches, decide)
        if planned.plan.verdict is Verdict.REFUSED or (strict and warned(planned.plan)):
            return Acted(planned, None, recovered=recovered)
        outcome = carry_out(planned, there, journal, timeout, notify)
        # Where no code can be seen, there is nothing to compare.
        if not planned.facts.code:
            return Acted(planned, outcome, recovered=recovered)
        after = outcome.found or observe(there, patches)
        changed = changes(planned, after)
        return Acted(planned, outcome, changed, recovered, after)


def carry_out(
    planned: Planned,
    target: Target,
    journal: Journal,
    timeout: timedelta | None,
    notify: Notify | None,
) -> Outcome:
    if timeout is None:
        timeout = timedelta(seconds=planned.facts.capabilities.patience)
    patches = {patch.name: patch for patch in planned.patches}
    return execute(
        planned.plan,
        target,
        journal,
        patches,
        seen=planned.facts,
        timeout=timeout,
        notify=notify,
    )


def warned(plan: Plan) -> bool:
    return any(f.severity is planner.Severity.WARN for f in plan.findings)


def changes(planned: Planned, after: Facts) -> tuple[FunctionChange, ...]:
    """The functions whose bytes differ between two observations. One that only
    either of them covers (its patch came or went) is compared with the file."""
    both = {**after.code, **planned.facts.code}
    return tuple(
        FunctionChange(fact.symbol, address, was, now)
        for address, fact in sorted(both.items())
        if (was := live_bytes(planned.facts, address, fact.shipped))
        != (now := live_bytes(after, address, fact.shipped))
    )


def live_bytes(facts: Facts, address: int, otherwise: bytes) -> bytes:
    fact = facts.code.get(address)
    return fact.live if fact else otherwise
