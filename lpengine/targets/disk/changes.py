"""Which files change how: for an update that comes, one that goes, and one whose
files somebody has damaged."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lpengine.package.model import DiskFile
from lpengine.targets.disk.owners import Owners
from lpengine.targets.disk.places import Place, find_place
from lpengine.targets.disk.record import (
    Change,
    Installed,
    Purpose,
    Records,
    Stage,
    Transaction,
)
from lpengine.targets.disk.refusals import DiskRefusal
from lpengine.targets.disk.states import (
    ABSENT,
    FileState,
    Kind,
    NotAFileError,
    kept_attributes,
    look,
)


def new_id() -> str:
    return secrets.token_hex(6)


def installing(
    records: Records, update: str, digest: str, files: Sequence[DiskFile]
) -> Transaction:
    """`DiskRefusal` where a file cannot go where the update says."""
    id, owners = new_id(), Owners(records.root)
    places = places_of(records, files)
    changes = tuple(
        named(id, number, new_change(records, file, place, owners), keep_backup=True)
        for number, (file, place) in enumerate(zip(files, places, strict=True))
    )
    directories = {records.place(path) for place in places for path in place.missing}
    return Transaction(
        id,
        Purpose.INSTALL,
        update,
        digest,
        Stage.STAGING,
        changes,
        tuple(sorted(directories)),
    )


def places_of(records: Records, files: Sequence[DiskFile]) -> tuple[Place, ...]:
    taken: dict[Path, str] = {}
    places = []
    for file in files:
        place = find_place(records.root, file.path)
        if place.path.is_relative_to(records.directory):
            raise DiskRefusal(
                "own-state", f"{file.path} is lpengine's own state", file.path
            )
        if place.path in taken:
            raise DiskRefusal(
                "one-place-twice",
                f"{file.path} and {taken[place.path]} are both {place.path}",
                file.path,
            )
        taken[place.path] = file.path
        places.append(place)
    return tuple(places)


def new_change(
    records: Records, file: DiskFile, place: Place, owners: Owners
) -> Change:
    before = ABSENT if place.missing else present(place.path, file.path)
    after = FileState(
        Kind.FILE,
        file.content.sha256,
        file.content.size,
        file.mode,
        owners.user(file.owner),
        owners.group(file.group),
        attributes=kept_attributes(before.attributes),
    )
    return Change(file.path, records.place(place.path), before, after)


def present(place: Path, path: str) -> FileState:
    """What is there now, refused where no file may take its place."""
    try:
        return look(place)
    except NotAFileError as error:
        raise DiskRefusal("not-a-file", f"{path}: {error.strerror}", path) from error
    except OSError as error:
        raise DiskRefusal("unreadable", f"{path}: {error.strerror}", path) from error


def named(id: str, number: int, change: Change, *, keep_backup: bool) -> Change:
    """With the names that its files have until all is done."""
    before, after = change.before, change.after
    return replace(
        change,
        new="" if after.kind is Kind.ABSENT else f".lpengine-{id}-{number}.new",
        old="" if before.kind is Kind.ABSENT else f".lpengine-{id}-{number}.old",
        backup=str(number) if keep_backup and before.kind is Kind.FILE else "",
    )


@dataclass(frozen=True)
class Deviation:
    """A file that is not as the update put it there: `now` is what is there."""

    change: Change
    now: FileState

    def __str__(self) -> str:
        return f"{self.change.path}: {self.now} instead of {self.change.after}"


def deviations(
    records: Records, installed: Installed, later: Sequence[Installed]
) -> list[Deviation]:
    """Those files of an update that no later one has replaced, and somebody else
    has."""
    taken = {change.place for one in later for change in one.changes}
    found = []
    for change in installed.changes:
        if change.place not in taken:
            now = present(records.at(change.place), change.path)
            if not now.is_like(change.after):
                found.append(Deviation(change, now))
    return found


def uninstalling(
    records: Records,
    installed: Installed,
    later: Sequence[Installed],
    *,
    keep_changed: bool,
) -> tuple[Transaction, tuple[Deviation, ...]]:
    """The way back, and the files that it leaves as they are because somebody has
    changed them. `DiskRefusal` where a later update has replaced some of the files,
    and, without `keep_changed`, for changed ones."""
    for one in later:
        for change in one.changes:
            if installed.change(change.place):
                raise DiskRefusal(
                    "built-upon",
                    f"{one.update} was installed later and has replaced {change.path}",
                    change.path,
                )
    changed = deviations(records, installed, ())
    if changed and not keep_changed:
        lines = "; ".join(map(str, changed))
        raise DiskRefusal("file-changed", f"changed since it was installed: {lines}")
    id, skipped = new_id(), {one.change.place for one in changed}
    back = [
        named(id, number, going_back(records, change), keep_backup=False)
        for number, change in enumerate(installed.changes)
        if change.place not in skipped
    ]
    transaction = Transaction(
        id,
        Purpose.UNINSTALL,
        installed.update,
        installed.digest,
        Stage.STAGING,
        tuple(back),
        ends=installed.id,
        vacates=installed.directories,
    )
    return transaction, tuple(changed)


def going_back(records: Records, change: Change) -> Change:
    now = look(records.at(change.place))
    return Change(change.path, change.place, now, change.before)


def repairing(installed: Installed, damaged: Sequence[Deviation]) -> Transaction:
    """The update's own files again; what is there instead is kept in a backup."""
    id = new_id()
    changes = tuple(
        named(
            id,
            number,
            replace(one.change, before=one.now),
            keep_backup=True,
        )
        for number, one in enumerate(damaged)
    )
    return Transaction(
        id,
        Purpose.REPAIR,
        installed.update,
        installed.digest,
        Stage.STAGING,
        changes,
    )
