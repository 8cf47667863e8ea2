"""Plans for a host, a pool, and many pools."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lpengine.package.model import Level, Task, Update
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.case import Case, case_of, is_licensed, refusal_of
from lpengine.planner.updates.decision import Decision, decide_case
from lpengine.planner.updates.digest import state_digest
from lpengine.planner.updates.order import in_rolling_order, pool_key
from lpengine.planner.updates.pending import (
    host_after_livepatches,
    host_after_update,
    restart_levels,
    without,
)
from lpengine.planner.updates.plan import FleetPlan, HostPlan, PoolPlan, Precheck
from lpengine.planner.updates.prechecks import guests, hosts, pools
from lpengine.planner.updates.reasons import about_left
from lpengine.planner.updates.state import (
    DEFAULT_POLICY,
    MIGRATION,
    HostState,
    LivePatching,
    Mode,
    PoolState,
    Role,
    UpdatePolicy,
)
from lpengine.planner.updates.tasks import Asked, Tasks, tasks_for
from lpengine.planner.updates.update_set import UpdateSet, update_set


@dataclass(frozen=True)
class Decider:
    """Updates, indexed for each package format that hosts have, and the decisions that
    were made with them: equal cases have equal ones."""

    updates: tuple[Update, ...]
    policy: UpdatePolicy = DEFAULT_POLICY
    sets: dict[str, UpdateSet] = field(default_factory=dict)
    decisions: dict[tuple[str, Case], Decision] = field(default_factory=dict)

    def set_for(self, host: HostState) -> UpdateSet:
        found = self.sets.get(host.package_format)
        if found is None:
            found = update_set(self.updates, host.package_format)
            self.sets[host.package_format] = found
        return found

    def decision(self, host: HostState, refusal: str) -> Decision:
        updates = self.set_for(host)
        again = self.policy.retry_crashed
        case = case_of(updates, host, refusal, retry_crashed=again)
        key = host.package_format, case
        found = self.decisions.get(key)
        if found is None:
            found = decide_case(updates, case)
            self.decisions[key] = found
        return found


def decide_host(
    updates: Iterable[Update],
    host: HostState,
    pool: PoolState | None = None,
    policy: UpdatePolicy = DEFAULT_POLICY,
) -> HostPlan:
    """A plan for one host, as part of its pool; without one it is a pool of its own."""
    pool = pool or PoolState(name=host.name, hosts=(host,))
    decider = Decider(tuple(updates), policy)
    around = around_hosts(pool, policy)
    decision = decider.decision(host, around.refusal)
    levels = restart_levels([decision.guidance])
    return plan_host(decider, host, replace(around, restarts=levels), decision)


def decide_pool(
    updates: Iterable[Update],
    pool: PoolState,
    policy: UpdatePolicy = DEFAULT_POLICY,
) -> PoolPlan:
    """A plan for a pool: its hosts one after another, and the pool as a whole."""
    return plan_pool(Decider(tuple(updates), policy), pool)


def decide(
    updates: Iterable[Update],
    fleet: Iterable[PoolState],
    policy: UpdatePolicy = DEFAULT_POLICY,
) -> FleetPlan:
    """Plans for pools, by name; no pool's plan depends on another's."""
    decider = Decider(tuple(updates), policy)
    ordered = sorted(fleet, key=pool_key)
    return FleetPlan(tuple(plan_pool(decider, pool) for pool in ordered))


@dataclass(frozen=True)
class Around:
    """What a pool's hosts have in common. `refusal` is why none is live patched,
    `movable` whether the licence lets guests move, `restarts` the levels at which all
    guests of the pool are to be restarted."""

    pool: PoolState
    refusal: str
    movable: bool
    restarts: tuple[Level, ...] = ()


def around_hosts(pool: PoolState, policy: UpdatePolicy) -> Around:
    return Around(pool, refusal_of(pool, policy), is_licensed(pool.hosts, MIGRATION))


def plan_pool(decider: Decider, pool: PoolState) -> PoolPlan:
    policy = decider.policy
    chosen = tuple(
        host
        for host in in_rolling_order(pool)
        if policy.selected is None or host.name in policy.selected
    )
    around = around_hosts(pool, policy)
    decisions = [decider.decision(host, around.refusal) for host in chosen]
    levels = restart_levels(one.guidance for one in decisions)
    around = replace(around, restarts=levels)
    plans = tuple(
        plan_host(decider, host, around, decision)
        for host, decision in zip(chosen, decisions, strict=True)
    )
    checks = pool_prechecks(decider, pool, chosen, plans)
    return PoolPlan(
        pool=pool.name,
        verdict=verdict_of_pool(plans, checks),
        hosts=plans,
        prechecks=checks,
        automatic=not pool.forbids_restarts or not restarting(plans),
        live_patching=pool.live_patching,
        licensed=is_licensed(pool.hosts),
        restart_guests=levels,
    )


def verdict_of_pool(plans: Sequence[HostPlan], checks: Iterable[Precheck]) -> Verdict:
    """A pool goes as a whole: what blocks one of its hosts, blocks it."""
    verdicts = {plan.verdict for plan in plans}
    if Verdict.REFUSED in verdicts or any(check.blocks for check in checks):
        return Verdict.REFUSED
    return Verdict.READY if Verdict.READY in verdicts else Verdict.NOTHING


def pool_prechecks(
    decider: Decider,
    pool: PoolState,
    chosen: Sequence[HostState],
    plans: Sequence[HostPlan],
) -> tuple[Precheck, ...]:
    """None where nothing is to be done."""
    if all(plan.verdict is Verdict.NOTHING for plan in plans):
        return ()
    mode = decider.policy.mode
    names = [host.name for host in chosen]
    coming = {one for plan in plans for one in plan.install}
    going = [one for one in decider.updates if one.id in coming]
    single = going[0].id if len(decider.updates) == 1 and going else None
    restart = pools.coordinator_restart(pool, single)
    if mode is Mode.AUTOMATIC and any(one.role is not Role.MEMBER for one in chosen):
        restart = tuple(pools.comes_first(one) for one in restart)
    return (
        *pools.automatic_mode(pool, mode, restarting(plans)),
        *pools.synchronisation(pool),
        *pools.ha_and_wlb(pool),
        *pools.server_selection(pool, going, names),
        *restart,
    )


def restarting(plans: Iterable[HostPlan]) -> tuple[str, ...]:
    """The hosts of which host or toolstack will be restarted."""
    tasks = (Task.REBOOT_HOST, Task.RESTART_TOOLSTACK)
    return tuple(
        plan.host for plan in plans if any(one.task in tasks for one in plan.after)
    )


def plan_host(
    decider: Decider, host: HostState, around: Around, decision: Decision
) -> HostPlan:
    updates = decider.set_for(host)
    applied = tuple(one.component for one in decision.apply)
    waiting = waiting_for_a_boot(updates, host, decision)
    asked = Asked(
        guidance=decision.guidance,
        applied=applied,
        processes=decision.processes,
        unresolved=bool(waiting),
        guests=around.restarts,
    )
    tasks = tasks_for(host, asked, decider.policy)
    checks = host_prechecks(decider, host, around, decision, tasks)
    after_update = host_after_update(host.pending, decision.guidance)
    return HostPlan(
        host=host.name,
        pool=around.pool.name,
        role=host.role,
        verdict=verdict_of_host(decision, checks),
        updates_digest=updates.digest,
        state_digest=state_digest(updates, host, around.refusal),
        status=decision.status,
        effective=decision.effective,
        suppressed=decision.suppressed,
        components=decision.components,
        uncovered=decision.uncovered,
        covered=decision.covered,
        install=decision.install,
        superseded=decision.superseded,
        apply=decision.apply,
        guidance=decision.guidance,
        before=tasks.before,
        after=tasks.after,
        pending=without(host.pending, ()),
        pending_after=host_after_livepatches(after_update, applied, ()),
        prechecks=checks,
        findings=(*decision.findings, *about_left(host, applied, waiting)),
    )


def verdict_of_host(decision: Decision, checks: Iterable[Precheck]) -> Verdict:
    if any(check.blocks for check in checks):
        return Verdict.REFUSED
    return Verdict.READY if has_work(decision) else Verdict.NOTHING


def has_work(decision: Decision) -> bool:
    """Whether anything goes onto the disk or into memory."""
    return bool(decision.install or decision.apply)


def waiting_for_a_boot(
    updates: UpdateSet, host: HostState, decision: Decision
) -> frozenset[str]:
    """The updates that are installed and not in effect, nor will be without a boot."""
    return (host.updates_requiring_reboot - updates.ids) | decision.unresolved


def host_prechecks(
    decider: Decider,
    host: HostState,
    around: Around,
    decision: Decision,
    tasks: Tasks,
) -> tuple[Precheck, ...]:
    """In the order of the groups. A host that has everything already is only said to
    be skipped; one that does not answer is not looked at any further."""
    updates = decider.set_for(host)
    if not host.live:
        return (*hosts.liveness(host), *hosts.unreachable(host))
    if not has_work(decision):
        return (hosts.already_there(host),)
    by_id = {one: updates.parts[one].update for one in decision.install}
    required = sum(hosts.required_space(one) for one in by_id.values())
    enforced = decider.policy.live_patching is LivePatching.ENFORCE
    reboots = any(one.task is Task.REBOOT_HOST for one in tasks.after)
    return (
        *hosts.selection(host, decider.policy, decision.install),
        *hosts.liveness(host),
        *hosts.pending_tasks(host),
        *hosts.storage(host),
        hosts.disk_space(host, required),
        *hosts.server_status(host, by_id, updates.order, decision.superseded),
        hosts.reboot_notice(
            host, reboots, decision.effective, decision.suppressed, enforced
        ),
        *(evacuation(host, around) if tasks.before else ()),
    )


def evacuation(host: HostState, around: Around) -> tuple[Precheck, ...]:
    return guests.can_evacuate(host, around.pool, movable=around.movable)
