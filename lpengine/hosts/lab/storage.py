"""Where the lab keeps things, and files that are there whole or not at all."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lpengine.errors import LockedError


def cache_directory() -> Path:
    """$LPENGINE_CACHE, or lpengine in the user's cache."""
    chosen = os.environ.get("LPENGINE_CACHE")
    return Path(chosen).absolute() if chosen else Path.home() / ".cache/lpengine"


def state_directory() -> Path:
    """$LPENGINE_LAB, or lpengine/lab in the user's state."""
    chosen = os.environ.get("LPENGINE_LAB")
    if chosen:
        return Path(chosen).absolute()
    return Path.home() / ".local/state/lpengine/lab"


def write_whole(path: Path, data: bytes) -> None:
    """Write beside and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink()
        raise


@contextmanager
def exclusive(path: Path, what: str, seconds: float) -> Iterator[None]:
    """Hold the lock file `path`. `LockedError` when another holds it for longer
    than `seconds`; the lock of one that died is free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        deadline = time.monotonic() + seconds
        while not _locked(file.fileno()):
            if time.monotonic() > deadline:
                raise LockedError(f"{what} is in use by another lpengine")
            time.sleep(0.05)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
