"""Towards a set of versions with a package manager that has no transactions; or else
back to where it began."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lpengine.command import CommandError
from lpengine.errors import LpengineError, NotFoundError, StuckError, TargetError
from lpengine.targets.disk.disk import translated
from lpengine.targets.packages.record import PackageRecords, PackageSet
from lpengine.targets.packages.tool import Name, PackageTool, Present


@dataclass(frozen=True)
class Mover:
    """Whoever brings a host's packages from one set of versions to another."""

    records: PackageRecords
    tool: PackageTool

    def carry_out(self, packages: PackageSet) -> LpengineError | None:
        """None where the goal was reached, else why all is as before."""
        failure = self._reach(packages, goal(packages))
        if failure is None:
            with translated():
                self._book(packages)
            return None
        back = replace(packages, leaving=not packages.leaving)
        trouble = self._reach(back, goal(back))
        left = self.unlike(goal(back))
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
            if not self.unlike(wanted):
                return None
            if archives := self.archives(packages, wanted):
                self.tool.install(archives)
            if any(not there.whole for there in self._present(wanted).values()):
                # Not before: dpkg configures nothing that was only half unpacked.
                self.tool.settle()
            present = self._present(wanted)
            if gone := [n for n, v in wanted.items() if not v and n in present]:
                self.tool.remove(gone)
        except (CommandError, TargetError, NotFoundError) as error:
            return error
        left = self.unlike(wanted)
        return TargetError("; ".join(left)) if left else None

    def archives(self, packages: PackageSet, wanted: Mapping[Name, str]) -> list[Path]:
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

    def unlike(self, wanted: Mapping[Name, str]) -> tuple[str, ...]:
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
