"""The packages that an update brings: what was there before them, and their archives,
kept together with those of before."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from lpengine.package.model import Content, DiskPackage, PackageFormat
from lpengine.package.versions import compare, parse_debian, parse_rpm
from lpengine.targets.disk.refusals import DiskRefusal
from lpengine.targets.disk.stage import write
from lpengine.targets.disk.states import FileState, Kind, chunks_of, digest
from lpengine.targets.packages.record import (
    PackageChange,
    PackageRecords,
    PackageSet,
)
from lpengine.targets.packages.tool import Name, PackageTool

PARSERS = {"deb": parse_debian, "rpm": parse_rpm}

Contents = Callable[[Content], Iterable[bytes]]


@dataclass(frozen=True)
class Arrivals:
    """Packages on their way to a host whose package manager is `tool`."""

    records: PackageRecords
    tool: PackageTool

    def prepare(
        self,
        update: str,
        digest: str,
        packages: Sequence[DiskPackage],
        contents: Contents,
    ) -> PackageSet:
        """The set to be installed, with all archives at hand that it may need.
        `DiskRefusal` where one of them is half installed already."""
        coming = self._coming(update, digest, packages)
        self._fetch(packages, contents)
        self._keep_former(coming)
        return self._with_former(coming)

    def _coming(
        self, update: str, digest: str, packages: Sequence[DiskPackage]
    ) -> PackageSet:
        names = [Name(one.name, one.architecture) for one in packages]
        present = self.tool.present(names)
        changes = []
        for name, package in zip(names, packages, strict=True):
            there = present.get(name)
            if there is not None and (not there.whole or len(there.versions) > 1):
                raise DiskRefusal("package-conflict", f"{name} is {there}")
            before = there.versions[0] if there else ""
            if not (before and is_newer(before, package)):
                sha256, after = package.content.sha256, str(package.version)
                changes.append(PackageChange(*name, before, after, sha256))
        number = max((one.number for one in self.records.installed()), default=0) + 1
        return PackageSet(number, update, digest, self.tool.format, tuple(changes))

    def _fetch(self, packages: Sequence[DiskPackage], contents: Contents) -> None:
        self.records.make_archives()
        for package in packages:
            content = package.content
            if not self.records.has_archive(content.sha256, package.format):
                self._store(content.sha256, package.format, contents(content))
        self.records.sync_archives()

    def _keep_former(self, packages: PackageSet) -> None:
        """The package manager may throw its own copy away at any time."""
        for change in packages.changes:
            cached = self.tool.cached(change.key, change.before)
            if change.before and cached is not None and not change.former:
                self._store(digest(cached), packages.format, chunks_of(cached))
        self.records.sync_archives()

    def _with_former(self, packages: PackageSet) -> PackageSet:
        changes = []
        for change in packages.changes:
            former = change.former or self._former_of(change)
            changes.append(replace(change, former=former))
        return replace(packages, changes=tuple(changes))

    def _former_of(self, change: PackageChange) -> str:
        """An earlier update has brought that version, or the package manager has it."""
        for one in self.records.installed():
            for other in one.changes:
                if (other.key, other.after) == (change.key, change.before):
                    return other.archive
        cached = self.tool.cached(change.key, change.before)
        return digest(cached) if cached is not None else ""

    def _store(self, sha256: str, format: str, chunks: Iterable[bytes]) -> None:
        path = self.records.archive(sha256, format)
        path.unlink(missing_ok=True)  # damaged, or half written when the power failed
        state = FileState(Kind.FILE, sha256, mode=0o600)
        write(self.records.system, path, state, chunks, path.name)


def is_newer(installed: str, package: DiskPackage) -> bool:
    """Than the one that the update brings: it holds all that one does, and is left
    alone. A version that cannot be read is none that anybody could be newer than."""
    try:
        version = PARSERS[package.format](installed)
    except ValueError:
        return False
    rules: PackageFormat = "deb" if package.format == "deb" else "rpm"
    return compare(version, package.version, rules) > 0
