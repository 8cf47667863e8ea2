"""The packages of updates, put onto a host by its own package manager.

Package managers have no transactions. What was there before is written down first,
and the archives to go on with are kept: a run that failed or was broken off is carried
on, or taken back where the archives of before are at hand; what is neither is named.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lpengine.command import CommandError
from lpengine.errors import LpengineError, NotFoundError, StuckError, TargetError
from lpengine.package.model import Content, DiskPackage
from lpengine.targets.disk.disk import translated
from lpengine.targets.disk.refusals import DiskRefusal
from lpengine.targets.disk.stage import write
from lpengine.targets.disk.states import FileState, Kind, chunks_of, digest
from lpengine.targets.disk.system import System
from lpengine.targets.packages.record import (
    PackageChange,
    PackageRecords,
    PackageSet,
)
from lpengine.targets.packages.tool import Name, PackageTool, Present

Contents = Callable[[Content], Iterable[bytes]]


@dataclass(frozen=True)
class PackagesSettled:
    """How a run of the package manager ended: `done` where it came to where it was to
    go, else all is as before, because of `failure`."""

    packages: PackageSet
    done: bool
    failure: LpengineError | None = None


class Packages:
    """The packages below one root. One process acts at a time: hold a lock around it,
    and call `recover` before anything else.

    Acting raises `DiskRefusal` before anything was changed, `LockedError` where another
    package manager is at work, `TargetError` where it failed and all is as before, and
    `StuckError` where it is not.
    """

    def __init__(
        self,
        state: Path,
        tool: PackageTool,
        system: System | None = None,
    ) -> None:
        self.tool = tool
        self.records = PackageRecords(state, system or System())

    def installed(self) -> tuple[PackageSet, ...]:
        """Updates' packages in the order in which they came."""
        return self.records.installed()

    def find(self, update: str) -> PackageSet | None:
        return next((one for one in self.installed() if one.update == update), None)

    def pending(self) -> PackageSet | None:
        """What a crash has left; `recover` ends it."""
        return self.records.pending()

    def deviations(self, packages: PackageSet) -> tuple[str, ...]:
        """What is not there in the version that this update brought, though no later
        update has brought another, one sentence each."""
        later = [one for one in self.installed() if one.number > packages.number]
        taken = {change.key for one in later for change in one.changes}
        mine = [change for change in packages.changes if change.key not in taken]
        return self._unlike({change.key: change.after for change in mine})

    def check(self, packages: Sequence[DiskPackage]) -> None:
        """`DiskRefusal` where they are of another package manager."""
        for package in packages:
            if package.format != self.tool.format:
                raise DiskRefusal(
                    "package-tool-missing",
                    f"{package.name} is a package for {package.format}, and this host "
                    f"has {self.tool.format}",
                )

    def install(
        self,
        update: str,
        digest: str,
        packages: Sequence[DiskPackage],
        contents: Contents,
    ) -> PackagesSettled | None:
        """None where this update has been here before: packages that somebody has
        upgraded since are not taken back."""
        self.check(packages)
        if self.find(update) is not None:
            return None
        coming = self._coming(update, digest, packages)
        with translated():
            self._fetch(packages, contents)
            self._keep_former(coming)
            coming = self._with_former(coming)
        try:
            self._must_fit(coming)
            with translated():
                self.records.write_pending(coming)
        except BaseException:
            self.records.drop_pending()
            self.records.drop_unused_archives()
            raise
        return self._act(coming)

    def check_uninstall(self, update: str) -> None:
        """Raises what `uninstall` would, as far as can be told."""
        packages = self._must_find(update)
        self._must_be_topmost(packages)
        missing = [c for c in packages.changes if c.before and not self._has_former(c)]
        if missing:
            raise DiskRefusal(
                "archive-missing",
                f"{update}: no archive of "
                + ", ".join(f"{c.key} {c.before}" for c in missing),
            )

    def uninstall(self, update: str) -> PackagesSettled:
        """Back to what was there before. `NotFoundError` for an update that is not
        here; refused where an archive is missing or a later update builds on it."""
        self.check_uninstall(update)
        leaving = replace(self._must_find(update), leaving=True)
        with translated():
            self.records.write_pending(leaving)
        return self._act(leaving)

    def _must_find(self, update: str) -> PackageSet:
        packages = self.find(update)
        if packages is None:
            raise NotFoundError(f"the packages of {update} are not installed here")
        return packages

    def recover(self) -> PackagesSettled | None:
        """Carries on what a dead process has left half done, or takes it back where
        that fails; None if there is nothing."""
        pending = self.records.pending()
        if pending is None:
            return None
        failure = self._carry_out(pending)
        return PackagesSettled(pending, failure is None, failure)

    # Towards the goal, or else back

    def _act(self, packages: PackageSet) -> PackagesSettled:
        failure = self._carry_out(packages)
        if failure is None:
            return PackagesSettled(packages, True)
        raise TargetError(
            f"the packages of {packages.update} were not changed: {failure.message}",
            cause="package-manager-failed",
            hint=failure.hint,
        )

    def _carry_out(self, packages: PackageSet) -> LpengineError | None:
        """None where the goal was reached, else why all is as before."""
        failure = self._reach(packages, goal(packages))
        if failure is None:
            with translated():
                self._book(packages)
            return None
        back = replace(packages, leaving=not packages.leaving)
        trouble = self._reach(back, goal(back))
        left = self._unlike(goal(back))
        if left:
            raise stuck(packages, failure, trouble, left)
        with translated():
            self._book(back)
        return failure

    def _reach(
        self, packages: PackageSet, wanted: Mapping[Name, str]
    ) -> LpengineError | None:
        """What stopped it, or None. Does what is left to do, so that it may be called
        again."""
        try:
            if not self._unlike(wanted):
                return None
            if archives := self._archives(packages, wanted):
                self.tool.install(archives)
            if any(not there.whole for there in self._present(wanted).values()):
                # Not before: dpkg configures nothing that was only half unpacked.
                self.tool.settle()
            present = self._present(wanted)
            if gone := [n for n, v in wanted.items() if not v and n in present]:
                self.tool.remove(gone)
        except (CommandError, TargetError, NotFoundError) as error:
            return error
        left = self._unlike(wanted)
        return TargetError("; ".join(left)) if left else None

    def _archives(self, packages: PackageSet, wanted: Mapping[Name, str]) -> list[Path]:
        """Of what is not there yet as wanted."""
        present = self._present(wanted)
        found = []
        for change in packages.changes:
            version = wanted[change.key]
            if version and not is_so(present.get(change.key), version):
                sha256 = change.former if packages.leaving else change.archive
                if self.records.has_archive(sha256, packages.format):
                    found.append(self.records.archive(sha256, packages.format))
        return found

    def _unlike(self, wanted: Mapping[Name, str]) -> tuple[str, ...]:
        present = self._present(wanted)
        return tuple(
            f"{name} is {present.get(name, 'not installed')}, wanted was "
            f"{version or 'none'}"
            for name, version in wanted.items()
            if not is_so(present.get(name), version)
        )

    def _present(self, wanted: Mapping[Name, str]) -> Mapping[Name, Present]:
        return self.tool.present(tuple(wanted))

    def _book(self, packages: PackageSet) -> None:
        if packages.leaving:
            self.records.drop_installed(packages)
        else:
            self.records.write_installed(packages)
        self.records.drop_pending()
        self.records.drop_unused_archives()

    # Before anything is changed

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
            sha256, after = package.content.sha256, str(package.version)
            changes.append(PackageChange(*name, before, after, sha256))
        number = max((one.number for one in self.installed()), default=0) + 1
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
        for one in self.installed():
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

    def _must_fit(self, packages: PackageSet) -> None:
        archives = self._archives(packages, goal(packages))
        objection = self.tool.objection(archives) if archives else ""
        if objection:
            raise DiskRefusal("package-conflict", f"{packages.update}: {objection}")

    def _must_be_topmost(self, packages: PackageSet) -> None:
        mine = {change.key for change in packages.changes}
        for one in self.installed():
            if one.number > packages.number and mine & {c.key for c in one.changes}:
                raise DiskRefusal(
                    "built-upon",
                    f"{one.update} was installed later and has packages of "
                    f"{packages.update}",
                )

    def _has_former(self, change: PackageChange) -> bool:
        return self.records.has_archive(change.former, self.tool.format)


def is_so(there: Present | None, version: str) -> bool:
    """`version` "" wants it not to be there."""
    if there is None:
        return not version
    return bool(version) and there.is_exactly(version)


def goal(packages: PackageSet) -> Mapping[Name, str]:
    """Package -> the version that is to be there, "" for none."""
    return {
        change.key: change.before if packages.leaving else change.after
        for change in packages.changes
    }


def stuck(
    packages: PackageSet,
    failure: LpengineError,
    trouble: LpengineError | None,
    left: Sequence[str],
) -> StuckError:
    also = f"; on the way back: {trouble.message}" if trouble else ""
    return StuckError(
        f"the packages of {packages.update} are half changed: {failure.message}{also}",
        left=left,
        hint="put the package manager right, then: lpengine recover",
    )
