"""What is durable about the files of updates: the transaction under way, what is
installed, and what was there before."""

from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from lpengine.targets.disk.durable import Durable
from lpengine.targets.disk.states import FileState
from lpengine.targets.disk.system import System

SCHEMA = 1


class Stage(StrEnum):
    """How far a transaction is. STAGING: the old files are all in place. COMMITTING:
    the new ones are all durable, in place or beside it. DONE: all in place."""

    STAGING = "staging"
    COMMITTING = "committing"
    DONE = "done"


class Purpose(StrEnum):
    INSTALL = "install"
    REPAIR = "repair"
    UNINSTALL = "uninstall"


@dataclass(frozen=True)
class Change:
    """One file. `path` is as the update says it, `place` the same without symbolic
    links on the way, both absolute below the root. The new file waits beside it as
    `new` ("" where nothing comes), what was there stays as `old` until all is done
    ("" where nothing was). `backup` has the bytes of a file that was there, in the
    directory of the transaction ("" where none are kept)."""

    path: str
    place: str
    before: FileState
    after: FileState
    new: str = ""
    old: str = ""
    backup: str = ""


@dataclass(frozen=True)
class Transaction:
    """One set of changes. `update` and `digest` say what for; `directories` are made
    for it, outermost first. An uninstall `ends` the installation of that id, and
    removes what it `vacates` where nothing else is in it."""

    id: str
    purpose: Purpose
    update: str
    digest: str
    stage: Stage
    changes: tuple[Change, ...]
    directories: tuple[str, ...] = ()
    ends: str = ""
    vacates: tuple[str, ...] = ()
    schema: int = SCHEMA


@dataclass(frozen=True)
class Installed:
    """The files of an update as they were put on the disk. `number` counts up."""

    number: int
    id: str
    update: str
    digest: str
    changes: tuple[Change, ...]
    directories: tuple[str, ...] = ()
    schema: int = SCHEMA

    def change(self, place: str) -> Change | None:
        return next((one for one in self.changes if one.place == place), None)


@dataclass(frozen=True)
class Records:
    """The directory they are kept in, and the root that they are about, without a
    symbolic link in it. Nothing is made by reading."""

    root: Path
    directory: Path
    system: System = field(default_factory=System)

    def at(self, place: str) -> Path:
        return self.root / place.lstrip("/")

    def place(self, path: Path) -> str:
        return f"/{path.relative_to(self.root)}"

    def new(self, change: Change) -> Path:
        return self.at(change.place).with_name(change.new)

    def old(self, change: Change) -> Path:
        return self.at(change.place).with_name(change.old)

    @property
    def pending_path(self) -> Path:
        return self.directory / "transaction.json"

    def pending(self) -> Transaction | None:
        return self._durable.read(self.pending_path, Transaction)

    def write_pending(self, transaction: Transaction) -> None:
        self._durable.write(self.pending_path, transaction)

    def drop_pending(self) -> None:
        self._durable.drop(self.pending_path)

    def installed(self) -> tuple[Installed, ...]:
        """In the order in which they came."""
        found = []
        for path in sorted(self._installed.glob("*.json")):
            one = self._durable.read(path, Installed)
            if one is not None:
                found.append(one)
        return tuple(sorted(found, key=lambda one: one.number))

    def write_installed(self, installed: Installed) -> None:
        self._durable.write(self._installed / f"{installed.id}.json", installed)

    def drop_installed(self, id: str) -> None:
        self._durable.drop(self._installed / f"{id}.json")

    def backups(self, id: str) -> Path:
        return self.directory / "backups" / id

    def make_backups(self, id: str) -> Path:
        directory = self.backups(id)
        self._durable.make_directories(directory)
        return directory

    def drop_backups(self, id: str) -> None:
        directory = self.backups(id)
        with suppress(FileNotFoundError):
            for path in sorted(directory.iterdir()):
                self.system.remove(path)
            self.system.remove_directory(directory)
            self.system.sync_directory(directory.parent)

    @property
    def _durable(self) -> Durable:
        return Durable(self.system)

    @property
    def _installed(self) -> Path:
        return self.directory / "installed"
