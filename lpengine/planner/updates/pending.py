"""What hosts and guests remember of tasks that were not carried out yet: what an
update adds, what a failed live patch adds, and what clears them (XAPI,
repository_helpers.ml and the life cycles of host and guest).

What is stored is raw: adding never removes anything. It is reduced where it is shown.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

from lpengine.package.model import FAILURES, KERNEL, XEN, Level, Task
from lpengine.planner.updates.precedence import LEVELS, cascaded, reduced
from lpengine.planner.updates.state import Guest, Pending, PowerState
from lpengine.planner.updates.words import in_order

# What a host may be left with, and what a guest.
OF_HOST = FAILURES | {Task.REBOOT_HOST, Task.RESTART_TOOLSTACK, Task.RESTART_PROCESS}
OF_GUEST = frozenset({Task.RESTART_DEVICE_MODEL, Task.RESTART_VM})

_FAILURE_OF = {
    XEN: Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE,
    KERNEL: Task.REBOOT_ON_KERNEL_LIVEPATCH_FAILURE,
}
_BOTH = frozenset(_FAILURE_OF.values())

_Change = Callable[[Level, tuple[Task, ...]], frozenset[Task]]


class HostEvent(StrEnum):
    TOOLSTACK_STARTED = "toolstack_started"
    BOOTED = "booted"
    EMERGENCY = "emergency"


class GuestEvent(StrEnum):
    """STARTED_ON_NEWEST: started or rebooted on a host that runs what the coordinator
    runs."""

    SUSPENDED = "suspended"
    HALTED = "halted"
    MIGRATED = "migrated"
    STARTED = "started"
    STARTED_ON_NEWEST = "started_on_newest"


class Operation(StrEnum):
    """What a host with mandatory tasks left is not let do."""

    APPLY_UPDATES = "apply_updates"
    ENABLE = "enable"
    JOIN_POOL = "join_pool"


CLEARED_BY_HOST: Mapping[HostEvent, frozenset[Task]] = {
    HostEvent.TOOLSTACK_STARTED: frozenset({Task.RESTART_TOOLSTACK}),
    HostEvent.BOOTED: OF_HOST,
    HostEvent.EMERGENCY: frozenset(),
}
CLEARED_BY_GUEST: Mapping[GuestEvent, frozenset[Task]] = {
    GuestEvent.SUSPENDED: frozenset({Task.RESTART_DEVICE_MODEL}),
    GuestEvent.HALTED: OF_GUEST,
    GuestEvent.MIGRATED: frozenset({Task.RESTART_DEVICE_MODEL}),
    GuestEvent.STARTED: frozenset({Task.RESTART_DEVICE_MODEL}),
    GuestEvent.STARTED_ON_NEWEST: OF_GUEST,
}


def failure_of(component: str) -> Task:
    """What is left to do when the live patch of a component fails."""
    return _FAILURE_OF.get(component, Task.RESTART_PROCESS)


def by_component(failures: Iterable[Task]) -> frozenset[Task]:
    """The value from before failures were told apart stands for all of them."""
    known = frozenset(failures)
    if Task.REBOOT_ON_LIVEPATCH_FAILURE in known:
        return known - {Task.REBOOT_ON_LIVEPATCH_FAILURE} | _BOTH
    return known


def after_livepatches(
    previous: Iterable[Task], applied: Collection[str], failed: Collection[str]
) -> frozenset[Task]:
    """The memory of failed live patches after a run that applied some components and
    failed with others. One that was not tried this time stays as it was; one that is
    said to have done both has failed."""
    now = frozenset(failure_of(component) for component in failed)
    cleared = frozenset(failure_of(component) for component in applied)
    return now | by_component(task for task in previous if task in FAILURES) - cleared


def added_to_host(pending: Iterable[Task], coming: Iterable[Task]) -> frozenset[Task]:
    """One level of a host's list. Evacuating happens before an update and is never
    left to be done; what guests have to do is in their own lists."""
    return frozenset(pending) | frozenset(coming) & OF_HOST


def added_to_guest(pending: Iterable[Task], coming: Iterable[Task]) -> frozenset[Task]:
    """One level of a guest's list."""
    return frozenset(pending) | frozenset(coming) & OF_GUEST


def host_after_update(
    pending: Pending, guidance: Mapping[Level, Iterable[Task]]
) -> Pending:
    """A host's lists once updates with this guidance are on its disk. Failed live
    patches are not guidance: see host_after_livepatches."""
    return _each(
        pending, lambda level, old: added_to_host(old, guidance.get(level, ()))
    )


def host_after_livepatches(
    pending: Pending, applied: Collection[str], failed: Collection[str]
) -> Pending:
    """Failures are remembered as recommended, whatever the update itself asks for."""
    old = frozenset(pending.recommended)
    left = (old - FAILURES) | after_livepatches(old, applied, failed)
    return replace(pending, recommended=in_order(left))


def guest_after_update(
    guest: Guest, guidance: Mapping[Level, Iterable[Task]]
) -> Pending:
    """A guest's lists once its host is updated: device models matter where one runs.
    Whether guests are to be restarted is decided for the whole pool."""
    emulated = guest.device_model and guest.resident
    takes = {Task.RESTART_DEVICE_MODEL} if emulated else set[Task]()

    def added(level: Level, old: tuple[Task, ...]) -> frozenset[Task]:
        return added_to_guest(old, takes.intersection(guidance.get(level, ())))

    return guest.pending if guest.control_domain else _each(guest.pending, added)


def restart_levels(
    guidances: Iterable[Mapping[Level, Iterable[Task]]],
) -> tuple[Level, ...]:
    """At which levels all guests of a pool are to be restarted, once its coordinator
    is updated: those at which the guidance of any of its hosts says so."""
    found = {
        level
        for guidance in guidances
        for level in LEVELS
        if Task.RESTART_VM in guidance.get(level, ())
    }
    return tuple(level for level in LEVELS if level in found)


def guest_to_restart(guest: Guest, levels: Collection[Level]) -> Pending:
    """A guest's lists after that. One that is halted starts with everything new."""

    def added(level: Level, old: tuple[Task, ...]) -> frozenset[Task]:
        return frozenset(old).union([Task.RESTART_VM] if level in levels else [])

    if guest.control_domain or guest.power is PowerState.HALTED:
        return guest.pending
    return _each(guest.pending, added)


def after_host_event(pending: Pending, event: HostEvent) -> Pending:
    """What is left to a host once that has happened. The boot clears all that a start
    of the toolstack does, and more; the emergency call only the mandatory list."""
    if event is HostEvent.EMERGENCY:
        return replace(pending, mandatory=())
    return without(pending, CLEARED_BY_HOST[event])


def after_guest_event(pending: Pending, event: GuestEvent) -> Pending:
    """What is left to a guest once that has happened to it."""
    return without(pending, CLEARED_BY_GUEST[event])


def without(pending: Pending, cleared: Collection[Task]) -> Pending:
    return _each(pending, lambda _, old: frozenset(old).difference(cleared))


def upgraded(pending: Pending) -> Pending:
    """Lists from before there were levels: all of it was only recommended, and a
    failed live patch is taken for one of either component."""
    moved = frozenset(pending.recommended) | by_component(pending.mandatory)
    return replace(pending, mandatory=(), recommended=in_order(moved))


def shown(pending: Pending) -> Pending:
    """What people see: no task that another one covers, none twice."""
    levels = cascaded((level, reduced(pending.at(level))) for level in LEVELS)
    left = {str(level): in_order(tasks) for level, tasks in levels}
    return Pending(**left)


def refused_operations(pending: Pending) -> tuple[Operation, ...]:
    """Mandatory tasks that are left block these; nothing else does."""
    return tuple(Operation) if pending.mandatory else ()


def _each(pending: Pending, change: _Change) -> Pending:
    left = {str(level): in_order(change(level, pending.at(level))) for level in LEVELS}
    return Pending(**left)
