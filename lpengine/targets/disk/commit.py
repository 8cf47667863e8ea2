"""From the old files to the new ones, or back; and after a crash, one of the two."""

import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lpengine.errors import StalePlanError, StuckError, TargetError
from lpengine.targets.disk.record import (
    Change,
    Installed,
    Purpose,
    Records,
    Stage,
    Transaction,
)
from lpengine.targets.disk.stage import Source, directories_of, stage
from lpengine.targets.disk.states import FileState, Kind, look
from lpengine.targets.disk.system import System


@dataclass(frozen=True)
class Settled:
    """How a transaction ended: `done` with the new files, else with the old ones.
    `left` names what is neither, one sentence each."""

    transaction: Transaction
    done: bool
    left: tuple[str, ...] = ()


def carry_out(records: Records, transaction: Transaction, source: Source) -> Settled:
    """All of the changes, or none. What is raised has changed nothing, but for
    `StuckError`: then `recover` is to be called again."""
    try:
        stage(records, transaction, source)
        check_unchanged(records, transaction)
    except BaseException as cause:
        undo(records, transaction, cause)
        raise
    return commit(records, replace(transaction, stage=Stage.COMMITTING))


def commit(records: Records, transaction: Transaction) -> Settled:
    try:
        records.write_pending(transaction)
        put_all(records, transaction)
        read_back(records, transaction)
    except BaseException as cause:
        undo(records, transaction, cause)
        raise
    return finish(records, transaction)


def recover(records: Records) -> Settled | None:
    """Ends the transaction that a dead process has left; None if there is none.
    From the moment that the new files are all there and durable it goes forward,
    else back. Killed itself, it is carried on by the next call."""
    transaction = records.pending()
    if transaction is None:
        return None
    if transaction.stage is Stage.DONE:
        return finish(records, transaction)
    if transaction.stage is Stage.COMMITTING and is_at_hand(records, transaction):
        with suppress(OSError):  # where it cannot go forward it goes back
            put_all(records, transaction)
            return finish(records, transaction)
    return Settled(transaction, False, undo(records, transaction, None))


def check_unchanged(records: Records, transaction: Transaction) -> None:
    """That nobody wrote to a file while its successor was being laid beside it."""
    for change in transaction.changes:
        if not is_still(records.at(change.place), change.before):
            raise StalePlanError(
                f"{change.path} changed while it was being replaced", hint="try again"
            )


def is_still(place: Path, before: FileState) -> bool:
    try:
        found = place.lstat()
    except FileNotFoundError:
        return before.kind is Kind.ABSENT
    if stat.S_ISLNK(found.st_mode):
        return before.kind is Kind.LINK and str(place.readlink()) == before.target
    same = (found.st_size, found.st_mtime_ns) == (before.size, before.modified)
    return before.kind is Kind.FILE and same


def is_at_hand(records: Records, transaction: Transaction) -> bool:
    """Whether every new file is in its place, or can still be put there."""
    try:
        return all(can_be_put(records, change) for change in transaction.changes)
    except OSError:
        return False


def can_be_put(records: Records, change: Change) -> bool:
    there = look(records.at(change.place))
    if change.after.kind is Kind.ABSENT:
        return there.is_like(change.before) or there.kind is Kind.ABSENT
    waiting = look(records.new(change))
    return (there if waiting.kind is Kind.ABSENT else waiting).is_like(change.after)


def put_all(records: Records, transaction: Transaction) -> None:
    for change in transaction.changes:
        put(records, change)
    for directory in directories_of(records, transaction):
        records.system.sync_directory(directory)


def put(records: Records, change: Change) -> None:
    """Once more after a crash: what was renamed already is no longer there."""
    with suppress(FileNotFoundError):
        if change.new:
            records.system.rename(records.new(change), records.at(change.place))
        else:
            records.system.remove(records.at(change.place))


def read_back(records: Records, transaction: Transaction) -> None:
    for change in transaction.changes:
        found = look(records.at(change.place))
        if not found.is_like(change.after):
            raise TargetError(
                f"{change.path} is not as promised: {found} instead of {change.after}",
                cause="disk-read-back",
            )


def finish(records: Records, transaction: Transaction) -> Settled:
    """The new files are in place and durable: there is only forward from here. What
    fails is left, and the next command does it."""
    failed = _Failures()
    failed.take(lambda: records.write_pending(replace(transaction, stage=Stage.DONE)))
    if not failed.lines:
        failed.take(lambda: book(records, transaction))
    if not failed.lines:
        failed.take(lambda: clear_staged(records, transaction))
        failed.take(lambda: vacate(records, transaction))
    if not failed.lines:
        failed.take(records.drop_pending)
    return Settled(transaction, True, tuple(failed.lines))


def book(records: Records, transaction: Transaction) -> None:
    if transaction.purpose is Purpose.UNINSTALL:
        records.drop_installed(transaction.ends)
    elif transaction.purpose is Purpose.INSTALL:
        known = {one.id for one in records.installed()}
        if transaction.id not in known:
            records.write_installed(as_installed(records, transaction))


def vacate(records: Records, transaction: Transaction) -> None:
    if transaction.ends:
        records.drop_backups(transaction.ends)
        remove_empty(records, transaction.vacates)


def as_installed(records: Records, transaction: Transaction) -> Installed:
    number = max((one.number for one in records.installed()), default=0) + 1
    return Installed(
        number,
        transaction.id,
        transaction.update,
        transaction.digest,
        transaction.changes,
        transaction.directories,
    )


def undo(
    records: Records, transaction: Transaction, cause: BaseException | None
) -> tuple[str, ...]:
    """The old files, wherever the transaction stopped. Returns what others have
    changed since and was left as it is; `StuckError` where something failed.

    Nothing is written down first: a crash on the way back leaves a record by which
    `recover` goes forward where all new files are at hand, else back.
    """
    system, failed, foreign = records.system, _Failures(), list[str]()
    if transaction.stage is Stage.COMMITTING:
        for change in reversed(transaction.changes):
            failed.take(lambda: foreign.extend(put_back(records, change)))  # noqa: B023
        for directory in directories_of(records, transaction):
            failed.take(lambda: sync_if_there(system, directory))  # noqa: B023
    if not failed.lines:
        failed.take(lambda: clear_staged(records, transaction))
        failed.take(lambda: remove_empty(records, transaction.directories))
        failed.take(lambda: records.drop_backups(transaction.id))
    if not failed.lines:
        failed.take(records.drop_pending)
    if failed.lines:
        raise stuck(transaction, failed.lines, cause)
    return tuple(foreign)


def sync_if_there(system: System, directory: Path) -> None:
    if directory.exists():
        system.sync_directory(directory)


def put_back(records: Records, change: Change) -> list[str]:
    place = records.at(change.place)
    there = look(place)
    if there.is_like(change.before):
        return []
    if not there.is_like(change.after):
        return [f"{change.path} was changed by others since: {there}"]
    if change.before.kind is Kind.ABSENT:
        records.system.remove(place)
    else:
        records.system.rename(records.old(change), place)
    return []


def clear_staged(records: Records, transaction: Transaction) -> None:
    """A rename between two names of one file does nothing and leaves both (POSIX,
    rename), so that an old file's second name may still be there."""
    for change in transaction.changes:
        for name in filter(None, (change.new, change.old)):
            with suppress(FileNotFoundError):
                records.system.remove(records.at(change.place).with_name(name))
    for directory in directories_of(records, transaction):
        sync_if_there(records.system, directory)


def remove_empty(records: Records, directories: tuple[str, ...]) -> None:
    """Those that were made for the files and hold nothing else, innermost first."""
    for directory in map(records.at, reversed(directories)):
        if directory.is_dir() and not any(directory.iterdir()):
            records.system.remove_directory(directory)
            records.system.sync_directory(directory.parent)


class _Failures:
    """Goes on after a failure: each thing that can be put right is."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def take(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self.lines.append(f"{error.filename or 'a file'}: {error.strerror}")


def stuck(
    transaction: Transaction, lines: list[str], cause: BaseException | None
) -> StuckError:
    why = f": {cause}" if cause else ""
    return StuckError(
        f"the files of {transaction.update} are half changed and could not be put "
        f"back{why}",
        left=tuple(dict.fromkeys(lines)),
        hint="put the disk right, then: lpengine recover",
    )
