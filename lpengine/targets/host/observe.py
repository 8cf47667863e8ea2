"""A host's state, from one look at it."""

from dataclasses import dataclass

from lpengine.errors import InconclusiveError
from lpengine.hosts import Host
from lpengine.package.model import KERNEL, XEN
from lpengine.planner.updates.plan import HostTask
from lpengine.planner.updates.state import HostState
from lpengine.targets.host.answers import Answers, ask
from lpengine.targets.host.builds import Build, Builds, builds, running
from lpengine.targets.host.engine import OWN, Place, Told, ask_status
from lpengine.targets.host.guests import guests
from lpengine.targets.host.packages import packages
from lpengine.targets.host.remembered import NOTHING_REMEMBERED, Remembered


@dataclass(frozen=True)
class Seen:
    """A look at a host: `state` is what decisions are made of, `builds` how each
    component was found, `uuid` what a toolstack calls the host ("" for none). `left` is
    what the host's own lpengine says is left to be done, None where it has none."""

    state: HostState
    builds: tuple[Build, ...] = ()
    uuid: str = ""
    system: str = ""
    left: tuple[HostTask, ...] | None = None


def look(host: Host, name: str, place: Place = OWN) -> Seen:
    """`HostError` where it does not answer, `InconclusiveError` where it breaks off,
    or where an lpengine that is there does not say what it remembers."""
    answers = ask(host, "observe.sh", [place.root])
    told = ask_status(host, place)
    found = builds(answers, lambda _: None) if told is None else builds_of(told, place)
    remembered = told.remembered if told else NOTHING_REMEMBERED
    return Seen(
        state_of(answers, found, name, remembered),
        found.running,
        inventory(answers).get("INSTALLATION_UUID", ""),
        system_of(answers),
        told.left if told else None,
    )


def read_boot_id(host: Host, place: Place = OWN) -> str:
    """As in `look`, and nothing else."""
    if not place.root:
        return host.boot_id()
    return host.read(f"{place.root}/proc/sys/kernel/random/boot_id").decode().strip()


def builds_of(told: Told, place: Place) -> Builds:
    """The host's lpengine has looked by the same rules, and also at components that
    have targets of their own. Of one that it should know of and does not, nothing is
    known; the machine's own ones that it does not name are not there."""
    missing = [
        Build(one, "", None) for one in place.components if one not in told.builds
    ]
    known = (*told.builds.values(), *missing)
    return Builds(known, frozenset({XEN, KERNEL}) - {one.component for one in known})


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
            "the host shows no boot id",
            hint="it needs /proc of a Linux kernel; a directory as a host needs "
            "proc/sys/kernel/random/boot_id with a word that a boot would change",
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
