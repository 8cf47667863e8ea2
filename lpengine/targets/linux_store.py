"""The modules given to a Linux target: the kernel keeps no copy of them.

A module that is loaded but was not applied yet is only here. It counts as loaded
until the next boot, like one that the kernel has.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lpengine.errors import InputError, NotFoundError, NotPermittedError
from lpengine.patch.model import Patch, SystemState
from lpengine.targets.boot_files import write_whole

_RECORD = "patches.json"
_MODULES = "modules"


@dataclass(frozen=True)
class Kept:
    """One module. `reverted`: it was applied and taken off since. `pinned`: a
    transition of it was forced, so that the kernel never lets go of its code. `states`
    are the system states that it changes."""

    name: str
    sha256: str
    build_id: str
    boot_id: str
    reverted: bool = False
    pinned: bool = False
    states: tuple[SystemState, ...] = ()


class Store:
    """The modules of this boot under `directory`, which need not exist."""

    def __init__(self, directory: Path, boot_id: str) -> None:
        self._directory = directory
        self._boot_id = boot_id

    def kept(self) -> tuple[Kept, ...]:
        """In the order in which they came. `InputError` for a damaged record."""
        path = self._directory / _RECORD
        try:
            record = msgspec.json.decode(path.read_bytes(), type=tuple[Kept, ...])
        except FileNotFoundError:
            return ()
        except PermissionError as error:
            raise NotPermittedError(
                f"{path}: permission denied", hint="run it as root"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: {error}", hint="remove it") from error
        return tuple(one for one in record if one.boot_id == self._boot_id)

    def find(self, name: str) -> Kept | None:
        return next((one for one in self.kept() if one.name == name), None)

    def path(self, name: str) -> Path:
        return self._directory / _MODULES / f"{name}.ko"

    def raw(self, name: str) -> bytes:
        """The module's bytes. `NotFoundError` where they are not here, or are not
        the ones that were put here."""
        one = self.find(name)
        if one is None:
            raise NotFoundError(
                f"the module of {name} is not at hand",
                hint="it was not loaded by lpengine; give its file",
            )
        try:
            raw = self.path(name).read_bytes()
        except FileNotFoundError:
            raw = b""
        if hashlib.sha256(raw).hexdigest() != one.sha256:
            raise NotFoundError(
                f"{self.path(name)}: not the module that was kept there",
                hint=f"unload {name}, and load it again from its file",
            )
        return raw

    def keep(self, patch: Patch) -> None:
        """Also for a process that follows when this one is killed; replaces one of the
        same name."""
        self._drop_older_boots()
        write_whole(self.path(patch.name), patch.raw)
        name, sha256 = patch.name, hashlib.sha256(patch.raw).hexdigest()
        self._record(
            *(one for one in self.kept() if one.name != name),
            Kept(name, sha256, patch.build_id, self._boot_id, states=patch.states),
        )

    def mark(
        self, name: str, *, reverted: bool | None = None, pinned: bool | None = None
    ) -> None:
        """Note what became of a module; one that is not here is left alone."""
        before = self.kept()
        after = tuple(
            replace(
                one,
                reverted=one.reverted if reverted is None else reverted,
                pinned=one.pinned if pinned is None else pinned,
            )
            if one.name == name
            else one
            for one in before
        )
        if after != before:
            self._record(*after)

    def forget(self, name: str) -> None:
        self._record(*(one for one in self.kept() if one.name != name))
        self.path(name).unlink(missing_ok=True)

    def _record(self, *kept: Kept) -> None:
        write_whole(self._directory / _RECORD, msgspec.json.encode(kept))

    def _drop_older_boots(self) -> None:
        """Modules that no record of this boot names are of an earlier one."""
        names = {one.name for one in self.kept()}
        for path in (self._directory / _MODULES).glob("*.ko"):
            if path.stem not in names:
                path.unlink(missing_ok=True)
