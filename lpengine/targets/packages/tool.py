"""What both package managers have in common, as a seam; and their answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

# Packages have scripts that may take their time.
PATIENCE = 1800.0


class Name(NamedTuple):
    """What tells packages of one name apart that are installed side by side."""

    name: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.name}.{self.architecture}"


@dataclass(frozen=True)
class Present:
    """A package that is there in some way. `versions` are several where an upgrade was
    broken off; `whole` says that it is unpacked and configured."""

    versions: tuple[str, ...]
    whole: bool = True

    def is_exactly(self, version: str) -> bool:
        return self.whole and self.versions == (version,)

    def __str__(self) -> str:
        text = " and ".join(self.versions)
        return text if self.whole else f"{text}, not configured"


class PackageTool(Protocol):
    """A package manager for one root. Raises `CommandError` or `TargetError`
    where it fails and `LockedError` where another one is at work."""

    @property
    def format(self) -> str: ...

    def present(self, names: Sequence[Name] | None = None) -> Mapping[Name, Present]:
        """All packages that are there, or those of these names that are."""
        ...

    def objection(self, archives: Sequence[Path]) -> str:
        """Why these could not be installed, "" if they can, as far as it tells."""
        ...

    def install(self, archives: Sequence[Path]) -> None:
        """Also again, and also older ones than those that are there."""
        ...

    def remove(self, names: Sequence[Name]) -> None:
        """As if they had never been installed."""
        ...

    def settle(self) -> None:
        """Finish what an earlier call of the tool has left half done."""
        ...

    def cached(self, name: Name, version: str) -> Path | None:
        """Where the package manager keeps the archive of a package, if it does."""
        ...
