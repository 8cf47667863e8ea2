"""Packages of updates, through the host's own package manager."""

from pathlib import Path

from lpengine.targets.packages.dpkg import Dpkg
from lpengine.targets.packages.packages import Packages, PackagesSettled
from lpengine.targets.packages.record import PackageChange, PackageSet
from lpengine.targets.packages.rpm import Rpm
from lpengine.targets.packages.tool import Name, PackageTool, Present

__all__ = [
    "Dpkg",
    "Name",
    "PackageChange",
    "PackageSet",
    "PackageTool",
    "Packages",
    "PackagesSettled",
    "Present",
    "Rpm",
    "find_tool",
]


def find_tool(root: Path) -> PackageTool:
    """The package manager of the system below `root`: Debian's where it has a status
    file there, else RPM."""
    if (root / "var/lib/dpkg/status").exists():
        return Dpkg(root)
    return Rpm(root)
