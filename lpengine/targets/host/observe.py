"""A host's state, from one look at it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from lpengine.errors import InconclusiveError
from lpengine.hosts import Host
from lpengine.package.model import XEN
from lpengine.planner.updates.state import HostState
from lpengine.targets.host.answers import Answers, ask
from lpengine.targets.host.builds import Build, Builds, as_build_id, builds, running
from lpengine.targets.host.guests import guests
from lpengine.targets.host.packages import packages
from lpengine.targets.host.remembered import NOTHING_REMEMBERED, Remembered

_STATUS_TIMEOUT = timedelta(minutes=2)
_STATUS_SCHEMA = "lpengine/status/1"


@dataclass(frozen=True)
class Place:
    """How a host is laid out. `root` is "" for a machine's own; `components` names
    the target of each component that is not what the machine itself runs."""

    root: str = ""
    components: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A look at a host: `state` is what decisions are made of, `builds` how each
    component was found, `uuid` what a toolstack calls the host ("" for none)."""

    state: HostState
    builds: tuple[Build, ...] = ()
    uuid: str = ""
    system: str = ""


OWN = Place()


def look(
    host: Host,
    name: str,
    place: Place = OWN,
    remembered: Remembered = NOTHING_REMEMBERED,
) -> Seen:
    """`HostError` where it does not answer, `InconclusiveError` where it breaks off
    or a component that it is said to have cannot be looked at."""
    answers = ask(host, "observe.sh", [place.root])
    found = builds(answers, lambda component: asked(host, component).applied)
    found = with_targets(host, found, place.components)
    return Seen(
        state_of(answers, found, name, remembered),
        found.running,
        inventory(answers).get("INSTALLATION_UUID", ""),
        system_of(answers),
    )


def read_boot_id(host: Host, place: Place = OWN) -> str:
    """As in `look`, and nothing else."""
    if not place.root:
        return host.boot_id()
    return host.read(f"{place.root}/proc/sys/kernel/random/boot_id").decode().strip()


def with_targets(host: Host, found: Builds, targets: Mapping[str, str]) -> Builds:
    """With what the named targets run in the place of what the machine does."""
    if not targets:
        return found
    named = tuple(asked(host, each, uri) for each, uri in sorted(targets.items()))
    others = tuple(one for one in found.running if one.component not in targets)
    return Builds((*named, *others), found.not_running - set(targets))


def asked(host: Host, component: str, target: str = "") -> Build:
    """What lpengine itself says there of a component's target. Without it, or where
    it cannot tell, nothing is known."""
    argv = ["lpengine", "status", "--target", target or component, "--json"]
    done = host.run(argv, timeout=_STATUS_TIMEOUT)
    unknown = Build(component, "", None)
    try:
        status: dict[str, Any] = json.loads(done.stdout)
        if done.status or status["schema"] != _STATUS_SCHEMA:
            return unknown
        return Build(
            component,
            as_build_id(str(status["booted_build_id"])),
            tuple(map(str, status["effective"])),
            str(status["booted_version"]),
        )
    except (ValueError, TypeError, KeyError):
        return unknown


def state_of(
    answers: Answers, found: Builds, name: str, remembered: Remembered
) -> HostState:
    listed = packages(answers)
    xen = any(one.component == XEN for one in found.running)
    updates = lines(answers.text("applied_updates"))
    return HostState(
        name,
        boot_id=boot_id(answers),
        running=tuple(running(one, remembered.versions) for one in found.running),
        not_running=found.not_running,
        package_format=listed.format,
        installed=listed.installed,
        installed_updates=remembered.installed_updates | updates,
        pending=remembered.pending,
        updates_requiring_reboot=remembered.updates_requiring_reboot
        | lines(answers.text("reboot_required_updates")),
        failed=remembered.failed,
        crashed=remembered.crashed,
        free_disk=free_disk(answers),
        guests=guests(answers, is_xen=xen),
        operations=remembered.operations,
        held=remembered.held,
        pinned=remembered.pinned,
        closed_until=remembered.closed_until,
    )


def boot_id(answers: Answers) -> str:
    """Without it nobody could tell later whether the host has booted meanwhile."""
    found = answers.text("boot_id")
    if not found:
        raise InconclusiveError(
            "the host shows no boot id", hint="it needs /proc of a Linux kernel"
        )
    return found


def free_disk(answers: Answers) -> int | None:
    match (answers.text("disk") or "").split():
        case [blocks, size] if blocks.isdigit() and size.isdigit():
            return int(blocks) * int(size)
    return None


def lines(text: str | None) -> frozenset[str]:
    return frozenset(line.strip() for line in (text or "").splitlines() if line.strip())


def inventory(answers: Answers) -> dict[str, str]:
    """XenServer's: NAME='value' lines, written for a shell."""
    text = answers.text("inventory") or ""
    rows = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip().strip("'\"") for name, _, value in rows}


def system_of(answers: Answers) -> str:
    """What the host calls itself (os-release(5))."""
    for line in (answers.text("os") or "").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip("'\"")
    return ""
