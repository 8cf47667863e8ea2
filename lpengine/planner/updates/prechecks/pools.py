"""Prechecks of a pool as a whole."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from lpengine.package.model import Update
from lpengine.planner.updates.order import in_rolling_order
from lpengine.planner.updates.plan import CheckStatus, Deed, Fix, Group, Precheck
from lpengine.planner.updates.prechecks.rows import (
    fine,
    problem,
    skipped,
    warning,
)
from lpengine.planner.updates.state import HostState, Mode, PoolState, Role

# XenCenter, OutOfSyncWithCdnCheck: from this age on the list is too old.
STALE_DAYS = 7


def synchronisation(pool: PoolState) -> tuple[Precheck, ...]:
    """Pools with a repository: when its list of updates was fetched."""
    state, group = pool.synchronised, Group.SYNCHRONISATION
    if state is None:
        return ()
    if state.running:
        text = "synchronisation with the repository is under way"
        return (problem(group, pool.name, "synchronising", text),)
    fix = Fix(Deed.SYNCHRONISE, pool.name)
    if state.days is None:
        text = "never synchronised with the repository"
        return (problem(group, pool.name, "never-synchronised", text, fix=fix),)
    text = f"synchronised {state.days} days ago"
    if state.days >= STALE_DAYS:
        return (problem(group, pool.name, "synchronised-long-ago", text, fix=fix),)
    return (fine(group, pool.name, text),)


def ha_and_wlb(pool: PoolState) -> tuple[Precheck, ...]:
    """Both have to be off, and are on again at the end as they were."""
    found = []
    if pool.ha_enabled:
        text = "high availability is on"
        fix = disable_ha(pool)
        found.append(problem(Group.HA_AND_WLB, pool.name, "ha-enabled", text, fix=fix))
    if pool.wlb_enabled:
        text = "load balancing is on"
        undo = Fix(Deed.ENABLE_WLB, pool.name)
        fix = Fix(Deed.DISABLE_WLB, pool.name, undo=undo)
        found.append(problem(Group.HA_AND_WLB, pool.name, "wlb-enabled", text, fix=fix))
    text = "high availability and load balancing are off"
    return tuple(found) or (fine(Group.HA_AND_WLB, pool.name, text),)


def disable_ha(pool: PoolState) -> Fix:
    settings = {
        "heartbeat_storage": ",".join(sorted(pool.ha_storage)),
        "failures_to_tolerate": str(pool.ha_failures_to_tolerate),
    }
    undo = Fix(Deed.ENABLE_HA, pool.name, arguments=settings)
    return Fix(Deed.DISABLE_HA, pool.name, undo=undo)


def server_selection(
    pool: PoolState, updates: Iterable[Update], selected: Collection[str]
) -> tuple[Precheck, ...]:
    """Updates that a pool takes on all its hosts or on none. `selected` names the
    hosts that are to be updated."""
    homogeneous = sorted(one.id for one in updates if one.homogeneous)
    if not homogeneous:
        return ()
    if pool.mixed:
        text = "check skipped: the hosts are not all of one version"
        return (warning(Group.SERVER_SELECTION, pool.name, "pool-mixed", text),)
    found = tuple(
        problem(
            Group.SERVER_SELECTION,
            pool.name,
            "not-homogeneous",
            f"{update} has to go onto {', '.join(left)} too",
        )
        for update in homogeneous
        if (left := left_out(pool, update, selected))
    )
    text = "no host is left out"
    return found or (fine(Group.SERVER_SELECTION, pool.name, text),)


def left_out(pool: PoolState, update: str, selected: Collection[str]) -> list[str]:
    return [
        host.name
        for host in in_rolling_order(pool)
        if host.name not in selected and update not in host.installed_updates
    ]


def coordinator_restart(
    pool: PoolState, update: str | None = None
) -> tuple[Precheck, ...]:
    """Whether the coordinator waits for a restart because of `update`, or of any if
    that is None: members are not updated before it."""
    for host in in_rolling_order(pool):
        if host.role is not Role.MEMBER:
            return pending_restart(host, update)
    text = "the pool's coordinator is not known"
    return (skipped(Group.COORDINATOR_RESTART, pool.name, text),)


def pending_restart(host: HostState, update: str | None) -> tuple[Precheck, ...]:
    group = Group.COORDINATOR_RESTART
    waiting = host.updates_requiring_reboot
    if update in waiting or (update is None and waiting):
        text = f"it has to be rebooted first ({', '.join(sorted(waiting))})"
        return (problem(group, host.name, "coordinator-reboot-pending", text),)
    if host.toolstack_restart_pending:
        text = "its toolstack has to be restarted first"
        return (problem(group, host.name, "coordinator-toolstack-pending", text),)
    return (fine(group, host.name, "no restart is pending"),)


def comes_first(one: Precheck) -> Precheck:
    """Where the coordinator's tasks are carried out before anything else, what it
    waits for is no obstacle."""
    return replace(one, status=CheckStatus.INFORMATION) if one.blocks else one


def automatic_mode(
    pool: PoolState, mode: Mode, restarts: Collection[str]
) -> Iterator[Precheck]:
    """A pool may keep its restarts to its operator. `restarts` names the hosts that
    would be restarted."""
    if mode is Mode.AUTOMATIC and pool.forbids_restarts and restarts:
        text = f"automatic restarts are forbidden ({', '.join(restarts)})"
        yield problem(Group.SELECTION, pool.name, "restarts-forbidden", text)
