"""RPM, on XenServer and others."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lpengine.command import CommandError, complete, run
from lpengine.errors import LockedError
from lpengine.targets.packages.tool import PATIENCE, Name, Present

_FIELDS = "%{NAME}\t%{ARCH}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\n"
# Again, older than what is there, and with files that another version has.
_WHATEVER_IS_THERE = ("--replacepkgs", "--oldpackage")


class Rpm:
    """The packages below `root`; `database` is where rpm keeps its records there, and
    "" where it knows that itself."""

    format = "rpm"

    def __init__(self, root: Path, database: str = "") -> None:
        self.root = root
        self.database = database

    def present(self, names: Sequence[Name] | None = None) -> Mapping[Name, Present]:
        done = run(self._command("--query", "--all", f"--queryformat={_FIELDS}"))
        versions: dict[Name, list[str]] = {}
        for line in done.stdout.decode(errors="replace").splitlines():
            name, architecture, version = line.split("\t")
            key = Name(name, architecture)
            if names is None or key in names:
                versions.setdefault(key, []).append(version)
        return {name: Present(tuple(sorted(v))) for name, v in versions.items()}

    def objection(self, archives: Sequence[Path]) -> str:
        test = ("--upgrade", "--test", *_WHATEVER_IS_THERE)
        ended = complete(self._command(*test, *map(str, archives)), timeout=PATIENCE)
        if ended.status == 0:
            return ""
        lines = ended.stderr.decode(errors="replace").splitlines()
        found = [line.strip() for line in lines if line.startswith(("\t", " "))]
        return "; ".join(found) or (lines[-1] if lines else "rpm refuses them")

    def install(self, archives: Sequence[Path]) -> None:
        self._act("--upgrade", *_WHATEVER_IS_THERE, *map(str, archives))

    def remove(self, names: Sequence[Name]) -> None:
        self._act("--erase", *map(str, names))

    def settle(self) -> None:
        """rpm has no state in between that could be settled by itself: a package whose
        upgrade was broken off is there in two versions until it is upgraded again."""

    def cached(self, name: Name, version: str) -> Path | None:
        return None

    def _act(self, *arguments: str) -> None:
        try:
            run(self._command(*arguments), timeout=PATIENCE)
        except CommandError as error:
            if b"can't create transaction lock" in error.stderr:
                raise LockedError(
                    "another package manager is at work", hint="wait until it ends"
                ) from error
            raise

    def _command(self, *arguments: str) -> list[str]:
        where = [f"--root={self.root}"]
        if self.database:
            where.append(f"--dbpath={self.database}")
        return ["rpm", *where, *arguments]
