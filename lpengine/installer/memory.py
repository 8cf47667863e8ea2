"""One live patch put onto the component it is for, or taken off."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from lpengine import planner
from lpengine.engine import Outcome, execute, observe, recover, refused
from lpengine.errors import StuckError, TargetError
from lpengine.installer.modules import name_of
from lpengine.journal import Journal, lock
from lpengine.package.model import LivePatch
from lpengine.package.xenserver.livepatch import loaded_name
from lpengine.patch.model import Patch
from lpengine.patch.reader import read_patch
from lpengine.planner import Facts, PatchState, Plan, Policy, Verdict
from lpengine.targets import Target, open_target, state_directory_of

POLICY = Policy()


@dataclass(frozen=True)
class Held:
    """A target under its lock, with what was seen of it."""

    target: Target
    journal: Journal

    def execute(
        self, plan: Plan, facts: Facts, patches: tuple[Patch, ...] = ()
    ) -> Outcome:
        """Carry out what was planned for the target as it was just seen."""
        if plan.verdict is Verdict.REFUSED:
            raise refused(plan)
        return execute(
            plan,
            self.target,
            self.journal,
            {patch.name: patch for patch in patches},
            seen=facts,
            timeout=timedelta(seconds=facts.capabilities.patience),
        )


@contextmanager
def held(uri: str, verb: str) -> Iterator[Held]:
    """What an earlier run has left half done there is put right first."""
    directory = state_directory_of(uri)
    with lock(directory, verb), Journal(directory) as journal:
        target = open_target(uri)
        earlier = recover(target, journal)
        if earlier is not None and earlier.status == "stuck":
            raise StuckError(f"{uri}: {earlier.error}", left=earlier.left)
        yield Held(target, journal)


def put_on(uri: str, livepatch: LivePatch, raw: bytes) -> str:
    """Apply it in the place of all that is applied, or on top of it where the target
    stacks; the name that it then has. Raises why it does not go on; then the target is
    as before, but for `StuckError`."""
    with held(uri, "install") as there:
        patch = named(there.target.facts(), livepatch, raw)
        facts = observe(there.target, (patch,))
        check_build_id(facts, livepatch)
        facts = without_namesake(there, patch, facts)
        plan = planned(patch, facts)
        finish(uri, there.execute(plan, facts, (patch,)))
        tidy(there, facts.applied)
        return patch.name


def named(facts: Facts, livepatch: LivePatch, raw: bytes) -> Patch:
    """By its own name, or where an applied one has that, by XenServer's. A module for
    Linux has its name within it."""
    patch = read_patch(raw, name_of(livepatch))
    for loaded in facts.loaded:
        other = loaded.name == patch.name and loaded.sha256 != patch.sha256
        if other and loaded.name in facts.applied:
            spare = loaded_name(livepatch.component, livepatch.base, livepatch.to)
            return read_patch(raw, spare)
    return patch


def check_build_id(facts: Facts, livepatch: LivePatch) -> None:
    """Once more, right before: what the plan saw may be of the past."""
    if facts.image.build_id != livepatch.base_build_id:
        raise TargetError(
            f"{facts.target} runs build {facts.image.build_id}, and the live patch is "
            f"for {livepatch.base_build_id}",
            cause="image-mismatch",
        )


def planned(patch: Patch, facts: Facts) -> Plan:
    """A live patch of an update holds all earlier ones. Xen swaps them when it is told
    to; a module for Linux says by itself whether it takes the others off."""
    can = facts.capabilities
    if facts.applied and can.replace and not can.replaces_by_module:
        return planner.plan_replace(patch, facts, POLICY)
    return planner.plan_apply((patch,), facts, POLICY)


def without_namesake(there: Held, patch: Patch, facts: Facts) -> Facts:
    """A patch of that name with other bytes, left over and not applied, goes."""
    for loaded in facts.loaded:
        stale = loaded.name == patch.name and loaded.sha256 != patch.sha256
        if stale and loaded.state is PatchState.CHECKED:
            plan = planner.plan_unload((loaded.name,), facts, POLICY)
            finish(there.target.name, there.execute(plan, facts))
            return observe(there.target, (patch,))
    return facts


def tidy(there: Held, replaced: tuple[str, ...]) -> None:
    """Unload those that were applied before and are no longer: they only take room. One
    that does not go is no failure of the one that is on."""
    facts = observe(there.target, ())
    idle = [
        loaded.name
        for loaded in facts.loaded
        if loaded.name in replaced and loaded.state is PatchState.CHECKED
    ]
    plan = planner.plan_unload(idle, facts, POLICY)
    if idle and plan.verdict is Verdict.READY:
        there.execute(plan, facts)


def take_off(uri: str, name: str) -> None:
    """Revert a patch that is on top, and unload it, if it is on at all. Raises as
    `put_on`."""
    with held(uri, "uninstall") as there:
        facts = observe(there.target, ())
        if name not in facts.applied:
            return
        plan = planner.plan_revert((name,), facts, POLICY)
        finish(uri, there.execute(plan, facts))
        tidy(there, (name,))


def finish(uri: str, outcome: Outcome) -> None:
    if outcome.status == "stuck":
        raise StuckError(f"{uri}: {outcome.error}", left=outcome.left)
    if outcome.status == "rolled-back":
        raise outcome.cause or TargetError(f"{uri}: {outcome.error}")
