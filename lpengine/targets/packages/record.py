"""What is durable about packages of updates: what was there before, and archives to
go back and forth with."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lpengine.targets.disk.durable import Durable
from lpengine.targets.disk.states import digest
from lpengine.targets.disk.system import System
from lpengine.targets.packages.tool import Name

SCHEMA = 1


@dataclass(frozen=True)
class PackageChange:
    """`before` is "" for a package that was not there. `archive` and `former` are the
    SHA-256 of the archives of both versions, `former` "" where it is not at hand."""

    name: str
    architecture: str
    before: str
    after: str
    archive: str
    former: str = ""

    @property
    def key(self) -> Name:
        return Name(self.name, self.architecture)


@dataclass(frozen=True)
class PackageSet:
    """The packages of an update. `leaving`: they are on their way out. `number` counts
    up."""

    number: int
    update: str
    digest: str
    format: str
    changes: tuple[PackageChange, ...]
    leaving: bool = False
    schema: int = SCHEMA


@dataclass(frozen=True)
class PackageRecords:
    """The directory they are kept in. Nothing is made by reading."""

    directory: Path
    system: System

    @property
    def pending_path(self) -> Path:
        return self.directory / "transaction.json"

    def pending(self) -> PackageSet | None:
        return self._durable.read(self.pending_path, PackageSet)

    def write_pending(self, packages: PackageSet) -> None:
        self._durable.write(self.pending_path, packages)

    def drop_pending(self) -> None:
        self._durable.drop(self.pending_path)

    def installed(self) -> tuple[PackageSet, ...]:
        """In the order in which they came."""
        paths = (self.directory / "installed").glob("*.json")
        found = (self._durable.read(path, PackageSet) for path in paths)
        return tuple(sorted((one for one in found if one), key=lambda one: one.number))

    def write_installed(self, packages: PackageSet) -> None:
        self._durable.write(self._path(packages), packages)

    def drop_installed(self, packages: PackageSet) -> None:
        self._durable.drop(self._path(packages))

    def archive(self, sha256: str, format: str) -> Path:
        """The tools tell by the suffix what they are given."""
        return self.directory / "archives" / f"{sha256}.{format}"

    def has_archive(self, sha256: str, format: str) -> bool:
        path = self.archive(sha256, format)
        return bool(sha256) and path.is_file() and digest(path) == sha256

    def sync_archives(self) -> None:
        self.system.sync_directory(self.directory / "archives")

    def make_archives(self) -> None:
        self._durable.make_directories(self.directory / "archives")

    def drop_unused_archives(self) -> None:
        """Those of no update that is there."""
        pending = self.pending()
        wanted = set()
        for one in (*self.installed(), *([pending] if pending else [])):
            for change in one.changes:
                wanted |= {change.archive, change.former}
        with suppress(FileNotFoundError):
            for path in sorted((self.directory / "archives").iterdir()):
                if path.stem not in wanted:
                    self.system.remove(path)

    def _path(self, packages: PackageSet) -> Path:
        return self.directory / "installed" / f"{packages.number:06}.json"

    @property
    def _durable(self) -> Durable:
        return Durable(self.system)
