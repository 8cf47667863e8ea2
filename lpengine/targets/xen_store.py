"""What lpengine remembers of the payloads it has loaded into the running Xen, which
gives neither their bytes back nor the order in which they were applied."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import msgspec

from lpengine.errors import InputError, NotFoundError, NotPermittedError
from lpengine.patch.model import Patch
from lpengine.patch.xen.reader import read_payload
from lpengine.targets.boot_files import Version, version_of, write_whole

SCHEMA = 1
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Memory:
    """True of one boot only. `modules` has the SHA-256 of what was loaded under
    each name, `applied` the applied payloads as last seen, bottom first, `reverted`
    those that were applied before, `version` what the image said of itself while
    nothing was applied that could make it say something else."""

    boot_id: str
    modules: Mapping[str, str] = field(default_factory=dict)
    applied: tuple[str, ...] = ()
    reverted: tuple[str, ...] = ()
    version: str = ""
    schema: int = SCHEMA

    def forgetting(self, name: str) -> "Memory":
        return replace(
            self,
            modules={n: h for n, h in self.modules.items() if n != name},
            applied=tuple(each for each in self.applied if each != name),
            reverted=tuple(each for each in self.reverted if each != name),
        )

    def loading(self, name: str, sha256: str) -> "Memory":
        clean = self.forgetting(name)
        return replace(clean, modules={**clean.modules, name: sha256})

    def applying(self, applied: Iterable[str]) -> "Memory":
        """With these applied; those that no longer are have been reverted."""
        now = tuple(applied)
        gone = {each for each in self.applied if each not in now}
        return replace(
            self, applied=now, reverted=tuple(sorted({*self.reverted, *gone}))
        )


class Store:
    """The state directory's part that is about Xen; nothing is written by looking."""

    def __init__(self, directory: Path, boot_id: str) -> None:
        self.directory = directory
        self.boot_id = boot_id
        self.path = directory / "state.json"
        self._modules = directory / "modules"
        # Every look at Xen needs the modules that it has. They are what they were
        # when first read: they are named after their contents.
        self._read: dict[tuple[str, str], Patch] = {}
        self._last: tuple[Version, Memory] | None = None

    def memory(self) -> Memory:
        """What is known of this boot; nothing after another one. `InputError` where
        the file is damaged."""
        try:
            version = version_of(self.path.stat())
            if self._last is None or self._last[0] != version:
                self._last = version, self._decode(self.path.read_bytes())
        except FileNotFoundError:
            return Memory(self.boot_id)
        except PermissionError as error:
            raise NotPermittedError(f"{self.path}: may not be read") from error
        return self._last[1]

    def _decode(self, raw: bytes) -> Memory:
        try:
            memory = msgspec.json.decode(raw, type=Memory)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InputError(
                f"{self.path}: damaged: {error}",
                hint="remove it: payloads loaded before are then treated as foreign",
            ) from error
        if memory.boot_id != self.boot_id or memory.schema != SCHEMA:
            return Memory(self.boot_id)
        return memory

    def remember(self, memory: Memory) -> None:
        self._last = self._write(self.path, msgspec.json.encode(memory)), memory

    def keep(self, patch: Patch) -> None:
        """Keep a module's bytes and drop those that nothing refers to any more."""
        wanted = {*self.memory().modules.values(), patch.sha256}
        for path in self._modules.glob("*"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)
        self._write(self._modules / patch.sha256, patch.raw)
        self._read[patch.name, patch.sha256] = patch

    def module(self, name: str, sha256: str) -> Patch:
        """`NotFoundError` where the bytes are gone, `InputError` where they are
        others."""
        known = self._read.get((name, sha256))
        if known is None:
            known = self._read[name, sha256] = self._read_module(name, sha256)
        return known

    def _read_module(self, name: str, sha256: str) -> Patch:
        path = self._modules / sha256
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise NotFoundError(
                f"{name}: its module cannot be had back: {path}: {error.strerror}"
            ) from error
        if hashlib.sha256(raw).hexdigest() != sha256:
            raise InputError(f"{path}: damaged: not the bytes that were loaded")
        return read_again(raw, name)

    def _write(self, path: Path, data: bytes) -> Version:
        try:
            return write_whole(path, data)
        except PermissionError as error:
            raise NotPermittedError(f"{path}: may not be written") from error


@lru_cache(maxsize=8)
def read_again(raw: bytes, name: str) -> Patch:
    """One process may carry out many command lines about the same modules."""
    return read_payload(raw, name)


def read_boot_id(path: Path = BOOT_ID) -> str:
    """Changes with each boot and with nothing else; "" where the kernel has none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
