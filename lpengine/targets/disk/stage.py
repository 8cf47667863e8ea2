"""New files laid beside the old ones, durable, before anything is replaced."""

import errno
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from lpengine.errors import InputError, StalePlanError
from lpengine.targets.disk.record import Change, Records, Transaction
from lpengine.targets.disk.states import FileState, Kind, chunks_of
from lpengine.targets.disk.system import System

# Where the bytes come from that a change puts on the disk.
Source = Callable[[Change], Iterable[bytes]]

# What link(2) answers on a file system that has no hard links, or no more of them.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


def stage(records: Records, transaction: Transaction, source: Source) -> None:
    """The record first, so that whatever is left behind is known by name."""
    system = records.system
    records.write_pending(transaction)
    for path in map(records.at, transaction.directories):
        system.make_directory(path, 0o755)
        system.sync_directory(path.parent)
    for change in transaction.changes:
        keep(records, transaction, change)
        lay(records, change, source)
    for directory in directories_of(records, transaction):
        system.sync_directory(directory)
    if any(change.backup for change in transaction.changes):
        system.sync_directory(records.backups(transaction.id))


def directories_of(records: Records, transaction: Transaction) -> tuple[Path, ...]:
    return tuple(sorted({records.at(c.place).parent for c in transaction.changes}))


def keep(records: Records, transaction: Transaction, change: Change) -> None:
    """What is there: its bytes in the backup, itself under a second name."""
    place, system = records.at(change.place), records.system
    if change.backup:
        backup = records.make_backups(transaction.id) / change.backup
        chunks = chunks_of(place)
        write(system, backup, change.before, chunks, change.path, dressed=False)
    if change.old:
        keep_beside(system, place, records.old(change), change)


def keep_beside(system: System, place: Path, old: Path, change: Change) -> None:
    try:
        system.link(place, old)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        return
    if change.before.kind is Kind.LINK:
        make_link(system, old, change.before)
    else:
        write(system, old, change.before, chunks_of(place), change.path)


def lay(records: Records, change: Change, source: Source) -> None:
    if not change.new:
        return
    new = records.new(change)
    if change.after.kind is Kind.LINK:
        make_link(records.system, new, change.after)
    else:
        write(records.system, new, change.after, source(change), change.path)


def make_link(system: System, path: Path, state: FileState) -> None:
    system.symlink(state.target, path)
    found = path.lstat()
    if (found.st_uid, found.st_gid) != (state.uid, state.gid):
        system.change_link_owner(path, state.uid, state.gid)


def write(
    system: System,
    path: Path,
    state: FileState,
    chunks: Iterable[bytes],
    name: str,
    *,
    dressed: bool = True,
) -> None:
    """A file with these bytes and, dressed, all that the state says, synced."""
    descriptor = system.create(path)
    try:
        copied = copy(system, chunks, descriptor)
        if copied != state.sha256:
            raise unlike(path, state, name, dressed)
        if dressed:
            dress(system, descriptor, path, state)
        system.sync(descriptor)
    finally:
        system.close(descriptor)


def copy(system: System, chunks: Iterable[bytes], descriptor: int) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        system.write(descriptor, chunk)
    return digest.hexdigest()


def unlike(path: Path, state: FileState, name: str, dressed: bool) -> Exception:
    if dressed:
        return InputError(
            f"{name}: the content is not the one announced, sha256 {state.sha256}",
            hint="get the update again",
        )
    return StalePlanError(f"{name} changed while it was kept", hint="try again")


def dress(system: System, descriptor: int, path: Path, state: FileState) -> None:
    """The owner comes first: changing it takes setuid bits and capabilities away
    (Linux, fs/attr.c: setattr_prepare and security_inode_need_killpriv)."""
    found = path.stat()
    if (found.st_uid, found.st_gid) != (state.uid, state.gid):
        system.change_owner(descriptor, state.uid, state.gid)
    system.change_mode(descriptor, state.mode)
    for attribute, value in sorted(state.attributes.items()):
        system.set_attribute(descriptor, attribute, value)
    if state.modified:
        system.set_modified(descriptor, state.modified)
