"""Versions of packages in their order: RPM's and Debian's.

A version becomes a key, a tuple of numbers and strings, whose order under Python's
comparison is that of the package manager: thousands are compared for the price of
taking each apart once. Digits stay text (shorter is less once leading zeros are
gone), so that no length of them is a problem.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from lpengine.package.model import Applicability, Inequality, PackageFormat, Version

Key = tuple[Any, ...]

# How the pieces of an RPM version rank against each other, the end being one: a tilde
# comes before it, a caret after it but before anything else (rpm, rpmvercmp).
_TILDE, _END, _CARET, _LETTERS, _DIGITS = range(5)
_PIECE = re.compile(r"[0-9]+|[A-Za-z]+|[~^]")

# Debian policy 5.6.12: a tilde before even the end, letters before anything else.
_DEBIAN_TILDE, _DEBIAN_END, _AFTER_LETTERS = -1, 0, 256
_DEBIAN_PAIR = re.compile(r"([^0-9]*)([0-9]*)")

_NO_EPOCH = ("", "0", "(none)", "None")


@lru_cache(maxsize=1 << 16)
def rpm_key(text: str) -> Key:
    """A version or release as rpm compares it: runs of digits and runs of letters one
    by one, digits by value and above letters; what stands between them only
    separates."""
    return (*(_rpm_piece(piece) for piece in _PIECE.findall(text)), (_END,))


def _rpm_piece(piece: str) -> Key:
    if piece == "~":
        return (_TILDE,)
    if piece == "^":
        return (_CARET,)
    if piece[0].isdigit():
        return (_DIGITS, *number(piece))
    return (_LETTERS, piece)


@lru_cache(maxsize=1 << 16)
def debian_key(text: str) -> Key:
    """An upstream version or a revision as dpkg compares it: by turns a run of other
    characters and a number, either of which may be empty. No revision is that of 0."""
    pairs = _DEBIAN_PAIR.findall(text or "0")
    return tuple((_debian_run(run), number(digits)) for run, digits in pairs)


def _debian_run(run: str) -> Key:
    return (*(_debian_rank(character) for character in run), _DEBIAN_END)


def _debian_rank(character: str) -> int:
    if character == "~":
        return _DEBIAN_TILDE
    is_letter = character.isascii() and character.isalpha()
    return ord(character) if is_letter else ord(character) + _AFTER_LETTERS


def number(digits: str) -> tuple[int, str]:
    """The order of numbers, without taking them for one."""
    value = digits.lstrip("0")
    return len(value), value


@lru_cache(maxsize=1 << 16)
def rpm_order(version: Version) -> Key:
    """Epoch, version, release. An epoch that is absent is that of 0, below any other,
    as rpm and XAPI have it."""
    return (version.epoch or 0, rpm_key(version.version), rpm_key(version.release))


@lru_cache(maxsize=1 << 16)
def debian_order(version: Version) -> Key:
    """Epoch, upstream version, revision."""
    return (
        version.epoch or 0,
        debian_key(version.version),
        debian_key(version.release),
    )


ORDERS: dict[PackageFormat, Callable[[Version], Key]] = {
    "rpm": rpm_order,
    "deb": debian_order,
}


def compare(one: Version, other: Version, package_format: PackageFormat = "rpm") -> int:
    """-1, 0 or 1, as `one` is older than `other`, the same, or newer."""
    key = ORDERS[package_format]
    left, right = key(one), key(other)
    return (left > right) - (left < right)


_SATISFYING = {
    Inequality.LT: (-1,),
    Inequality.LTE: (-1, 0),
    Inequality.EQ: (0,),
    Inequality.GTE: (0, 1),
    Inequality.GT: (1,),
}


def satisfies(order: int, inequality: Inequality) -> bool:
    """Whether a comparison that ended with `order` (-1, 0, 1) is the one asked for."""
    return order in _SATISFYING[inequality]


def matches(
    applicability: Applicability,
    installed: Version,
    package_format: PackageFormat = "rpm",
) -> bool:
    """Whether the installed version of the package compares as asked. Name and
    architecture are looked at by whoever finds the package."""
    order = compare(installed, applicability.version, package_format)
    return satisfies(order, applicability.inequality)


def parse_rpm(text: str) -> Version:
    """The version in "[epoch:]version-release", as rpm and dnf print it; "(none)" is no
    epoch.

    Raises ValueError for anything else.
    """
    epoch, colon, rest = text.rpartition(":")
    version, _, release = rest.partition("-")
    right = version and release and "-" not in release
    if not right or (colon and not _is_epoch(epoch)):
        raise ValueError(f"not an epoch, version and release of RPM: {text!r}")
    return Version(version, release, _epoch(epoch))


def parse_debian(text: str) -> Version:
    """The version in "[epoch:]version[-revision]": the revision follows the last dash.

    Raises ValueError for anything else.
    """
    epoch, colon, rest = text.partition(":")
    if not colon:
        epoch, rest = "", text
    version, dash, revision = rest.rpartition("-")
    if not dash:
        version, revision = rest, ""
    wrong_epoch = colon and not (epoch.isascii() and epoch.isdigit())
    if not version or (dash and not revision) or wrong_epoch:
        raise ValueError(f"not a version of Debian: {text!r}")
    return Version(version, revision, _epoch(epoch))


def _is_epoch(text: str) -> bool:
    return text in _NO_EPOCH[1:] or (text.isascii() and text.isdigit())


def _epoch(text: str) -> int | None:
    return None if text in _NO_EPOCH else int(text) or None


def parse_rpm_package(text: str) -> tuple[str, Version, str]:
    """Name, version and architecture of "name-[epoch:]version-release.architecture".

    Raises ValueError for anything else.
    """
    rest, dot, architecture = text.rpartition(".")
    name, _, version = rest.rpartition("-")
    name, _, upstream = name.rpartition("-")
    if not (dot and architecture and name):
        raise ValueError(f"not a package of RPM: {text!r}")
    return name, parse_rpm(f"{upstream}-{version}"), architecture
