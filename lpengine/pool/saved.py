"""A plan for pools that was kept in a file: what it was made for."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from lpengine.errors import InputError, StalePlanError
from lpengine.package.files import read_small
from lpengine.planner.updates.plan import FleetPlan

_LARGEST = 1 << 30
_SCHEMA = "lpengine/pool-plan/1"


class _Host(msgspec.Struct):
    host: str
    updates_digest: str
    state_digest: str


class _Pool(msgspec.Struct):
    pool: str
    hosts: list[_Host]


class SavedPlan(msgspec.Struct):
    """The part of a plan document (report.pool_documents) that binds it."""

    schema: str
    pools: list[_Pool]

    @staticmethod
    def read(path: Path) -> "SavedPlan":
        try:
            found = msgspec.json.decode(read_small(path, _LARGEST), type=SavedPlan)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise not_a_plan(path, str(error)) from None
        if found.schema != _SCHEMA:
            raise not_a_plan(path, f"its schema is {found.schema!r}")
        return found


def not_a_plan(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: not a plan for pools: {why}",
        hint="make one with `lpengine pool plan BUNDLE --out FILE`",
    )


def stale(plan: FleetPlan, saved: SavedPlan) -> Mapping[str, StalePlanError]:
    """The pools for which the saved plan is not the one that would be made now."""
    bound = {
        (pool.pool, host.host): (host.updates_digest, host.state_digest)
        for pool in saved.pools
        for host in pool.hosts
    }
    found = {}
    for pool in plan.pools:
        changed = [
            host.host
            for host in pool.hosts
            if bound.get((pool.pool, host.host))
            != (host.updates_digest, host.state_digest)
        ]
        if changed:
            found[pool.pool] = StalePlanError(
                f"{', '.join(changed)} changed since the plan was made, or the updates "
                "are others",
                hint="plan again",
            )
    return found
