"""What happens during a run over pools, as it happens and at its end."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from lpengine.errors import LpengineError
from lpengine.planner.updates.plan import Fix, HostTask


class Phase(StrEnum):
    """What is done to a host, in this order; to a pool as a whole FIX and UNDO."""

    FIX = "fix"
    CHECK = "check"
    EVACUATE = "evacuate"
    INSTALL = "install"
    TASK = "task"
    VERIFY = "verify"
    ENABLE = "enable"
    UNDO = "undo"


class Status(StrEnum):
    """How it ended for a host or a pool. SKIPPED: not reached, for the pool stopped;
    CANCELLED: somebody stopped it."""

    DONE = "done"
    NOTHING = "nothing"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class HostOutcome:
    """`left` is what remains to be done there, in order. `failed` names the components
    whose live patch did not go on: the update is on the disk, a reboot brings it in.
    `closed`: the host takes no guests until somebody enables it."""

    host: str
    status: Status
    left: tuple[HostTask, ...] = ()
    failed: tuple[str, ...] = ()
    closed: bool = False
    error: LpengineError | None = None


@dataclass(frozen=True)
class PoolOutcome:
    """`outstanding` are the fixes that were carried out and not taken back."""

    pool: str
    status: Status
    hosts: tuple[HostOutcome, ...] = ()
    outstanding: tuple[Fix, ...] = ()
    error: LpengineError | None = None


@dataclass(frozen=True)
class FleetOutcome:
    """`run` names the record; it is `open` while a pool has not been finished, and
    then the same command goes on with it."""

    run: str
    pools: tuple[PoolOutcome, ...]
    open: bool = False


@dataclass(frozen=True)
class PhaseBegun:
    pool: str
    host: str
    phase: Phase
    detail: str = ""


@dataclass(frozen=True)
class PhaseEnded:
    """`error` is "" where it succeeded."""

    pool: str
    host: str
    phase: Phase
    seconds: float
    detail: str = ""
    error: str = ""


@dataclass(frozen=True)
class HostEnded:
    pool: str
    outcome: HostOutcome


@dataclass(frozen=True)
class PoolEnded:
    outcome: PoolOutcome


Event = PhaseBegun | PhaseEnded | HostEnded | PoolEnded
Notify = Callable[[Event], None]
