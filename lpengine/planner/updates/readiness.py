"""What the third generation asks before updates are applied, and what it refuses at
that moment, in its own order (XAPI, xapi_pool.ml, xapi_host.ml, repository.ml)."""

from collections.abc import Collection
from dataclasses import dataclass

from lpengine.package.model import Task
from lpengine.planner.updates.state import UPDATES, HostState, Pending, PoolState


@dataclass(frozen=True)
class Trouble:
    """An error of XAPI's, by its code."""

    code: str
    subject: str = ""


def readiness(pool: PoolState, *, requires_reboot: bool) -> tuple[Trouble, ...]:
    """Everything that stands against updating a pool, at once: HA, hosts that do not
    answer, and where a reboot is needed the guests that cannot leave their host.
    Without the licence nothing else is looked at."""
    if any(host.features.get(UPDATES) is False for host in pool.hosts):
        return (Trouble("LICENCE_RESTRICTION", UPDATES),)
    found = [Trouble("HA_IS_ENABLED")] if pool.ha_enabled else []
    for host in pool.hosts:
        if not host.live:
            found.append(Trouble("HOST_OFFLINE", host.name))
        elif requires_reboot:
            found += hindered(host)
    return tuple(found)


def hindered(host: HostState) -> list[Trouble]:
    return [
        Trouble(guest.hindrance.code, guest.name)
        for guest in host.guests or ()
        if guest.hindrance is not None and guest.movable
    ]


@dataclass(frozen=True)
class ApplyRequest:
    """The moment updates are applied to a host. `hash` is that of the metadata the
    plan was made from, `current_hash` that of the repository now; `mandatory` what
    the updates ask for at that level; `operations` are under way on the host."""

    host: HostState
    on_coordinator: bool = True
    licensed: bool = True
    pool_busy: bool = False
    ha_enabled: bool = False
    operations: Collection[str] = ()
    storage_degraded: bool = False
    hash: str = ""
    current_hash: str = ""
    up_to_date: bool = False
    mandatory: Collection[Task] = ()


# These exclude one another on a host.
EXCLUSIVE = ("reboot", "shutdown", "apply_updates")


def refusal_of_apply(request: ApplyRequest) -> str:
    """The code of the first thing that stands against it, "" if nothing does. The host
    need not be disabled: applying does that itself."""
    return (
        refused_by_pool(request) or refused_by_host(request) or refused_by_plan(request)
    )


def refused_by_pool(request: ApplyRequest) -> str:
    if not request.on_coordinator:
        return "HOST_IS_SLAVE"
    if not request.licensed:
        return "LICENCE_RESTRICTION"
    if request.pool_busy:
        return "OTHER_OPERATION_IN_PROGRESS"
    return "HA_IS_ENABLED" if request.ha_enabled else ""


def refused_by_host(request: ApplyRequest) -> str:
    if any(one in EXCLUSIVE for one in request.operations):
        return "OTHER_OPERATION_IN_PROGRESS"
    if request.storage_degraded:
        return "CLUSTERED_SR_DEGRADED"
    return mandatory_left(request.host.pending)


def mandatory_left(pending: Pending) -> str:
    """Also what keeps a host from being enabled and from joining a pool."""
    return "HOST_PENDING_MANDATORY_GUIDANCES_NOT_EMPTY" if pending.mandatory else ""


def refused_by_plan(request: ApplyRequest) -> str:
    if not request.hash or request.hash != request.current_hash:
        return "UPDATEINFO_HASH_MISMATCH"
    if request.up_to_date:
        return ""
    leaving = {Task.REBOOT_HOST, Task.EVACUATE_HOST}.intersection(request.mandatory)
    guests = request.host.guests
    occupied = guests is None or any(one.movable for one in guests)
    return "HOST_EVACUATION_IS_REQUIRED" if leaving and occupied else ""


def refusal_of_enable(host: HostState) -> str:
    """Why a host may not be enabled: mandatory tasks, or an update under way."""
    if "apply_updates" in host.operations:
        return "OTHER_OPERATION_IN_PROGRESS"
    return mandatory_left(host.pending)
