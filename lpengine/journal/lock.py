"""One lpengine at a time: a lock that dies with its holder and knows its name."""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lpengine.errors import LockedError, LpengineError, NotFoundError, NotPermittedError
from lpengine.journal.actor import now

LOCK_NAME = "lock"


@dataclass(frozen=True)
class Holder:
    """Who has the lock; `since` is RFC 3339 in UTC. `pid` 0 = it did not say."""

    pid: int
    what: str
    since: str

    def __str__(self) -> str:
        if not self.pid:
            return "another lpengine"
        return f"lpengine {self.what}, pid {self.pid}, since {self.since}"


# What this thread holds already, so that an outer `lock` and an inner one of the
# same directory do not block each other. A child of fork starts with nothing.
_held = threading.local()


@contextmanager
def lock(directory: Path, what: str) -> Iterator[None]:
    """Hold DIRECTORY/lock (flock); `what` is the verb that others are told.

    A thread that holds it already just goes on. `LockedError` names the holder.
    The file stays: removing it would let two processes lock two files of one name.
    """
    found = stat_directory(directory)
    key = (os.getpid(), found.st_dev, found.st_ino)
    mine: set[tuple[int, int, int]] = _held.__dict__.setdefault("keys", set())
    if key in mine:
        yield
        return
    descriptor = acquire(directory, what)
    mine.add(key)
    try:
        yield
    finally:
        mine.discard(key)
        release(descriptor)


def lock_holder(directory: Path) -> Holder | None:
    """Who holds the lock now; None if nobody does. Takes nothing."""
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if take(descriptor, fcntl.LOCK_SH) else read_holder(descriptor)
    finally:
        os.close(descriptor)


def acquire(directory: Path, what: str) -> int:
    descriptor = open_lock(directory)
    try:
        if not take(descriptor, fcntl.LOCK_EX):
            raise LockedError(
                f"{directory} is locked by {read_holder(descriptor)}",
                hint="wait until it ends, then try again",
            )
        holder = Holder(os.getpid(), what, now())
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(holder), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def release(descriptor: int) -> None:
    """Forget the name before the lock, so that nobody is blamed for the next."""
    try:
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def open_lock(directory: Path) -> int:
    path = directory / LOCK_NAME
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise out_of_reach(path, error) from error


def stat_directory(directory: Path) -> os.stat_result:
    """Of the directory, which is made where there is none."""
    try:
        return directory.stat()
    except OSError:
        make_directory(directory)
    return directory.stat()


def make_directory(directory: Path) -> None:
    """Create a state directory where there is none."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise out_of_reach(directory, error) from error


def out_of_reach(path: Path, error: OSError) -> LpengineError:
    text = f"{path}: {error.strerror}"
    if isinstance(error, PermissionError):
        return NotPermittedError(text, hint="run it as root")
    return NotFoundError(text, hint="name a directory that exists")


def take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_holder(descriptor: int) -> Holder:
    """The holder's own words. It writes them right after it got the lock, so an
    empty file, or the name of a dead process, is worth a second look."""
    for _ in range(20):
        try:
            holder = msgspec.json.decode(os.pread(descriptor, 4096, 0), type=Holder)
            if is_alive(holder.pid):
                return holder
        except msgspec.DecodeError:
            pass  # being written at this moment
        time.sleep(0.005)
    return Holder(0, "", "")


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
