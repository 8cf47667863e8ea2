"""Debian's package manager."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lpengine.command import CommandError, Ended, complete, run
from lpengine.errors import LockedError, NotFoundError, TargetError
from lpengine.targets.packages.tool import PATIENCE, Name, Present

_FIELDS = "${Package}\t${Architecture}\t${Version}\t${db:Status-Status}\n"
# What dpkg says of packages that left nothing but configuration files, or nothing.
_GONE = ("not-installed", "config-files")
# Nobody answers questions: the administrator's configuration files are kept.
_QUIET = ("--force-confdef", "--force-confold")
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "DEBIAN_PRIORITY": "critical"}


class Dpkg:
    """The packages below `root`."""

    format = "deb"

    def __init__(self, root: Path) -> None:
        self.root = root

    def present(self, names: Sequence[Name] | None = None) -> Mapping[Name, Present]:
        found: dict[Name, Present] = {}
        for line in self._query().splitlines():
            name, architecture, version, status = line.split("\t")
            key = Name(name, architecture)
            if status not in _GONE and (names is None or key in names):
                found[key] = Present((version,), status == "installed")
        return found

    def objection(self, archives: Sequence[Path]) -> str:
        """dpkg itself finds out about dependencies when files are unpacked already, so
        that apt's solver is asked, which sees nothing but what is installed."""
        with tempfile.TemporaryDirectory(prefix="lpengine-") as directory:
            try:
                ended = complete(
                    ["apt-get", *self._offline(Path(directory)), *map(str, archives)],
                    environment=_ENVIRONMENT,
                )
            except NotFoundError:
                return ""
        removed = [line for line in text(ended) if line.startswith("Remv ")]
        if removed:
            return f"it would remove {', '.join(line.split()[1] for line in removed)}"
        if ended.status == 0:
            return ""
        unmet = [line.strip() for line in text(ended) if line.startswith(" ")]
        reason = "; ".join(unmet) or CommandError(["apt-get"], 1, "", ended.stderr).line
        return reason or f"apt-get failed with status {ended.status}"

    def install(self, archives: Sequence[Path]) -> None:
        # Allowed by default, unless an administrator's DPKG_FORCE says something else.
        back = "--force-downgrade"
        self._act("--install", back, *_QUIET, *map(str, archives))

    def remove(self, names: Sequence[Name]) -> None:
        self._act("--purge", *(full(name) for name in names))

    def settle(self) -> None:
        self._act("--configure", *_QUIET, "--pending")

    def cached(self, name: Name, version: str) -> Path | None:
        """apt writes the colon of an epoch as %3a."""
        file = f"{name.name}_{version.replace(':', '%3a')}_{name.architecture}.deb"
        path = self.root / "var/cache/apt/archives" / file
        return path if path.is_file() else None

    def _query(self) -> str:
        if not self._status.exists():
            return ""
        command = ["dpkg-query", f"--root={self.root}", "--show", f"-f{_FIELDS}"]
        ended = complete(command)
        if ended.status > 1:  # 1: there is none
            raise CommandError(command, ended.status, "failed", ended.stderr)
        return ended.stdout.decode(errors="replace")

    def _act(self, *arguments: str) -> None:
        command = ["dpkg", f"--root={self.root}", *arguments]
        try:
            run(command, environment=_ENVIRONMENT, timeout=PATIENCE)
        except CommandError as error:
            if b"locked by another process" in error.stderr:
                raise LockedError(
                    "another package manager is at work", hint="wait until it ends"
                ) from error
            raise failed(error) from error

    def _offline(self, directory: Path) -> list[str]:
        (directory / "lists/partial").mkdir(parents=True)
        (directory / "cache/archives/partial").mkdir(parents=True)
        settings = {
            "Dir::State::status": self._status,
            "Dir::State::lists": directory / "lists",
            "Dir::Cache": directory / "cache",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": "/dev/null",
            "Debug::NoLocking": "1",
        }
        options = [part for k, v in settings.items() for part in ("-o", f"{k}={v}")]
        return ["-s", "-q", "--allow-downgrades", "--reinstall", *options, "install"]

    @property
    def _status(self) -> Path:
        return self.root / "var/lib/dpkg/status"


def failed(error: CommandError) -> TargetError:
    """dpkg ends with a list of what failed; why it did stands above that."""
    lines = [line.strip() for line in error.stderr.decode(errors="replace").split("\n")]
    start = next((i for i, line in enumerate(lines) if "dpkg: error" in line), None)
    if start is None:
        return TargetError(error.message, hint=error.hint)
    reason = " ".join(line for line in lines[start : start + 2] if line)
    return TargetError(reason.removeprefix("dpkg: error "), hint=error.hint)


def full(name: Name) -> str:
    return name.name if name.architecture == "all" else ":".join(name)


def text(ended: Ended) -> list[str]:
    return ended.stdout.decode(errors="replace").splitlines()
