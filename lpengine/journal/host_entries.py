"""What a host's journal answers with: which updates are on it, who has done what, and
what is left to do."""

from dataclasses import dataclass
from enum import StrEnum

from lpengine.journal.entries import RunStatus, StepState
from lpengine.package.model import Level, Task


class Deed(StrEnum):
    """What a step of a host's run does."""

    FILES = "files"
    PACKAGES = "packages"
    LIVE_PATCH = "live-patch"
    REVERT = "revert"
    TASK = "task"
    HOOK = "hook"


@dataclass(frozen=True)
class HostStep:
    """`subject` is an update (files, packages), a component (live patches), a task or
    a hook; `detail` the name of the patch; `build_id` what the component runs."""

    deed: Deed
    subject: str
    detail: str = ""
    build_id: str = ""


@dataclass(frozen=True)
class HostStepEntry:
    """`undoing`, `begun` and `ended` as in StepEntry."""

    index: int
    step: HostStep
    undoing: bool
    state: StepState
    begun: str
    ended: str = ""
    error: str = ""


@dataclass(frozen=True)
class HostEntry:
    """One run. `settled`: what was to be done on the disk is done, so that it only
    goes forward. `plan` is JSON. The digests are those the plan was bound to."""

    id: int
    started: str
    ended: str
    actor: str
    pid: int
    verb: str
    updates: tuple[str, ...]
    boot_id: str
    updates_digest: str
    state_digest: str
    settled: bool
    status: RunStatus
    error: str
    left: tuple[str, ...]
    plan: str
    steps: tuple[HostStepEntry, ...]


@dataclass(frozen=True)
class KeptUpdate:
    """An update that is on the host. `number` counts up; `on_disk` is False where only
    its live patches were asked for. `signer` has signed it; `since` and `boot_id` say
    when it came, by the clock and in which boot."""

    number: int
    id: str
    digest: str
    manifest: bytes
    signer: str
    on_disk: bool
    since: str
    boot_id: str
    run: int


@dataclass(frozen=True)
class KeptModule:
    """A module of an update that is on the host, to be applied again after a boot."""

    sha256: str
    raw: bytes


@dataclass(frozen=True)
class Coming:
    """An update that will be on the host once a run is settled, and its modules."""

    id: str
    digest: str
    manifest: bytes
    signer: str
    on_disk: bool
    modules: tuple[KeptModule, ...] = ()


@dataclass(frozen=True)
class PendingTask:
    """Something left to be done, as it was asked for: raw, not reduced. `boot_id` is of
    the boot in which it was asked."""

    level: Level
    task: Task
    boot_id: str
    since: str
    run: int


@dataclass(frozen=True)
class FailedPatch:
    """A live patch that did not go on, and did not since."""

    component: str
    name: str
    error: str
    boot_id: str
    since: str
    run: int


@dataclass(frozen=True)
class AppliedPatch:
    """A live patch that went on in that boot under that name, and the version that it
    brings its component to, as JSON: two updates may have modules of one name."""

    component: str
    name: str
    to: str
    boot_id: str


@dataclass(frozen=True)
class Trial:
    """The mark that is set before a live patch is applied and taken away when that has
    ended, one way or the other. `to` is the version that it brings, as JSON."""

    component: str
    name: str
    to: str
    boot_id: str
    since: str
    run: int
