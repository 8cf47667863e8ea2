"""The guests of a pool as XAPI knows them, and why some cannot leave their host."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from lpengine.planner.updates.prechecks.guests import hindrance_of
from lpengine.planner.updates.state import Guest, Hindrance, Media, PowerState
from lpengine.targets.host.answers import Answers
from lpengine.targets.host.records import Record, pairs, records, truth, words
from lpengine.targets.host.xapi_pending import pending

_ON = (PowerState.RUNNING, PowerState.PAUSED)
_DEVICE_MODEL_TYPES = ("hvm",)


class Guests:
    """Everything about guests in one set of answers, looked up by host and guest."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._known = not answers["guests"].status
        self._guests = tuple(records(answers.text("guests") or ""))
        self._names = unique_names(self._guests)
        self._storage = {
            row.get("uuid", ""): row for row in records(answers.text("storage") or "")
        }
        self._disks = {
            row.get("uuid", ""): row for row in records(answers.text("disks") or "")
        }
        self._drives: dict[str, list[Record]] = defaultdict(list)
        for row in records(answers.text("drives") or ""):
            if truth(row.get("empty")) is not True:
                self._drives[row.get("vm-uuid", "")].append(row)

    def on(self, host: str) -> tuple[Guest, ...] | None:
        """None where the list of guests could not be had, or why they stay."""
        hindered = self._answers[f"hindered {host}"]
        if not self._known or hindered.status:
            return None
        reasons = {
            row.get("uuid", ""): row.get("reason", "") for row in records(hindered.text)
        }
        return tuple(
            self._guest(row, reasons.get(row.get("uuid", "")))
            for row in self._guests
            if row.get("resident-on") == host
        )

    @property
    def uuids(self) -> dict[str, str]:
        return {name: uuid for uuid, name in self._names.items()}

    @property
    def used_storage(self) -> frozenset[str]:
        """Repositories with a disk of a guest that runs or is paused."""
        return frozenset(
            self._repository(drive).get("uuid", "")
            for row in self._guests
            if power_of(row) in _ON
            for drive in self._drives[row.get("uuid", "")]
            if drive.get("type") != "CD"
        )

    def _guest(self, row: Record, reason: str | None) -> Guest:
        uuid = row.get("uuid", "")
        code, _, detail = (reason or "").partition(",")
        return Guest(
            name=self._names[uuid],
            power=power_of(row),
            type=type_of(row),
            control_domain=truth(row.get("is-control-domain")) is True,
            device_model=type_of(row) in _DEVICE_MODEL_TYPES,
            auto_power_on=pairs(row.get("other-config", "")).get("auto_poweron")
            == "true",
            media=self._media(uuid),
            can_suspend="suspend" in words(row.get("allowed-operations", "")),
            hindrance=None if reason is None else self._hindrance(uuid, code),
            detail=detail,
            pending=pending(row),
        )

    def _media(self, guest: str) -> Media:
        for disk, repository in self._cds(guest):
            if truth(disk.get("is-tools-iso")) is True:
                return Media.TOOLS
            shared = truth(repository.get("shared")) is True
            return Media.SHARED_ISO if shared else Media.LOCAL_ISO
        return Media.NONE

    def _cds(self, guest: str) -> Iterator[tuple[Record, Record]]:
        for drive in self._drives[guest]:
            if drive.get("type") == "CD":
                disk = self._disks.get(drive.get("vdi-uuid", ""), {})
                yield disk, self._repository(drive)

    def _repository(self, drive: Record) -> Record:
        disk = self._disks.get(drive.get("vdi-uuid", ""), {})
        return self._storage.get(disk.get("sr-uuid", ""), {})

    def _hindrance(self, guest: str, code: str) -> Hindrance:
        """XAPI has one code for storage that other hosts do not see, with a reference
        that its command line does not resolve: the guest's own drives tell which."""
        repositories = [self._repository(drive) for drive in self._drives[guest]]
        lonely = [r for r in repositories if truth(r.get("shared")) is not True]
        return hindrance_of(
            code,
            storage_is_iso=bool(lonely)
            and all(r.get("content-type") == "iso" for r in lonely),
            storage_is_shared=not lonely,
        )


def unique_names(guests: Sequence[Record]) -> dict[str, str]:
    """By uuid: the label, which several guests may share, and then more of it."""
    labels = Counter(row.get("name-label", "") for row in guests)
    return {
        (uuid := row.get("uuid", "")): (
            label
            if (label := row.get("name-label", "")) and labels[label] == 1
            else f"{label} ({uuid})".strip()
        )
        for row in guests
    }


def power_of(row: Record) -> PowerState:
    """One that cannot be told counts as running."""
    try:
        return PowerState(row.get("power-state", ""))
    except ValueError:
        return PowerState.RUNNING


def type_of(row: Record) -> str:
    """XAPI before 7.5 has no domain type, but a boot policy for HVM alone."""
    type = row.get("domain-type", "").replace("pv-in-pvh", "pvh")
    if type in ("hvm", "pv", "pvh"):
        return type
    return "pv" if row.get("HVM-boot-policy") == "" else "hvm"
