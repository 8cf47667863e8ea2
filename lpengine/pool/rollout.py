"""Runs over pools: side by side, each stopping at its own failure only."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from lpengine.errors import LpengineError, UsageError
from lpengine.planner.updates.plan import FleetPlan, PoolPlan
from lpengine.pool.context import Context
from lpengine.pool.gather import Observed
from lpengine.pool.outcome import FleetOutcome, PoolOutcome
from lpengine.pool.pool_run import PoolRun
from lpengine.pool.record import Record, begin, unfinished

SIDE_BY_SIDE = 16


def record_for(directory: Path, updates: Sequence[str], pools: Sequence[str]) -> Record:
    """The record of a run with these updates (their digests): of the one that was
    stopped, if there is one, else a new one. `UsageError` where one of the pools is in
    the middle of another."""
    found = [one for one in unfinished(directory) if one.pools & set(pools)]
    if not found:
        return begin(directory, updates, pools)
    for record in found:
        if set(record.started.updates) != set(updates):
            raise UsageError(
                f"a run of {record.started.at} with other updates is not finished",
                hint="finish it with those, or give it up: lpengine pool abandon",
            )
    if len(found) > 1:
        runs = "; ".join(", ".join(sorted(record.pools)) for record in found)
        raise UsageError(
            f"{len(found)} runs are not finished: {runs}",
            hint="finish one after another: lpengine pool install --pool NAME...",
        )
    return found[0]


def roll_out(
    context: Context,
    observed: Sequence[Observed],
    plan: FleetPlan,
    *,
    resolve: bool = False,
    put_away: Collection[str] = (),
    held: Mapping[str, LpengineError] = MappingProxyType({}),
    side_by_side: int = SIDE_BY_SIDE,
) -> FleetOutcome:
    """Carry the plan out, but for the pools that are `held`. A `KeyboardInterrupt`
    stops it after what is being done."""
    by_name = {one.config.name: one for one in observed}

    def carry_out(pool: PoolPlan) -> PoolOutcome:
        run = PoolRun(
            context,
            by_name[pool.pool],
            pool,
            resolve=resolve,
            put_away=put_away,
            held=held.get(pool.pool),
        )
        return run.carry_out()

    with ThreadPoolExecutor(side_by_side, "lpengine-pool") as workers:
        futures = [workers.submit(carry_out, pool) for pool in plan.pools]
        while True:
            try:
                outcomes = tuple(future.result() for future in futures)
                break
            except KeyboardInterrupt:
                context.cancelled.set()
    is_open = context.record.is_open
    if not is_open:
        context.record.end()
    return FleetOutcome(context.record.name, outcomes, open=is_open)
