"""What was observed of pools, their hosts and their guests, and what the operator
allows: the decision's input.

What could not be read is None, or missing where a missing entry is said to mean so;
the decision then takes the case in which more has to be done. Build ids are lowercase
hex, sizes are in bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lpengine.package.model import Level, PackageFormat, Task, Version

# The licence's features, named as XAPI names their restrictions ("restrict_...").
LIVE_PATCHING, UPDATES, MIGRATION = "live_patching", "updates", "intrapool_migrate"
HOTFIXES, BATCH = "hotfix_apply", "batch_hotfix_apply"


class Role(StrEnum):
    COORDINATOR = "coordinator"
    MEMBER = "member"
    STANDALONE = "standalone"


class PowerState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    HALTED = "halted"


class Media(StrEnum):
    """What is in a guest's drive."""

    NONE = "none"
    TOOLS = "tools"
    LOCAL_ISO = "local_iso"
    SHARED_ISO = "shared_iso"


class Hindrance(StrEnum):
    """Why the server says that a guest cannot leave its host: the codes of XAPI's
    get_vms_which_prevent_evacuation in lower case, the one about storage in three."""

    REQUIRES_ISO = "vm_requires_iso_sr"
    REQUIRES_LOCAL_SR = "vm_requires_local_sr"
    REQUIRES_SHARED_SR = "vm_requires_shared_sr"
    NO_PV_DRIVERS = "vm_missing_pv_drivers"
    OLD_PV_DRIVERS = "vm_old_pv_drivers"
    LACKS_FEATURE = "vm_lacks_feature"
    LACKS_FEATURE_SUSPEND = "vm_lacks_feature_suspend"
    HAS_PCI = "vm_has_pci_attached"
    REQUIRES_GPU = "vm_requires_gpu"
    OPERATION_IN_PROGRESS = "other_operation_in_progress"
    HAS_VGPU = "vm_has_vgpu"
    REQUIRES_NETWORK = "vm_requires_network"
    NOT_ENOUGH_MEMORY = "host_not_enough_free_memory"
    NO_HOSTS = "no_hosts_available"
    UNKNOWN = "unknown"

    @property
    def code(self) -> str:
        """What XAPI calls it."""
        about_storage = self.startswith("vm_requires_") and self.endswith("_sr")
        return "VM_REQUIRES_SR" if about_storage else self.upper()


class LivepatchStatus(StrEnum):
    """XAPI's livepatch_status: whether live patches apply, and to everything."""

    COMPLETE = "ok_livepatch_complete"
    INCOMPLETE = "ok_livepatch_incomplete"
    NONE = "ok"


@dataclass(frozen=True)
class Pending:
    """Tasks that earlier updates have left, level by level, as they were stored: not
    reduced by precedence."""

    mandatory: tuple[Task, ...] = ()
    recommended: tuple[Task, ...] = ()
    full: tuple[Task, ...] = ()

    def at(self, level: Level) -> tuple[Task, ...]:
        if level is Level.MANDATORY:
            return self.mandatory
        return self.recommended if level is Level.RECOMMENDED else self.full


NOTHING_PENDING = Pending()


@dataclass(frozen=True)
class RunningComponent:
    """What runs of a component: the build that was booted or started, "" where it
    could not be read, and the version `to` that a live patch has brought it to (None:
    none is on). `booted` is the version of the build itself, where that is known. A
    kernel module that is loaded but disabled does not count. `half_known`: a live
    patch is on, but not what it brought the component to."""

    component: str
    build_id: str
    to: Version | None = None
    booted: Version | None = None
    half_known: bool = False


@dataclass(frozen=True)
class PackageRow:
    """A package that the host's package manager would take to `new`, and the update
    it comes from ("" where that is not known); `old` is None where the package is not
    installed."""

    name: str
    architecture: str
    new: Version
    old: Version | None = None
    update: str = ""


@dataclass(frozen=True)
class Crash:
    """The host did not survive applying this live patch: the mark that was set before
    was still there after the boot. `to` None: any of that component."""

    component: str
    to: Version | None = None


@dataclass(frozen=True)
class ServerPrecheck:
    """What the host itself answered for an update: one of the three statuses, or an
    error of XAPI's with its parameters (the update's name first)."""

    status: LivepatchStatus | None = None
    error: str = ""
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Storage:
    """A repository of disks that guests of the pool use (`used`: by one that runs or
    is paused), as this host sees it. A local one belongs to this host."""

    name: str
    shared: bool
    connected: bool
    used: bool = True


@dataclass(frozen=True)
class Guest:
    """A virtual machine on a host. `type` is "hvm", "pv" or "pvh"; `device_model`:
    a process of its own emulates its devices at present; `hindrance` is why the
    server says that it cannot leave, and `detail` what it named."""

    name: str
    power: PowerState = PowerState.RUNNING
    type: str = "hvm"
    control_domain: bool = False
    device_model: bool = True
    auto_power_on: bool = False
    media: Media = Media.NONE
    can_suspend: bool = True
    hindrance: Hindrance | None = None
    detail: str = ""
    pending: Pending = NOTHING_PENDING

    @property
    def resident(self) -> bool:
        """Whether it occupies its host: one that is halted or suspended does not."""
        return self.power in (PowerState.RUNNING, PowerState.PAUSED)

    @property
    def movable(self) -> bool:
        """Whether it has to leave for the host to be empty."""
        return self.resident and not self.control_domain


@dataclass(frozen=True)
class HostState:
    """One host, as it was observed.

    `live` is False where it did not answer; what is known of it may then be old.
    `running` has a record for each component that runs here, `not_running` names those
    that are known not to; one in neither is not known. `installed` are versions of
    packages, keyed "name.arch" and compared as `package_format` says ("rpm", "deb"),
    None where they could not be read; a package whose version is None is installed in
    a version that is not known. `rows` are the updates of packages that the host's
    package manager offers, None where it was not asked: they are then worked out.

    `features` tells for each feature whether the licence has it. Live patching, and
    moving guests, are not licensed where they are missing. Of the disk, `free_disk`
    bytes are free (None: not known), and `reclaimable_disk` more could be. `guests` are
    those on the host, None where not known. `failed` names the components whose live
    patch failed last time, `crashed` the live patches that the host did not survive.
    `prechecks` are the host's own answers by update. `updates_requiring_reboot` and
    `toolstack_restart_pending` tell of earlier updates that are not in effect. `held`
    says why nobody may update this host, `pinned` which components are not to be live
    patched, `closed_until` when the maintenance window opens if it is closed now.
    """

    name: str
    role: Role = Role.STANDALONE
    live: bool = True
    enabled: bool = True
    boot_id: str = ""
    running: tuple[RunningComponent, ...] = ()
    not_running: frozenset[str] = frozenset()
    package_format: PackageFormat = "rpm"
    installed: Mapping[str, Version | None] | None = None
    installed_updates: frozenset[str] = frozenset()
    rows: tuple[PackageRow, ...] | None = None
    pending: Pending = NOTHING_PENDING
    updates_requiring_reboot: frozenset[str] = frozenset()
    toolstack_restart_pending: bool = False
    failed: frozenset[str] = frozenset()
    crashed: tuple[Crash, ...] = ()
    edition: str = ""
    features: Mapping[str, bool] = field(default_factory=dict)
    free_disk: int | None = None
    reclaimable_disk: int = 0
    guests: tuple[Guest, ...] | None = ()
    storage: tuple[Storage, ...] = ()
    prechecks: Mapping[str, ServerPrecheck] = field(default_factory=dict)
    operations: tuple[str, ...] = ()
    can_power_on: bool = False
    held: str = ""
    pinned: frozenset[str] = frozenset()
    closed_until: str = ""


@dataclass(frozen=True)
class Synchronisation:
    """When a pool last fetched the list of updates: `days` ago, None for never."""

    days: int | None
    running: bool = False


@dataclass(frozen=True)
class PoolState:
    """A pool; a standalone host is a pool of one. `live_patching` is the pool's own
    switch. `mixed`: its hosts are not all of one product version. `synchronised` is
    None for pools without a repository. `forbids_restarts`: nobody but the operator
    restarts its hosts."""

    name: str
    hosts: tuple[HostState, ...]
    live_patching: bool = True
    ha_enabled: bool = False
    ha_storage: tuple[str, ...] = ()
    ha_failures_to_tolerate: int = 0
    wlb_enabled: bool = False
    mixed: bool = False
    synchronised: Synchronisation | None = None
    forbids_restarts: bool = False


class Mode(StrEnum):
    """Who carries the tasks out that remain."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


class LivePatching(StrEnum):
    """Whether to live patch: never, where it is possible, or not to update at all
    where a reboot would remain (vSphere's three modes)."""

    DISABLED = "disabled"
    AUTOMATIC = "automatic"
    ENFORCE = "enforce"


@dataclass(frozen=True)
class UpdatePolicy:
    """What the operator wants. `level` is the lowest whose tasks are carried out.
    `selected` names the hosts, None for all; `retry_crashed` tries again what a host
    did not survive. `any_time` does not wait for maintenance windows."""

    mode: Mode = Mode.AUTOMATIC
    live_patching: LivePatching = LivePatching.AUTOMATIC
    level: Level = Level.RECOMMENDED
    selected: frozenset[str] | None = None
    retry_crashed: bool = False
    any_time: bool = False

    def carries_out(self, level: Level) -> bool:
        """Whether tasks of that level are carried out."""
        order = (Level.MANDATORY, Level.RECOMMENDED, Level.FULL)
        return order.index(level) <= order.index(self.level)


DEFAULT_POLICY = UpdatePolicy()
