"""Distribution packages, as far as an update has to know them."""

from dataclasses import dataclass

from lpengine.package.model import Version


class PackageError(Exception):
    """A file is no package, or a damaged one."""


@dataclass(frozen=True)
class PackageFile:
    """What a package says about itself. `installed_size` is in bytes, 0 where it
    does not say; `provides` are an .rpm's."""

    format: str
    name: str
    architecture: str
    version: Version
    installed_size: int = 0
    provides: tuple[str, ...] = ()


def parse_version(text: str) -> Version:
    """EPOCH:VERSION-RELEASE, where only the version must be there; it may hold
    dashes (deb-version(7))."""
    epoch, colon, rest = text.partition(":") if ":" in text else ("", "", text)
    version, _, release = rest.rpartition("-") if "-" in rest else (rest, "", "")
    if colon and not epoch.isdecimal():
        raise PackageError(f"the epoch of {text!r} is no number")
    if not version:
        raise PackageError(f"{text!r} is no version")
    return Version(version, release, int(epoch) if colon else None)
