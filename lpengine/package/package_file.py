"""Distribution packages, as far as an update has to know them."""

from dataclasses import dataclass

from lpengine.package.model import PackageFormat, Version


class PackageError(Exception):
    """A file is no package, or a damaged one."""


@dataclass(frozen=True)
class PackageFile:
    """What a package says about itself. `installed_size` is in bytes, 0 where it
    does not say; `provides` are an .rpm's."""

    format: PackageFormat
    name: str
    architecture: str
    version: Version
    installed_size: int = 0
    provides: tuple[str, ...] = ()
