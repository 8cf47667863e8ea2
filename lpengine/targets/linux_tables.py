"""The kernel's big tables, which it takes long to write out: read once, and kept for
the next process as long as the same modules are loaded in the same boot."""

import hashlib
import os
import zlib
from contextlib import suppress
from pathlib import Path

from lpengine.targets.linux_tree import read_bytes

_FORMAT = b"lpengine table 1"


class Tables:
    """`directory` is private, and need not exist; where it cannot be written to,
    nothing is kept, and what is damaged counts as not kept."""

    def __init__(self, directory: Path, boot_id: str) -> None:
        self._directory = directory
        self._boot_id = boot_id
        self._key: tuple[str, ...] | None = None
        self._data: dict[Path, bytes | None] = {}

    def read(self, path: Path, modules: tuple[str, ...]) -> bytes | None:
        """The file, as it was when these modules were loaded last; None where it
        cannot be read. `modules` tell one load of a module from another."""
        if modules != self._key:
            self._key, self._data = modules, {}
        if path not in self._data:
            self._data[path] = self._kept(path) or self._fresh(path)
        return self._data[path]

    def _fresh(self, path: Path) -> bytes | None:
        try:
            data = read_bytes(path)
        except OSError:
            return None
        with suppress(OSError):
            self._keep(path, data)
        return data

    def _kept(self, path: Path) -> bytes | None:
        if not self._boot_id:
            return None
        try:
            head, _, data = read_bytes(self._place(path)).partition(b"\n")
        except OSError:
            return None
        return data if head == self._head(path, data) else None

    def _keep(self, path: Path, data: bytes) -> None:
        place = self._place(path)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = place.with_suffix(f".{os.getpid()}")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(self._head(path, data) + b"\n" + data)
        fresh.replace(place)

    def _head(self, path: Path, data: bytes) -> bytes:
        """Who may see how much of a table depends on who asks."""
        about = (self._boot_id, str(os.geteuid()), str(path), *(self._key or ()))
        key = hashlib.sha256("\0".join(about).encode()).hexdigest().encode()
        return b"%s %s %08x" % (_FORMAT, key, zlib.crc32(data))

    def _place(self, path: Path) -> Path:
        return self._directory / f"{path.name}.kept"
