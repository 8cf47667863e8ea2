"""An update as a value, wherever it was read from.

An update fixes memory (live patches) and disk (files or distribution packages), and
says what must happen afterwards (guidance). Build ids are lowercase hex, times are
RFC 3339 in UTC, sizes are in bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

XEN, KERNEL, PROCESS = "xen", "kernel", "process:"

PackageFormat = Literal["rpm", "deb"]


class Level(StrEnum):
    """How binding a piece of guidance is (XAPI: Guidance.kind). LIVEPATCH is no
    level of its own: it takes the place of RECOMMENDED where the update's live
    patches apply."""

    MANDATORY = "mandatory"
    RECOMMENDED = "recommended"
    FULL = "full"
    LIVEPATCH = "livepatch"

    @classmethod
    def _missing_(cls, value: object) -> "Level | None":
        """XAPI's own types begin them with a capital."""
        return next((one for one in cls if one.capitalize() == value), None)


class Task(StrEnum):
    """What can be left to do after an update, in XAPI's words (update_guidances)
    and one of ours for processes. XAPI_WORDS are other names for the same."""

    REBOOT_HOST = "reboot_host"
    EVACUATE_HOST = "evacuate_host"
    RESTART_TOOLSTACK = "restart_toolstack"
    RESTART_DEVICE_MODEL = "restart_device_model"
    RESTART_VM = "restart_vm"
    RESTART_PROCESS = "restart_process"
    REBOOT_ON_LIVEPATCH_FAILURE = "reboot_host_on_livepatch_failure"
    REBOOT_ON_XEN_LIVEPATCH_FAILURE = "reboot_host_on_xen_livepatch_failure"
    REBOOT_ON_KERNEL_LIVEPATCH_FAILURE = "reboot_host_on_kernel_livepatch_failure"

    @classmethod
    def _missing_(cls, value: object) -> "Task | None":
        return XAPI_WORDS.get(value) if isinstance(value, str) else None


# As XAPI's metadata and its own types spell them (updateinfo.ml).
XAPI_WORDS: Mapping[str, Task] = {
    "RebootHost": Task.REBOOT_HOST,
    "EvacuateHost": Task.EVACUATE_HOST,
    "RestartToolstack": Task.RESTART_TOOLSTACK,
    "RestartDeviceModel": Task.RESTART_DEVICE_MODEL,
    "RestartVM": Task.RESTART_VM,
    "RebootHostOnLivePatchFailure": Task.REBOOT_ON_LIVEPATCH_FAILURE,
    "RebootHostOnXenLivePatchFailure": Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE,
    "RebootHostOnKernelLivePatchFailure": Task.REBOOT_ON_KERNEL_LIVEPATCH_FAILURE,
}

# What a failure leaves behind: no update can ask for these.
FAILURES = frozenset(
    {
        Task.REBOOT_ON_LIVEPATCH_FAILURE,
        Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE,
        Task.REBOOT_ON_KERNEL_LIVEPATCH_FAILURE,
    }
)


class Inequality(StrEnum):
    LT = "lt"
    LTE = "lte"
    EQ = "eq"
    GT = "gt"
    GTE = "gte"


@dataclass(frozen=True)
class Version:
    """A package version as RPM and Debian take it apart. No `epoch` is one of 0, below
    any other; `release` is Debian's revision."""

    version: str
    release: str = ""
    epoch: int | None = None

    def __str__(self) -> str:
        epoch = "" if self.epoch is None else f"{self.epoch}:"
        return f"{epoch}{self.version}" + (f"-{self.release}" if self.release else "")


@dataclass(frozen=True)
class Content:
    """A file within the archive; `member` is its name there."""

    member: str
    sha256: str
    size: int


@dataclass(frozen=True)
class LivePatch:
    """A live patch of one component ("xen", "kernel", "process:NAME") for hosts that
    run the build `base_build_id`; it brings them from version `base` to `to`, as if
    they ran that. Cumulative: it holds all earlier ones of that base. `content` is
    None where the update only announces it (the host has it in a file of its own);
    `name` is what it is called once it is loaded, "" where that is not known."""

    component: str
    base_build_id: str
    base: Version
    to: Version
    content: Content | None = None
    name: str = ""


@dataclass(frozen=True)
class DiskFile:
    """A file to be put on the disk, at an absolute path. `mode` has permission bits
    only; owner and group are names."""

    path: str
    mode: int
    owner: str
    group: str
    content: Content


@dataclass(frozen=True)
class DiskPackage:
    """A distribution package to be installed; `format` is "deb" or "rpm"."""

    format: PackageFormat
    name: str
    architecture: str
    version: Version
    content: Content


@dataclass(frozen=True)
class Applicability:
    """The guidance counts where the package `name`, as it is installed before the
    update, compares like that. One that is not installed never matches."""

    name: str
    architecture: str
    inequality: Inequality
    version: Version


@dataclass(frozen=True)
class Defect:
    """A part of the metadata that is malformed or unknown: what is about it is taken
    as unsafe. `component` says which live patches cannot be relied on, "" for none;
    `where` names the part ("livepatches[2].base_build_id")."""

    where: str
    what: str
    component: str = ""


@dataclass(frozen=True)
class Update:
    """One update.

    `components` are those whose running code it fixes: each needs a live patch that
    applies, or a reboot. `guidance` has the words as they were published; one that
    is not a Task counts as a reboot. Its guidance counts where any of
    `applicabilities` matches, or where there are none. `requires` and `conflicts`
    name other updates. `homogeneous` says that a pool takes it on all its hosts or
    on none.
    """

    id: str
    title: str = ""
    summary: str = ""
    description: str = ""
    type: str = ""
    url: str = ""
    issued: str = ""
    severity: str = ""
    cves: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    livepatches: tuple[LivePatch, ...] = ()
    files: tuple[DiskFile, ...] = ()
    packages: tuple[DiskPackage, ...] = ()
    guidance: Mapping[Level, tuple[str, ...]] = field(default_factory=dict)
    applicabilities: tuple[Applicability, ...] = ()
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    installation_size: int = 0
    homogeneous: bool = False
    defects: tuple[Defect, ...] = ()
