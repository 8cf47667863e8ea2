"""From a plan for pools, or what became of it, to the documented exit code."""

from collections.abc import Collection, Iterable

from lpengine.cli import exits
from lpengine.errors import LpengineError, RefusedError, StalePlanError, StuckError
from lpengine.hosts import HostError
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.plan import FleetPlan, PoolPlan
from lpengine.pool.context import Cancelled
from lpengine.pool.outcome import FleetOutcome, PoolOutcome, Status
from lpengine.report.pool_documents import PoolStatusDocument

_UNREACHABLE = "LP-ENV-601"

# The one that tells most comes first: what somebody has to look at, then what has not
# been done, then what remains to be done.
_PRECEDENCE = (
    exits.STUCK,
    exits.INTERRUPTED,
    exits.STOPPED,
    exits.UNREACHABLE,
    exits.TEMPORARY,
    exits.REFUSED,
    exits.MEMORY_FAILED,
    exits.TASKS_PENDING,
    exits.DONE,
)


def of_plan(plan: FleetPlan) -> int:
    return worst({of_pool_plan(pool) for pool in plan.pools})


def of_pool_plan(pool: PoolPlan) -> int:
    if pool.verdict is not Verdict.REFUSED:
        return exits.DONE
    checks = (*pool.prechecks, *(one for host in pool.hosts for one in host.prechecks))
    return of_codes({check.code for check in checks if check.blocks})


def of_codes(codes: Collection[str]) -> int:
    return exits.UNREACHABLE if set(codes) == {_UNREACHABLE} else exits.REFUSED


def of_outcome(outcome: FleetOutcome) -> int:
    return worst({of_pool(pool) for pool in outcome.pools})


def of_pool(pool: PoolOutcome) -> int:
    if pool.error is not None:
        refused = pool.status is Status.REFUSED or not isinstance(
            pool.error, RefusedError
        )
        return of_error(pool.error) if refused else exits.STOPPED
    if any(host.failed for host in pool.hosts):
        return exits.MEMORY_FAILED
    if any(host.left or host.closed for host in pool.hosts):
        return exits.TASKS_PENDING
    return exits.DONE


def of_abandoned(outcomes: Iterable[FleetOutcome]) -> int:
    """What could not be put back is somebody's to look at."""
    return exits.STUCK if any(one.open for one in outcomes) else exits.DONE


def of_status(document: PoolStatusDocument) -> int:
    hosts = [host for pool in document.pools for host in pool.hosts]
    if any(host.silent for host in hosts):
        return exits.UNREACHABLE
    left = any(host.left or not host.enabled for host in hosts)
    return exits.TASKS_PENDING if left else exits.DONE


def of_error(error: LpengineError) -> int:
    if isinstance(error, StuckError):
        return exits.STUCK
    if isinstance(error, Cancelled):
        return exits.INTERRUPTED
    if isinstance(error, StalePlanError):
        return exits.TEMPORARY
    if isinstance(error, RefusedError):
        return of_codes(error.codes)
    return exits.UNREACHABLE if isinstance(error, HostError) else exits.STOPPED


def worst(codes: Collection[int]) -> int:
    return next((code for code in _PRECEDENCE if code in codes), exits.DONE)
