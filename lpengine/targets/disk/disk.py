"""The files of updates on one disk: installed, checked and taken back, and after a
crash wholly the old ones or wholly the new ones."""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lpengine.errors import (
    LpengineError,
    NotFoundError,
    NotPermittedError,
    TargetError,
)
from lpengine.package.model import Content, DiskFile
from lpengine.targets.disk.changes import (
    Deviation,
    deviations,
    installing,
    repairing,
    uninstalling,
)
from lpengine.targets.disk.commit import Settled, carry_out, recover
from lpengine.targets.disk.record import Change, Installed, Records, Transaction
from lpengine.targets.disk.refusals import DiskRefusal
from lpengine.targets.disk.space import KEPT, STAGED, Room, rooms_for
from lpengine.targets.disk.states import chunks_of
from lpengine.targets.disk.system import System

# What is to be put into a file, in chunks: the archive has it under its own name.
Contents = Callable[[Content], Iterable[bytes]]

# Where the records are below a root.
STATE_DIRECTORY = Path("var/lib/lpengine/disk")


@dataclass(frozen=True)
class Taken:
    """An uninstall: `kept` are files that somebody has changed and that stay so."""

    settled: Settled
    kept: tuple[Deviation, ...] = ()


class Disk:
    """What is below `root`. One process acts at a time: hold a lock around it, and
    call `recover` before anything else.

    Acting raises `DiskRefusal` before anything was changed, `TargetError` where it
    failed and all is as before, `StuckError` where it is not.
    """

    def __init__(
        self, root: Path, state: Path | None = None, system: System | None = None
    ) -> None:
        top = root.resolve()
        state = (state or top / STATE_DIRECTORY).resolve()
        self.records = Records(top, state, system or System())

    @property
    def root(self) -> Path:
        return self.records.root

    def installed(self) -> tuple[Installed, ...]:
        """In the order in which they came."""
        with translated():
            return self.records.installed()

    def find(self, update: str) -> Installed | None:
        return next((one for one in self.installed() if one.update == update), None)

    def later_than(self, installed: Installed) -> tuple[Installed, ...]:
        return tuple(o for o in self.installed() if o.number > installed.number)

    def deviations(self, installed: Installed) -> tuple[Deviation, ...]:
        """Files that are not as this update put them there, though no later one has
        replaced them."""
        with translated():
            return tuple(
                deviations(self.records, installed, self.later_than(installed))
            )

    def pending(self) -> Transaction | None:
        """What a crash has left; `recover` ends it."""
        with translated():
            return self.records.pending()

    def plan(
        self, update: str, digest: str, files: Sequence[DiskFile]
    ) -> Transaction | None:
        """What `install` would do; None where the disk has it all. `DiskRefusal` for
        the first reason why not."""
        known = self.find(update)
        with translated():
            if known is None:
                return installing(self.records, update, digest, files)
            if known.digest != digest:
                raise DiskRefusal(
                    "other-contents",
                    f"{update} is installed, with other contents: {known.digest[:12]}",
                )
            damaged = deviations(self.records, known, self.later_than(known))
            return repairing(known, damaged) if damaged else None

    def rooms(self, transaction: Transaction) -> tuple[Room, ...]:
        """What the transaction needs, by file system."""
        with translated():
            return rooms_for(needs(self.records, transaction))

    def install(
        self, update: str, digest: str, files: Sequence[DiskFile], contents: Contents
    ) -> Settled | None:
        """Puts the files there, or puts right those that somebody has changed; None
        where there is nothing to do."""
        transaction = self.plan(update, digest, files)
        if transaction is None or not transaction.changes:
            return None
        for room in self.rooms(transaction):
            room.check()
        by_hash = {file.content.sha256: file.content for file in files}

        def source(change: Change) -> Iterable[bytes]:
            return contents(by_hash[change.after.sha256])

        with translated():
            return carry_out(self.records, transaction, source)

    def check_uninstall(self, update: str, *, keep_changed: bool = False) -> None:
        """Raises what `uninstall` would, as far as can be told."""
        self._plan_uninstall(self._must_find(update), keep_changed)

    def uninstall(self, update: str, *, keep_changed: bool = False) -> Taken:
        """Puts back what was there before. `NotFoundError` for one not installed."""
        installed = self._must_find(update)
        transaction, kept = self._plan_uninstall(installed, keep_changed)
        backups = {one.place: one.backup for one in installed.changes}
        directory = self.records.backups(installed.id)

        def source(change: Change) -> Iterable[bytes]:
            return chunks_of(directory / backups[change.place])

        with translated():
            return Taken(carry_out(self.records, transaction, source), kept)

    def _must_find(self, update: str) -> Installed:
        installed = self.find(update)
        if installed is None:
            raise NotFoundError(f"the files of {update} are not installed here")
        return installed

    def _plan_uninstall(
        self, installed: Installed, keep_changed: bool
    ) -> tuple[Transaction, tuple[Deviation, ...]]:
        later = self.later_than(installed)
        with translated():
            transaction, kept = uninstalling(
                self.records, installed, later, keep_changed=keep_changed
            )
        for room in self.rooms(transaction):
            room.check()
        return transaction, kept

    def recover(self) -> Settled | None:
        """Ends what a dead process has left half done; None if there is nothing."""
        with translated():
            return recover(self.records)


def needs(
    records: Records, transaction: Transaction
) -> Iterator[tuple[Path, int, int]]:
    for change in transaction.changes:
        yield standing(records.at(change.place).parent), change.after.size, STAGED
        if change.backup:
            yield standing(records.directory), change.before.size, KEPT


def standing(directory: Path) -> Path:
    """The innermost directory on the way there that exists."""
    return next(p for p in (directory, *directory.parents) if p.is_dir())


_HINTS = {
    errno.ENOSPC: "free space there, then try again",
    errno.EDQUOT: "raise the quota there, then try again",
    errno.EROFS: "mount it writable, then try again",
}


@contextmanager
def translated() -> Iterator[None]:
    """The system's errors as ours. Where this passes, all is as before."""
    try:
        yield
    except LpengineError:
        raise
    except OSError as error:
        raise meaning(error) from error


def meaning(error: OSError) -> LpengineError:
    where = error.filename or error.filename2 or "the disk"
    text = f"{where}: {error.strerror}"
    if isinstance(error, PermissionError):
        return NotPermittedError(text, hint="run it as root")
    name = errno.errorcode.get(error.errno or 0, "")
    hint = _HINTS.get(error.errno or 0, "")
    return TargetError(text, cause="disk-failed", errno=name, hint=hint)
