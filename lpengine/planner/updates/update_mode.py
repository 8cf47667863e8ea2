"""The page before installing: which tasks will remain, and who carries them out; "No
action required" where there is none (XenCenter, PatchingWizard_ModePage.cs)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from lpengine.package.model import FAILURES, Level, LivePatch, Task
from lpengine.planner.updates.guidance import Guidance
from lpengine.planner.updates.hotfix import AfterApply, reboot_required
from lpengine.planner.updates.order import in_rolling_order, pool_key
from lpengine.planner.updates.plan import FleetPlan, HostPlan
from lpengine.planner.updates.state import (
    Guest,
    HostState,
    LivepatchStatus,
    Mode,
    Pending,
    PoolState,
    Role,
)

NO_ACTION = "No action required"

_IN_ORDER = "in this order (coordinator always first)"

HEADINGS = {
    Task.REBOOT_HOST: f"Restart these servers {_IN_ORDER}:",
    Task.RESTART_TOOLSTACK: f"Restart toolstack on these servers {_IN_ORDER}:",
    Task.RESTART_PROCESS: "Restart these processes:",
    Task.RESTART_DEVICE_MODEL: "Restart the device models of these VMs:",
    Task.RESTART_VM: "Restart these VMs:",
}


@dataclass(frozen=True)
class Block:
    """One kind of task in one pool. `names` are hosts, the coordinator first, or
    guests."""

    pool: str
    task: Task
    names: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """`automatic` says whether the tasks may be left to the engine; it is the choice
    unless they may not. `hosts` has one line for each host."""

    DERIVED: ClassVar = ("mode", "text")

    blocks: tuple[Block, ...]
    automatic: bool = True
    hosts: tuple[tuple[str, str], ...] = ()

    @property
    def mode(self) -> Mode:
        return Mode.AUTOMATIC if self.automatic else Mode.MANUAL

    @property
    def text(self) -> str:
        return "\n".join(lines(self.blocks)) or NO_ACTION


def lines(blocks: Iterable[Block]) -> Iterator[str]:
    pool = None
    for block in blocks:
        if block.pool != pool:
            pool = block.pool
            yield f"{pool}:"
        yield f"  {HEADINGS[block.task]}"
        yield from (f"    {name}" for name in block.names)


def page_of(plan: FleetPlan) -> Page:
    """The page for a plan: each host says for itself what remains, too."""
    blocks = (
        Block(pool.pool, task, names)
        for pool in plan.pools
        for task in HEADINGS
        if (names := tuple(names_for(pool.hosts, task)))
    )
    hosts = ((host.host, said(host)) for pool in plan.pools for host in pool.hosts)
    automatic = all(pool.automatic for pool in plan.pools)
    return Page(tuple(blocks), automatic, tuple(hosts))


def names_for(hosts: Iterable[HostPlan], task: Task) -> Iterator[str]:
    for host in hosts:
        for one in host.after:
            if one.task is task:
                yield one.target or called(host.host, host.role)


def said(host: HostPlan) -> str:
    """What a host has to have done, in one line."""
    if host.no_action_required:
        return NO_ACTION
    steps = [*map(phrase, dict.fromkeys(one.task for one in host.before + host.after))]
    sentence = ", then ".join(steps)
    return sentence[0].upper() + sentence[1:]


_PHRASES = {
    Task.EVACUATE_HOST: "evacuate",
    Task.REBOOT_HOST: "reboot this server",
    Task.RESTART_TOOLSTACK: "restart the toolstack",
    Task.RESTART_PROCESS: "restart processes",
    Task.RESTART_DEVICE_MODEL: "restart device models",
    Task.RESTART_VM: "restart guests",
}


def phrase(task: Task) -> str:
    return _PHRASES[task]


def called(name: str, role: Role) -> str:
    return f"{name} (coordinator)" if role is Role.COORDINATOR else name


def hotfix_page(
    update: str,
    guidance: Iterable[AfterApply],
    pools: Iterable[PoolState],
    *,
    supplemental: bool = False,
) -> Page:
    """The page for a hotfix of the second generation, of which the hosts have said
    what they say (HostState.prechecks): for each thing it asks for, in each pool, the
    hosts that do not have it yet. All that it asks for is listed; nothing covers
    anything here. An update that asks for nothing has an empty page. For a
    supplemental pack all hosts are restarted, whatever it says."""
    wanted = tuple(dict.fromkeys(guidance))
    if supplemental:
        update, wanted = "", (AfterApply.RESTART_HOST,)
    ordered = sorted(pools, key=pool_key)
    blocks = tuple(
        Block(pool.name, _TASKS[one], names)
        for pool in ordered
        for one in wanted
        if (names := tuple(hotfix_names(update, one, pool)))
    )
    restarts = {block.pool for block in blocks if block.task is Task.REBOOT_HOST}
    forbidden = {pool.name for pool in ordered if pool.forbids_restarts}
    return Page(blocks, automatic=not (forbidden and restarts))


_TASKS = {
    AfterApply.RESTART_HOST: Task.REBOOT_HOST,
    AfterApply.RESTART_TOOLSTACK: Task.RESTART_TOOLSTACK,
    AfterApply.RESTART_PV: Task.RESTART_VM,
    AfterApply.RESTART_HVM: Task.RESTART_VM,
}


def hotfix_names(update: str, wanted: AfterApply, pool: PoolState) -> Iterator[str]:
    for host in in_rolling_order(pool):
        if update in host.installed_updates:
            continue
        if wanted is AfterApply.RESTART_HOST:
            if reboot_required((wanted,), status_on(host, update)):
                yield called(host.name, host.role)
        elif wanted is AfterApply.RESTART_TOOLSTACK:
            yield called(host.name, host.role)
        else:
            yield from guests_on(host, _KINDS[wanted])


_KINDS: dict[AfterApply, Callable[[Guest], bool]] = {
    AfterApply.RESTART_HVM: lambda guest: guest.type == "hvm",
    AfterApply.RESTART_PV: lambda guest: guest.type != "hvm",
}


def status_on(host: HostState, update: str) -> LivepatchStatus | None:
    answer = host.prechecks.get(update)
    return answer.status if answer else None


def guests_on(host: HostState, kind: Callable[[Guest], bool]) -> Iterator[str]:
    if host.guests is None:
        yield f"all guests on {host.name}"
        return
    for guest in host.guests:
        if guest.movable and kind(guest):
            yield guest.name


@dataclass(frozen=True)
class RepositoryTasks:
    """What the page lists for a host of a pool with a repository. `livepatched`: it
    is live patched, and needs a reboot only if that fails."""

    tasks: tuple[Task, ...]
    livepatched: bool


def repository_tasks(
    guidance: Guidance, pending: Pending, livepatches: Iterable[LivePatch]
) -> RepositoryTasks:
    """The third generation's list for one host: what is recommended now, or was left
    before. A failed live patch is a reboot."""
    wanted = set(guidance.get(Level.RECOMMENDED, ()))
    left = {*pending.mandatory, *pending.recommended, *pending.full}
    if left & FAILURES:
        left.add(Task.REBOOT_HOST)
    listed = (Task.RESTART_TOOLSTACK, Task.REBOOT_HOST, Task.RESTART_DEVICE_MODEL)
    tasks = tuple(task for task in listed if task in wanted | left)
    live = bool(tuple(livepatches)) and Task.REBOOT_HOST not in wanted
    return RepositoryTasks(tasks, live)
