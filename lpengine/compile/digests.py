"""Hashes of a tree's files, remembered: a kernel's source is a gigabyte, of which
nothing changes from one fix to the next."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import stat_result
from pathlib import Path

from lpengine.hosts.lab.storage import cache_directory, write_whole

# A file that changed just now may change again without its times telling (gitformat-
# index, "racy git").
_SETTLED_SECONDS = 2


class Digests:
    """Of the files below `root`. A file counts as the same while its size, its inode
    and its times are, the change time among them, which nobody can set."""

    def __init__(self, root: Path) -> None:
        name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:24]
        self._store = cache_directory() / "digests" / f"{name}.json"
        self._known: dict[str, list[object]] = self._read()
        self._fresh: dict[str, list[object]] = {}

    def of(self, path: Path, name: str) -> str:
        """The SHA-256 of the file at `path`, which is called `name` in the tree."""
        status = path.stat()
        identity = [*_identity(status)]
        known = self._known.get(name)
        if known is not None and known[:-1] == identity:
            self._fresh[name] = known
            return str(known[-1])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time() - status.st_ctime > _SETTLED_SECONDS:
            self._fresh[name] = [*identity, digest]
        return digest

    def keep(self) -> None:
        """Remember the files that were asked for, and no others."""
        if self._fresh != self._known:
            write_whole(self._store, json.dumps(self._fresh).encode())

    def _read(self) -> dict[str, list[object]]:
        try:
            return dict(json.loads(self._store.read_bytes()))
        except (OSError, ValueError):
            return {}  # the first time, or broken off: hashed again


@contextmanager
def digests(root: Path) -> Iterator[Digests]:
    """Remembered if all goes well."""
    found = Digests(root)
    yield found
    found.keep()


def _identity(status: stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
