"""Built source trees, kept: one directory a combination of sources, configuration
and compiler."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lpengine.errors import NotFoundError
from lpengine.hosts.lab.storage import cache_directory, exclusive, write_whole

_WAIT_SECONDS = 1800
_RECORD = "base.json"


@dataclass(frozen=True)
class Slot:
    """Where one base is kept and worked with, locked.

    `base` is there when the base is complete. Building, and rebuilding with a fix,
    happens in `work`, so that every build of a base sees the same path; what is left
    there from a run that died is removed.
    """

    directory: Path

    @property
    def base(self) -> Path:
        return self.directory / "base"

    @property
    def work(self) -> Path:
        return self.directory / "tree"

    @property
    def ready(self) -> bool:
        return (self.directory / _RECORD).is_file() and self.base.is_dir()

    def clear(self) -> None:
        """Remove whatever is in `work`."""
        if self.work.exists():
            shutil.rmtree(self.work)

    def keep(self, described: dict[str, str]) -> None:
        """What is in `work` is the base from now on."""
        if self.base.exists():
            shutil.rmtree(self.base)
        self.work.rename(self.base)
        record = json.dumps(described, indent=1, sort_keys=True)
        write_whole(self.directory / _RECORD, record.encode())

    def touch(self) -> None:
        """Remember that it was used just now."""
        (self.directory / _RECORD).touch()


@dataclass(frozen=True)
class Kept:
    """A cached base: `used` is when, in seconds since 1970, `size` in bytes."""

    key: str
    size: int
    used: float
    described: dict[str, str]


def builds_directory() -> Path:
    return cache_directory() / "build"


@contextmanager
def slot(key: str, what: str) -> Iterator[Slot]:
    """The slot of a key, for this process alone. LockedError when another works on
    the same base for longer than a build takes."""
    directory = builds_directory() / key
    directory.mkdir(parents=True, exist_ok=True)
    with exclusive(directory.with_suffix(".lock"), what, _WAIT_SECONDS):
        # It may have been pruned while this run waited.
        directory.mkdir(exist_ok=True)
        taken = Slot(directory)
        taken.clear()
        try:
            yield taken
        finally:
            taken.clear()


def kept_bases() -> tuple[Kept, ...]:
    """All complete bases, the one used last first."""
    found = []
    for record in builds_directory().glob(f"*/{_RECORD}"):
        try:
            described = json.loads(record.read_bytes())
            used = record.stat().st_mtime
        except (OSError, ValueError):
            continue  # pruned just now
        found.append(Kept(record.parent.name, _size(record.parent), used, described))
    return tuple(sorted(found, key=lambda each: -each.used))


def remove_base(key: str) -> None:
    """Forget one base. NotFoundError where there is none, LockedError where it is in
    use."""
    directory = builds_directory() / key
    if not (directory / _RECORD).is_file():
        raise NotFoundError(f"no base {key} is kept", hint="lpengine build cache list")
    with exclusive(directory.with_suffix(".lock"), f"the base {key}", 0):
        shutil.rmtree(directory)


def prune(keep_days: float) -> tuple[Kept, ...]:
    """Forget what was not used for so many days; what is forgotten."""
    limit = time.time() - keep_days * 86400
    old = tuple(each for each in kept_bases() if each.used < limit)
    for each in old:
        remove_base(each.key)
    return old


def _size(directory: Path) -> int:
    return sum(
        each.lstat().st_blocks * 512 for each in directory.rglob("*") if each.is_file()
    )
