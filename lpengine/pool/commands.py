"""What is done to hosts and guests besides updating them, as shell lines with
placeholders. Each pool may have its own; these are the defaults.

Placeholders are replaced by quoted words: {pool}, {host} and {guest} are names,
{pool_id}, {host_id} and {guest_id} what the toolstack calls them (the name where it
does not), {address} and {root} are the host's, {target} is what is to be acted on,
and {heartbeat_storage} and {failures_to_tolerate} are high availability's.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from lpengine.package.model import Task
from lpengine.planner.updates.plan import Deed


class Where(StrEnum):
    """Which machine runs a line: the host it is about, the pool's coordinator, or the
    machine that lpengine itself runs on."""

    HOST = "host"
    COORDINATOR = "coordinator"
    HERE = "here"


@dataclass(frozen=True)
class Command:
    """`line` goes to a POSIX shell. "" is nothing to be done. `seconds` it may take."""

    line: str
    on: Where = Where.HOST
    seconds: float = 3600


# What has no deed or task of its own name.
DISABLE, ENABLE, BRING_BACK = "disable_host", "enable_host", "bring_back_guest"
ACTIONS = (
    DISABLE,
    ENABLE,
    BRING_BACK,
    Task.EVACUATE_HOST.value,
    Task.REBOOT_HOST.value,
    Task.RESTART_TOOLSTACK.value,
    Task.RESTART_DEVICE_MODEL.value,
    Task.RESTART_VM.value,
    Task.RESTART_PROCESS.value,
    *(deed.value for deed in Deed),
)
PLACEHOLDERS = (
    "pool",
    "pool_id",
    "host",
    "host_id",
    "guest",
    "guest_id",
    "address",
    "root",
    "target",
    "heartbeat_storage",
    "failures_to_tolerate",
)
# "${home}" is the shell's own.
_PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z_]+)\}")

Commands = Mapping[str, Command]


def _on_coordinator(lines: Mapping[str, str]) -> dict[str, Command]:
    return {name: Command(line, Where.COORDINATOR) for name, line in lines.items()}


# xe passes everything on to the coordinator, but only a running XAPI can.
XAPI: Commands = {
    **_on_coordinator(
        {
            DISABLE: "xe host-disable uuid={host_id}",
            ENABLE: "xe host-enable uuid={host_id}",
            Task.EVACUATE_HOST: "xe host-evacuate uuid={host_id}",
            Task.REBOOT_HOST: "xe host-reboot uuid={host_id}",
            BRING_BACK: "xe vm-migrate uuid={guest_id} host-uuid={host_id} live=true",
            Task.RESTART_VM: "xe vm-reboot uuid={guest_id}",
            Task.RESTART_DEVICE_MODEL: "xe vm-restart-device-models uuid={guest_id}",
            Deed.POWER_ON: "xe host-power-on uuid={host_id}",
            Deed.DISABLE_HA: "xe pool-ha-disable",
            Deed.ENABLE_HA: "xe pool-ha-enable heartbeat-sr-uuids={heartbeat_storage}\n"
            "xe pool-param-set uuid={pool_id} "
            "ha-host-failures-to-tolerate={failures_to_tolerate}",
            Deed.DISABLE_WLB: "xe pool-param-set uuid={pool_id} wlb-enabled=false",
            Deed.ENABLE_WLB: "xe pool-param-set uuid={pool_id} wlb-enabled=true",
            Deed.REPAIR_STORAGE: "xe pbd-plug uuid=$("
            "xe pbd-list host-uuid={host_id} sr-uuid={target} --minimal)",
            Deed.SYNCHRONISE: "xe pool-sync-updates",
            Deed.CLEAR_AUTO_POWER_ON: "xe vm-param-set uuid={guest_id} "
            "other-config:auto_poweron=false",
            Deed.SET_AUTO_POWER_ON: "xe vm-param-set uuid={guest_id} "
            "other-config:auto_poweron=true",
            Deed.EJECT_MEDIA: "xe vm-cd-eject uuid={guest_id}",
            Deed.SUSPEND_GUEST: "xe vm-suspend uuid={guest_id}",
            Deed.RESUME_GUEST: "xe vm-resume uuid={guest_id} on={host_id}",
            Deed.SHUT_DOWN_GUEST: "xe vm-shutdown uuid={guest_id} force=true",
            Deed.START_GUEST: "xe vm-start uuid={guest_id} on={host_id}",
        }
    ),
    Task.RESTART_TOOLSTACK: Command("xe-toolstack-restart"),
    Task.RESTART_PROCESS: Command("systemctl try-restart {target}.service"),
}

PLAIN: Commands = {
    DISABLE: Command(""),
    ENABLE: Command(""),
    Task.REBOOT_HOST: Command("systemctl reboot"),
    # What stands in for one; xenstored cannot be restarted.
    Task.RESTART_TOOLSTACK: Command(
        "systemctl try-restart 'xenconsoled*.service' 'libvirtd*.service'"
    ),
    Task.RESTART_PROCESS: Command("systemctl try-restart {target}.service"),
    Task.RESTART_VM: Command("xl reboot -F {guest}"),
    Deed.SUSPEND_GUEST: Command("xl save {guest} /var/lib/xen/save/{guest}"),
    Deed.RESUME_GUEST: Command("xl restore /var/lib/xen/save/{guest}"),
    Deed.SHUT_DOWN_GUEST: Command("xl shutdown -w -F {guest}"),
    Deed.START_GUEST: Command("xl create /etc/xen/{guest}.cfg"),
}


def filled(line: str, values: Mapping[str, str]) -> str:
    """The line with each placeholder as one shell word."""
    return _PLACEHOLDER.sub(lambda found: shlex.quote(values[found[1]]), line)


def unknown_placeholder(line: str) -> str:
    """The first that there is not; "" where all are known."""
    names = _PLACEHOLDER.findall(line)
    return next((name for name in names if name not in PLACEHOLDERS), "")
