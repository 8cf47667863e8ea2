"""Which distribution packages are installed, as rpm and dpkg list them."""

from collections.abc import Mapping
from dataclasses import dataclass

from lpengine.package.model import PackageFormat, Version
from lpengine.package.versions import parse_debian, rpm_order
from lpengine.targets.host.answers import Answers

# dpkg-query's status: wanted, state, error (dpkg-query(1)). Only "i" is whole.
_STATE = 1
_WHOLE, _ABSENT = "i", "nc"
_NO_EPOCH = ("(none)", "")


@dataclass(frozen=True)
class Packages:
    """`installed` by "name.arch", None where it could not be read; a package that is
    half installed has no version."""

    format: PackageFormat
    installed: Mapping[str, Version | None] | None


def packages(answers: Answers) -> Packages:
    """Of the host's own package manager: a Debian with rpm on it stays a Debian."""
    debian, redhat = answers.text("dpkg"), answers.text("rpm")
    if debian or (debian is not None and not redhat):
        return Packages("deb", debian_packages(debian))
    if redhat is not None:
        return Packages("rpm", rpm_packages(redhat))
    return Packages("rpm" if answers.lacks("dpkg") else "deb", None)


def debian_packages(listing: str) -> Mapping[str, Version | None] | None:
    """STATUS, NAME, VERSION, ARCHITECTURE; None where a line is not that."""
    found: dict[str, Version | None] = {}
    for line in listing.splitlines():
        fields = line.split("\t")
        if len(fields) != 4 or len(fields[0]) <= _STATE:
            return None
        state, name, version, architecture = fields
        if state[_STATE] in _ABSENT:
            continue
        try:
            whole = parse_debian(version) if state[_STATE] == _WHOLE else None
        except ValueError:
            whole = None
        found[f"{name}.{architecture}"] = whole
    return found


def rpm_packages(listing: str) -> Mapping[str, Version | None] | None:
    """NAME, EPOCH, VERSION, RELEASE, ARCHITECTURE; the newest of a package that is
    there several times, as kernels are."""
    found: dict[str, Version] = {}
    for line in listing.splitlines():
        fields = line.split("\t")
        if len(fields) != 5 or not (fields[1].isdigit() or fields[1] in _NO_EPOCH):
            return None
        name, epoch, version, release, architecture = fields
        number = None if epoch in _NO_EPOCH else int(epoch)
        one, key = Version(version, release, number), f"{name}.{architecture}"
        found[key] = max(found.get(key, one), one, key=rpm_order)
    return {**found}
