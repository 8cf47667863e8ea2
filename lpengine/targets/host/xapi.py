"""XAPI, asked through its own command line on a host of the pool."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from lpengine.errors import InconclusiveError
from lpengine.hosts import Host
from lpengine.planner.updates.state import (
    LIVE_PATCHING,
    MIGRATION,
    UPDATES,
    LivepatchStatus,
    ServerPrecheck,
    Storage,
    Synchronisation,
)
from lpengine.targets.host.answers import Answers, ask
from lpengine.targets.host.records import Record, pairs, records, truth, words
from lpengine.targets.host.toolstack import ManagedHost, ManagedPool, Toolstack
from lpengine.targets.host.xapi_guests import Guests
from lpengine.targets.host.xapi_pending import pending

# The key of a pool's other-config with which XenCenter lets nobody restart its hosts.
_FORBIDS = "hci-forbid-update-auto-restart"
_VERSION_KEYS = ("product_version", "build_number")
# Each feature's restriction, and whether it counts where the licence does not name it
# (xapi, features.ml; XenCenter, Host.cs: BoolKey and BoolKeyPreferTrue).
_RESTRICTIONS = {
    LIVE_PATCHING: ("restrict_live_patching", True),
    UPDATES: ("restrict_updates", False),
    MIGRATION: ("restrict_xen_motion", False),
}
# What `xe update-precheck` prints for each status (cli_operations.ml).
_SENTENCES = {
    "Ok.": LivepatchStatus.NONE,
    "Ok: Patch can be applied without reboot.": LivepatchStatus.COMPLETE,
    "Ok: Patch can be applied, but a reboot will be required.": (
        LivepatchStatus.INCOMPLETE
    ),
}
_NEVER = 1970
_UNKNOWN_ERROR = "UPDATE_PRECHECK_FAILED_UNKNOWN_ERROR"


@dataclass(frozen=True)
class Xapi:
    """`host` is any of the pool: members pass the questions on to the coordinator."""

    host: Host
    root: str = ""

    def managed(self, updates: Sequence[str] = ()) -> ManagedPool:
        return managed_pool(ask(self.host, "xapi.sh", [self.root, *updates]))


_conforms: type[Toolstack] = Xapi


def table(answers: Answers, name: str) -> tuple[Record, ...]:
    answer = answers[name]
    if answer.status:
        lines = answer.text.strip().splitlines()
        said = lines[0] if lines else f"xe ended with status {answer.status}"
        raise InconclusiveError(
            f"XAPI does not answer: {said}",
            hint="is it running? systemctl status xapi",
        )
    return tuple(records(answer.text))


def managed_pool(answers: Answers) -> ManagedPool:
    pools = table(answers, "pool")
    if len(pools) != 1:
        raise InconclusiveError(f"XAPI names {len(pools)} pools instead of one")
    pool, hosts = pools[0], table(answers, "hosts")
    guests = Guests(answers)
    other = pairs(pool.get("other-config", ""))
    return ManagedPool(
        uuid=pool.get("uuid", ""),
        name=pool.get("name-label", ""),
        coordinator=pool.get("master", ""),
        hosts=tuple(managed_host(answers, host, guests) for host in hosts),
        live_patching=truth(pool.get("live-patching-disabled")) is not True,
        ha_enabled=truth(pool.get("ha-enabled")) is not False,
        ha_storage=heartbeat_storage(answers, pool),
        ha_failures_to_tolerate=number(pool.get("ha-host-failures-to-tolerate", "")),
        wlb_enabled=truth(pool.get("wlb-enabled")) is True,
        mixed=len({version(host) for host in hosts}) > 1,
        synchronised=synchronised(pool),
        forbids_restarts=_FORBIDS in other,
        guests=guests.uuids,
    )


def managed_host(answers: Answers, host: Record, guests: Guests) -> ManagedHost:
    uuid = host.get("uuid", "")
    requiring = host.get("updates-requiring-reboot")
    return ManagedHost(
        uuid=uuid,
        name=host.get("name-label", ""),
        live=truth(host.get("host-metrics-live")) is not False,
        enabled=truth(host.get("enabled")) is not False,
        edition=host.get("edition", ""),
        features=features(answers, uuid),
        pending=pending(host),
        installed_updates=frozenset(words(host.get("updates", ""))),
        updates_requiring_reboot=(
            None if requiring is None else frozenset(words(requiring))
        ),
        guests=guests.on(uuid),
        storage=storage(answers, uuid, guests.used_storage),
        operations=words(host.get("current-operations", "")),
        prechecks=prechecks(answers, uuid),
        can_power_on=bool(host.get("power-on-mode", "")),
    )


def features(answers: Answers, host: str) -> Mapping[str, bool]:
    """What the licence allows; nothing where it cannot be had. A restriction that is
    there and not spelt "false" restricts."""
    licence = answers[f"licence {host}"]
    if licence.status:
        return {}
    rows = records(licence.text)
    said = {name: value for row in rows for name, value in row.items()}
    return {
        feature: truth(said[key]) is False if key in said else not restricted
        for feature, (key, restricted) in _RESTRICTIONS.items()
    }


def heartbeat_storage(answers: Answers, pool: Record) -> tuple[str, ...]:
    """The repositories of the disks that the pool's heartbeat is on."""
    homes = {row["uuid"]: row.get("sr-uuid", "") for row in table(answers, "disks")}
    disks = words(pool.get("ha-statefiles", ""))
    return tuple(dict.fromkeys(homes.get(disk, disk) for disk in disks))


def storage(answers: Answers, host: str, used: Iterable[str]) -> tuple[Storage, ...]:
    """Shared repositories, and local ones that this host is connected to."""
    connected = {
        row.get("sr-uuid", ""): truth(row.get("currently-attached")) is True
        for row in table(answers, "connections")
        if row.get("host-uuid") == host
    }
    in_use = set(used)
    return tuple(
        Storage(
            row.get("uuid", ""),
            truth(row.get("shared")) is True,
            connected.get(row.get("uuid", ""), False),
            row.get("uuid", "") in in_use,
        )
        for row in table(answers, "storage")
        if truth(row.get("shared")) is True or row.get("uuid", "") in connected
    )


def prechecks(answers: Answers, host: str) -> Mapping[str, ServerPrecheck]:
    """What the server answered for each update that it knows. `xe` tells errors in
    prose only."""
    found = {}
    for name, answer in answers.found.items():
        match name.split():
            case ["precheck", of, update] if of == host:
                said = answer.text.strip()
                status = None if answer.status else _SENTENCES.get(said)
                found[update] = (
                    ServerPrecheck(status)
                    if status
                    else ServerPrecheck(None, _UNKNOWN_ERROR, (update, said))
                )
    return found


def version(host: Record) -> tuple[str, ...]:
    software = pairs(host.get("software-version", ""))
    return tuple(software.get(key, "") for key in _VERSION_KEYS)


def number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def synchronised(pool: Record) -> Synchronisation | None:
    """Only pools with repositories fetch lists of updates. Dates come with and without
    dashes."""
    if not pool.get("repositories"):
        return None
    running = "sync_updates" in words(pool.get("current-operations", ""))
    try:
        then = date.fromisoformat(pool.get("last-update-sync", "").partition("T")[0])
    except ValueError:
        return Synchronisation(None, running)
    passed = datetime.now(UTC).date() - then
    never = then.year == _NEVER
    return Synchronisation(None if never else max(passed.days, 0), running)
