"""What was decided for hosts and pools, as values. Nothing here is decided again:
whoever shows a plan or carries it out takes every answer from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from lpengine.package.model import Level, LivePatch, Task
from lpengine.planner.findings import Finding
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.state import (
    NOTHING_PENDING,
    LivepatchStatus,
    Pending,
    Role,
)

# The tasks that a user has to know of, or that are carried out after an update.
ACTIONS = (
    Task.REBOOT_HOST,
    Task.RESTART_TOOLSTACK,
    Task.RESTART_DEVICE_MODEL,
    Task.RESTART_VM,
    Task.RESTART_PROCESS,
)


class Coverage(StrEnum):
    """What live patching does for a component of an update on a host."""

    APPLY = "apply"
    IN_EFFECT = "in_effect"
    UNCOVERED = "uncovered"
    NOT_RUNNING = "not_running"


@dataclass(frozen=True)
class ComponentPlan:
    """One component on one host. `livepatch` is to be applied, and comes from the
    update `source`; the updates in `covers` are then in effect in memory, those in
    `misses` are not. `findings` say why not."""

    component: str
    coverage: Coverage
    livepatch: LivePatch | None = None
    source: str = ""
    covers: tuple[str, ...] = ()
    misses: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class HostTask:
    """Something to be done on a host. `target` is "" for the host itself, else the
    guest or process; there is one of each (task, target). `level` is the most binding
    one among those that asked for it or for what it covers."""

    task: Task
    target: str = ""
    level: Level = Level.RECOMMENDED


class Group(StrEnum):
    """The groups of prechecks, in XenCenter's order."""

    SELECTION = "selection"
    SYNCHRONISATION = "last_synchronisation"
    LIVENESS = "liveness"
    PENDING_TASKS = "pending_tasks"
    HA_AND_WLB = "ha_and_wlb"
    STORAGE = "storage_connections"
    DISK_SPACE = "disk_space"
    SERVER_SELECTION = "server_selection"
    SERVER_STATUS = "server_side_status"
    REBOOT = "reboots_required"
    EVACUATION = "can_evacuate"
    COORDINATOR_RESTART = "pending_restart"


class CheckStatus(StrEnum):
    """Only a PROBLEM blocks; SKIPPED: what it needs could not be had."""

    OK = "ok"
    INFORMATION = "information"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


class Deed(StrEnum):
    """What can be done about a problem, or to undo that."""

    POWER_ON = "power_on"
    DISABLE_HA = "disable_ha"
    ENABLE_HA = "enable_ha"
    DISABLE_WLB = "disable_wlb"
    ENABLE_WLB = "enable_wlb"
    REPAIR_STORAGE = "repair_storage"
    CLEAN_UP = "clean_up"
    SYNCHRONISE = "synchronise"
    CLEAR_AUTO_POWER_ON = "clear_auto_power_on"
    SET_AUTO_POWER_ON = "set_auto_power_on"
    EJECT_MEDIA = "eject_media"
    SUSPEND_GUEST = "suspend_guest"
    RESUME_GUEST = "resume_guest"
    SHUT_DOWN_GUEST = "shut_down_guest"
    START_GUEST = "start_guest"


@dataclass(frozen=True)
class Fix:
    """`target` is a pool, host, guest or storage; `host` where it is to be done or,
    for a guest, where it runs. `undo` is for the end of the pool's run, None where
    there is nothing to take back. `choose`: the operator says which of several."""

    do: Deed
    target: str
    host: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    undo: "Fix | None" = None
    choose: bool = False


@dataclass(frozen=True)
class Precheck:
    """One row of the prechecks. `subject` is what was checked: a pool, host, guest or
    storage. `code` and `cause` are those of the catalogue, "" where all is well."""

    DERIVED: ClassVar = ("blocks",)

    group: Group
    subject: str
    status: CheckStatus
    text: str
    code: str = ""
    cause: str = ""
    remedy: str = ""
    fix: Fix | None = None

    @property
    def blocks(self) -> bool:
        return self.status is CheckStatus.PROBLEM


@dataclass(frozen=True)
class HostPlan:
    """What happens on one host, in this order: its prechecks; `before`; the updates
    `install` go onto the disk; `apply` into memory; `after` remains to be done.

    `status` is what live patches could do, `effective` what they will, after switch,
    licence, policy and mandatory reboots; all else follows from that one, and
    `suppressed` says what made the difference. `uncovered` names the components that
    no live patch brings up to date, and "" for an update that asks for a reboot and
    has no live patch at all. `guidance` has what the updates ask for, level by level,
    reduced; `pending` is what earlier ones have left, `pending_after` what the host
    is to remember once the updates are on, both as they are stored. `covered` are the
    updates that are in effect in memory afterwards.

    The plan holds for the updates and the state that the digests stand for.
    """

    DERIVED: ClassVar = ("no_action_required", "needs_reboot")

    host: str
    pool: str
    role: Role
    verdict: Verdict
    updates_digest: str
    state_digest: str
    status: LivepatchStatus = LivepatchStatus.NONE
    effective: LivepatchStatus = LivepatchStatus.NONE
    suppressed: str = ""
    components: tuple[ComponentPlan, ...] = ()
    uncovered: tuple[str, ...] = ()
    covered: tuple[str, ...] = ()
    install: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    apply: tuple[LivePatch, ...] = ()
    guidance: Mapping[Level, tuple[Task, ...]] = field(default_factory=dict)
    before: tuple[HostTask, ...] = ()
    after: tuple[HostTask, ...] = ()
    pending: Pending = NOTHING_PENDING
    pending_after: Pending = NOTHING_PENDING
    prechecks: tuple[Precheck, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def no_action_required(self) -> bool:
        """Exactly where neither the host nor toolstack, device models, guests or
        processes have to be restarted."""
        return not self.after

    @property
    def needs_reboot(self) -> bool:
        return any(one.task is Task.REBOOT_HOST for one in self.after)


@dataclass(frozen=True)
class PoolPlan:
    """A pool's hosts one after another, the coordinator first. `prechecks` are those
    about the pool as a whole. `automatic` says whether the tasks may be carried out
    without the operator; `restart_guests` for which levels all guests of the pool are
    marked once the coordinator is updated."""

    DERIVED: ClassVar = ("no_action_required", "fixes")

    pool: str
    verdict: Verdict
    hosts: tuple[HostPlan, ...]
    prechecks: tuple[Precheck, ...] = ()
    automatic: bool = True
    live_patching: bool = True
    licensed: bool = True
    restart_guests: tuple[Level, ...] = ()

    @property
    def no_action_required(self) -> bool:
        return all(host.no_action_required for host in self.hosts)

    @property
    def fixes(self) -> tuple[Fix, ...]:
        """What can be done about the problems, each once, in their order."""
        checks = (*self.prechecks, *(c for host in self.hosts for c in host.prechecks))
        found: list[Fix] = []
        for check in checks:
            if check.blocks and check.fix is not None and check.fix not in found:
                found.append(check.fix)
        return tuple(found)


@dataclass(frozen=True)
class FleetPlan:
    """Pools side by side: a failure in one stops that one only."""

    DERIVED: ClassVar = ("no_action_required",)

    pools: tuple[PoolPlan, ...]

    @property
    def no_action_required(self) -> bool:
        return all(pool.no_action_required for pool in self.pools)
