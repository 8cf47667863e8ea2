"""What has to be done on a host before and after an update: guidance and what earlier
updates have left become tasks for the host, its guests and processes."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from lpengine.package.model import FAILURES, Level, Task
from lpengine.planner.updates.pending import OF_GUEST, by_component, failure_of
from lpengine.planner.updates.plan import HostTask
from lpengine.planner.updates.precedence import LEVELS, PRECEDENCES, reduced
from lpengine.planner.updates.state import (
    NOTHING_PENDING,
    Guest,
    HostState,
    PowerState,
    UpdatePolicy,
)
from lpengine.planner.updates.words import in_order

Wanted = dict[Task, Level]

# The order in which they are carried out: a restart of the toolstack that is a task by
# itself comes before all else, guests come last.
_ORDER = (
    Task.RESTART_TOOLSTACK,
    Task.REBOOT_HOST,
    Task.RESTART_PROCESS,
    Task.RESTART_DEVICE_MODEL,
    Task.RESTART_VM,
)


@dataclass(frozen=True)
class Tasks:
    before: tuple[HostTask, ...]
    after: tuple[HostTask, ...]


@dataclass(frozen=True)
class Asked:
    """What an update asks of a host. `applied` components get a live patch now, which
    makes up for failures before; `unresolved`: an earlier update is not in effect;
    `guests`: at which levels all guests of the pool are to be restarted."""

    guidance: Mapping[Level, tuple[Task, ...]]
    applied: Collection[str] = ()
    processes: tuple[str, ...] = ()
    unresolved: bool = False
    guests: Collection[Level] = ()


def tasks_for(host: HostState, asked: Asked, policy: UpdatePolicy) -> Tasks:
    """All that is mandatory or recommended is told of; what is neither only where it is
    carried out. Guests leave for what is carried out."""
    levels = tuple(
        level
        for level in LEVELS
        if level is not Level.FULL or policy.carries_out(level)
    )
    wanted = wanted_of_host(host, asked, levels)
    emptying = [one for one in (Task.REBOOT_HOST, Task.EVACUATE_HOST) if one in wanted]
    leaving = any(policy.carries_out(wanted[one]) for one in emptying)
    occupied = host.guests is None or any(one.movable for one in host.guests)
    before: tuple[HostTask, ...] = ()
    if leaving and occupied:
        level = binding(wanted, *emptying)
        before = (HostTask(Task.EVACUATE_HOST, "", level),)
    found = list(tasks_of_host(wanted, asked.processes))
    found += tasks_of_guests(host, wanted, levels, leaving)
    found.sort(key=lambda one: (_ORDER.index(one.task), one.target))
    return Tasks(before, tuple(found))


def wanted_of_host(host: HostState, asked: Asked, levels: Collection[Level]) -> Wanted:
    """Every task with the most binding level at which anybody asks for it."""
    wanted: Wanted = {}
    for level in levels:
        left = left_by_failures(host.pending.at(level), asked.applied)
        for task in (*asked.guidance.get(level, ()), *left):
            wanted.setdefault(task, level)
        if level in asked.guests:
            wanted.setdefault(Task.RESTART_VM, level)
    if asked.unresolved:
        wanted.setdefault(Task.REBOOT_HOST, Level.RECOMMENDED)
    if host.toolstack_restart_pending:
        wanted.setdefault(Task.RESTART_TOOLSTACK, Level.RECOMMENDED)
    if asked.processes:
        wanted.setdefault(Task.RESTART_PROCESS, Level.RECOMMENDED)
    return wanted


def left_by_failures(
    pending: Collection[Task], applied: Collection[str]
) -> tuple[Task, ...]:
    """A failed live patch is a reboot, unless it is made up for."""
    if not pending:
        return ()
    failed = by_component(task for task in pending if task in FAILURES)
    failed -= {failure_of(component) for component in applied}
    others = tuple(task for task in pending if task not in FAILURES)
    return (*others, Task.REBOOT_HOST) if failed else others


def binding(wanted: Wanted, *tasks: Task) -> Level:
    return min((wanted[task] for task in tasks if task in wanted), key=LEVELS.index)


def tasks_of_host(wanted: Wanted, processes: tuple[str, ...]) -> Iterator[HostTask]:
    for task in in_order(reduced(wanted)):
        if task in (Task.REBOOT_HOST, Task.RESTART_TOOLSTACK):
            yield HostTask(task, "", covering_level(wanted, task))
        elif task is Task.RESTART_PROCESS:
            for name in processes or ("",):
                yield HostTask(task, name, wanted[task])


def covering_level(wanted: Wanted, task: Task) -> Level:
    """A task is as binding as the most binding one that it covers."""
    covered = dict(PRECEDENCES).get(task, frozenset())
    return binding(wanted, task, *covered)


def tasks_of_guests(
    host: HostState, wanted: Wanted, levels: Collection[Level], leaving: bool
) -> Iterator[HostTask]:
    """Guests get a new device model by leaving the host, or by being restarted."""
    if host.guests is None:
        for task in (Task.RESTART_DEVICE_MODEL, Task.RESTART_VM):
            if task in reduced(wanted):
                yield HostTask(task, "", wanted[task])
        return
    asked = {task: level for task, level in wanted.items() if task in OF_GUEST}
    for guest in host.guests:
        if not asked and guest.pending == NOTHING_PENDING:
            continue
        if not guest.control_domain and guest.power is not PowerState.HALTED:
            yield from tasks_of_guest(guest, asked, levels, leaving)


def tasks_of_guest(
    guest: Guest, asked: Wanted, levels: Collection[Level], leaving: bool
) -> Iterator[HostTask]:
    """A restart covers a new device model."""
    stays = not leaving and guest.device_model and guest.resident
    both = {**asked}
    for level in levels:
        for task in guest.pending.at(level):
            both[task] = min(both.get(task, level), level, key=LEVELS.index)
    if Task.RESTART_VM in both:
        yield HostTask(Task.RESTART_VM, guest.name, binding(both, *both))
    elif Task.RESTART_DEVICE_MODEL in both and stays:
        level = both[Task.RESTART_DEVICE_MODEL]
        yield HostTask(Task.RESTART_DEVICE_MODEL, guest.name, level)
