"""The packages of updates, put onto a host by its own package manager.

Package managers have no transactions. What was there before is written down first,
and the archives to go on with are kept: a run that failed or was broken off is carried
on, or taken back where the archives of before are at hand; what is neither is named.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lpengine.errors import LpengineError, NotFoundError, TargetError
from lpengine.package.model import DiskPackage
from lpengine.targets.disk.disk import translated
from lpengine.targets.disk.refusals import DiskRefusal
from lpengine.targets.disk.system import System
from lpengine.targets.packages.coming import Arrivals, Contents
from lpengine.targets.packages.reach import Mover, goal
from lpengine.targets.packages.record import (
    PackageChange,
    PackageRecords,
    PackageSet,
)
from lpengine.targets.packages.tool import PackageTool


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
        return self._mover.unlike({change.key: change.after for change in mine})

    def ask(self, packages: Sequence[DiskPackage], contents: Contents) -> None:
        """`DiskRefusal` where the package manager would not take them. Nothing is kept
        of them."""
        self.check(packages)
        if not packages:
            return
        with tempfile.TemporaryDirectory(prefix="lpengine-") as directory:
            archives = []
            for package in packages:
                content = package.content
                name = f"{content.sha256}.{package.format}"
                archives.append(Path(directory) / name)
                with archives[-1].open("wb") as file:
                    file.writelines(contents(content))
            objection = self.tool.objection(archives)
        if objection:
            raise DiskRefusal("package-conflict", objection)

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
        with translated():
            arrivals = Arrivals(self.records, self.tool)
            coming = arrivals.prepare(update, digest, packages, contents)
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
        failure = self._mover.carry_out(pending)
        return PackagesSettled(pending, failure is None, failure)

    def _act(self, packages: PackageSet) -> PackagesSettled:
        failure = self._mover.carry_out(packages)
        if failure is None:
            return PackagesSettled(packages, True)
        raise TargetError(
            f"the packages of {packages.update} were not changed: {failure.message}",
            cause="package-manager-failed",
            hint=failure.hint,
        )

    def _must_fit(self, packages: PackageSet) -> None:
        archives = self._mover.archives(packages, goal(packages))
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

    @property
    def _mover(self) -> Mover:
        return Mover(self.records, self.tool)
