"""Packages of either distribution, against what an update says about them."""

import lpengine.package.deb as deb
import lpengine.package.rpm as rpm
from lpengine.package.doubts import Malformed
from lpengine.package.model import DiskPackage
from lpengine.package.package_file import PackageError, PackageFile

PREFIX = 16 << 20
"""How much of a package's file holds all that is asked for here, and more."""


def read_package(data: bytes, file: str) -> PackageFile:
    """What a package says about itself, from the first PREFIX bytes of its file.
    Malformed for what is none."""
    try:
        if data.startswith(deb.MAGIC):
            return deb.read_deb(data)
        if data.startswith(rpm.MAGIC):
            return rpm.read_rpm(data)
    except PackageError as error:
        raise Malformed(file, str(error)) from None
    raise Malformed(file, "neither a .deb nor an .rpm")


def check_package(package: DiskPackage, data: bytes) -> None:
    """Malformed where a package is not what its update says it is."""
    found = read_package(data, package.content.member)
    for what in ("format", "name", "architecture", "version"):
        said, is_ = getattr(package, what), getattr(found, what)
        if said != is_:
            raise Malformed(package.content.member, f"its {what} is {is_}, not {said}")
