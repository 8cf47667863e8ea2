"""The verbs over pools: each reads updates and pool.toml, looks at the hosts, decides,
and `install` acts. What the verbs share comes last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lpengine.api.collector import uncollected
from lpengine.api.updates import verify_bundle
from lpengine.errors import NotFoundError, UsageError
from lpengine.hosts import open_host
from lpengine.journal import lock
from lpengine.package.model import Update
from lpengine.planner.updates.decide import decide
from lpengine.planner.updates.plan import FleetPlan
from lpengine.planner.updates.state import (
    DEFAULT_POLICY,
    Mode,
    PoolState,
    UpdatePolicy,
)
from lpengine.pool.abandon import abandon
from lpengine.pool.config import load_fleet
from lpengine.pool.context import Context
from lpengine.pool.gather import Observed, Opener, gather
from lpengine.pool.installing import Installer, install_there
from lpengine.pool.outcome import FleetOutcome, Notify
from lpengine.pool.record import state_directory, unfinished
from lpengine.pool.rollout import SIDE_BY_SIDE, record_for, roll_out
from lpengine.pool.saved import SavedPlan, stale
from lpengine.pool.settings import change
from lpengine.pool.states import read_states, write_states
from lpengine.report.values import FleetStatus, PlannedFleet, Verified


@dataclass(frozen=True)
class Wanted:
    """Which pools and hosts (all where none are named), by which pool.toml; who is
    trusted to sign updates; and how hosts are reached."""

    path: Path | None = None
    pools: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    signers: Path | None = None
    revoked: Path | None = None
    opener: Opener = open_host


EVERYTHING = Wanted()


@dataclass(frozen=True)
class Draft:
    """A plan and all that it was made from; `observed` is empty where the state came
    from a file."""

    planned: PlannedFleet
    bundles: tuple[Path, ...]
    observed: tuple[Observed, ...] = ()
    policies: Mapping[str, UpdatePolicy] = field(default_factory=dict)

    @property
    def updates(self) -> tuple[Update, ...]:
        return tuple(one.packed.update for one in self.planned.updates)


def plan_pools(
    bundles: Sequence[str | Path],
    wanted: Wanted = EVERYTHING,
    policy: UpdatePolicy = DEFAULT_POLICY,
    *,
    mode: Mode | None = None,
    states: Path | None = None,
    keep: Path | None = None,
) -> Draft:
    """What the updates mean for the pools. Changes nothing. With `states` no host is
    asked; what was observed is written to `keep`."""
    updates = tuple(read(Path(bundle), wanted) for bundle in bundles)
    check_distinct(updates)
    if states is not None:
        pools = tuple(p for p in read_states(states) if chosen(p.name, wanted))
        check_named(wanted, pools)
        plan, _ = decided(updates, pools, policy, wanted, {})
        return Draft(PlannedFleet(plan, updates, silence_in(pools)), paths(bundles))
    observed = observe(wanted, [one.packed.update.id for one in updates])
    if keep is not None:
        write_states([one.state for one in observed], keep)
    modes = {one.config.name: mode or one.config.mode for one in observed}
    pools = tuple(one.state for one in observed)
    plan, policies = decided(updates, pools, policy, wanted, modes)
    planned = PlannedFleet(plan, updates, silence(observed), without_engine(observed))
    return Draft(planned, paths(bundles), observed, policies)


def install_pools(
    draft: Draft,
    *,
    saved: SavedPlan | None = None,
    resolve: bool = False,
    put_away: Sequence[str] = (),
    notify: Notify = lambda _: None,
    opener: Opener = open_host,
    installer: Installer = install_there,
    side_by_side: int = SIDE_BY_SIDE,
    poll: float = 2.0,
) -> FleetOutcome:
    """Carry a plan out, pools side by side. Where a run with the same updates was
    stopped, it goes on. A pool that is not as in the plan `saved` is left alone."""
    digests = [one.packed.digest for one in draft.planned.updates]
    names = [pool.pool for pool in draft.planned.plan.pools]
    held = stale(draft.planned.plan, saved) if saved else {}
    directory = state_directory()
    with lock(directory, "pool install"):
        record = record_for(directory, digests, names)
        context = Context(
            draft.updates,
            draft.bundles,
            draft.policies,
            record,
            notify,
            opener,
            installer,
            poll,
        )
        return roll_out(
            context,
            draft.observed,
            draft.planned.plan,
            resolve=resolve,
            put_away=put_away,
            held=held,
            side_by_side=side_by_side,
        )


def pool_status(wanted: Wanted = EVERYTHING) -> FleetStatus:
    """What runs and what is left to be done, observed on the hosts themselves."""
    observed = observe(wanted, ())
    names = {one.config.name for one in observed}
    runs = unfinished(state_directory())
    return FleetStatus(
        observed,
        {
            pool: record.started.at
            for record in runs
            for pool in record.pools
            if pool in names and record.ending(pool) is None
        },
        wanted.hosts,
    )


def set_pool(pool: str, settings: Mapping[str, str], path: Path | None = None) -> Path:
    """Change settings of a pool in pool.toml; the file."""
    return change(pool, settings, path)


def abandon_runs(
    wanted: Wanted = EVERYTHING, notify: Notify = lambda _: None
) -> tuple[FleetOutcome, ...]:
    """Give the unfinished runs of these pools up: what was put out of the way is put
    back, hosts take guests again, and what was installed stays."""
    directory = state_directory()
    with lock(directory, "pool abandon"):
        records = unfinished(directory)
        observed = observe(wanted, ()) if records else ()
        return tuple(
            abandon(
                Context((), (), {}, record, notify, wanted.opener, install_there),
                observed,
            )
            for record in records
        )


# What the verbs share.


def read(bundle: Path, wanted: Wanted) -> Verified:
    return verify_bundle(bundle, signers=wanted.signers, revoked=wanted.revoked)


def paths(bundles: Sequence[str | Path]) -> tuple[Path, ...]:
    return tuple(Path(bundle).absolute() for bundle in bundles)


def check_distinct(updates: Sequence[Verified]) -> None:
    ids = [one.packed.update.id for one in updates]
    for id in ids:
        if ids.count(id) > 1:
            raise UsageError(f"the update {id} was given twice")


def chosen(pool: str, wanted: Wanted) -> bool:
    return not wanted.pools or pool in wanted.pools


def check_named(wanted: Wanted, pools: Sequence[PoolState]) -> None:
    """`NotFoundError` for a pool or host that was named and is not there."""
    known = {pool.name for pool in pools}
    hosts = {host.name for pool in pools for host in pool.hosts}
    for what, names, there in (
        ("pool", wanted.pools, known),
        ("host", wanted.hosts, hosts),
    ):
        for name in names:
            if name not in there:
                raise NotFoundError(
                    f"there is no {what} {name}",
                    hint=f"there are {', '.join(sorted(there))}",
                )


def observe(wanted: Wanted, updates: Sequence[str]) -> tuple[Observed, ...]:
    fleet = load_fleet(wanted.path)
    pools = tuple(
        pool
        for pool in ([*map(fleet.pool, wanted.pools)] or fleet.pools)
        if not wanted.hosts or any(host.name in wanted.hosts for host in pool.hosts)
    )
    observed = gather(pools, updates, opener=wanted.opener)
    check_named(wanted, [one.state for one in observed])
    return observed


def decided(
    updates: Sequence[Verified],
    pools: Sequence[PoolState],
    policy: UpdatePolicy,
    wanted: Wanted,
    modes: Mapping[str, Mode],
) -> tuple[FleetPlan, Mapping[str, UpdatePolicy]]:
    """One plan for all pools; equal policies are decided together."""
    selected = frozenset(wanted.hosts) if wanted.hosts else policy.selected
    policies = {
        pool.name: replace(
            policy, mode=modes.get(pool.name, policy.mode), selected=selected
        )
        for pool in pools
    }
    with uncollected():
        plans = {
            plan.pool: plan
            for each in dict.fromkeys(policies.values())
            for plan in decide(
                [one.packed.update for one in updates],
                [pool for pool in pools if policies[pool.name] == each],
                each,
            ).pools
        }
    return FleetPlan(tuple(plans[pool.name] for pool in pools)), policies


def silence_in(pools: Sequence[PoolState]) -> dict[str, str]:
    """Of a state that was saved, which does not say why."""
    return {
        f"{pool.name}/{host.name}": "it did not when its state was saved"
        for pool in pools
        for host in pool.hosts
        if not host.live
    }


def without_engine(observed: Sequence[Observed]) -> tuple[str, ...]:
    return tuple(
        f"{one.config.name}/{host.name}"
        for one in observed
        for host in one.config.hosts
        if one.lacks_engine(host.name)
    )


def silence(observed: Sequence[Observed]) -> dict[str, str]:
    return {
        f"{one.config.name}/{host}": error.message
        for one in observed
        for host, error in one.silent.items()
    }
