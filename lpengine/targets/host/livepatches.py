"""Which live patches are on, from the lists that Xen, Linux and kpatch print, and
what versions their names tell.

A name is XAPI's: "lp_BV-BR-TV-TR" for Xen, "lp_BV__BR__TV__TR" with every dot an
underscore for the kernel (xapi, livepatch.ml). Lists are read as they have been seen
in the field: columns glued to the bar, errors in brackets, states beside names, a
third section below (kpatch 0.9.11).
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lpengine.package.model import Version
from lpengine.targets.xen_tool import read_row

_XEN_HEADING = re.compile(r"^\s*ID\s*\|", re.MULTILINE)
_XEN_RULE = re.compile(r"ID\s*\||-+\+")
_XEN_NOTHING = "Nothing to list"
_XEN_NAME = re.compile(r"lp_([^-\s]+)-([^-\s]+)-([^-\s]+)-([^-\s]+)")
_KERNEL_NAME = re.compile(r"lp_(.+?)__(.+?)__(.+?)__(.+?)")
_KPATCH_HEADING, _KPATCH_END = "Loaded patch modules:", "Installed patch modules:"
_KPATCH_ROW = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*(?:\[([^\]]*)\])?.*")


@dataclass(frozen=True)
class Span:
    """From which version to which a live patch brings its component."""

    base: Version
    to: Version


def applied_in_xen(listing: str) -> tuple[str, ...] | None:
    """The applied payloads of `xen-livepatch list`; None for what is no list: the
    program says nothing and ends well where it cannot open the hypervisor."""
    if listing.strip() == _XEN_NOTHING:
        return ()
    if not _XEN_HEADING.search(listing):
        return None
    found = []
    for line in filter(None, map(str.strip, listing.splitlines())):
        row = read_row(line)
        if row is None and not _XEN_RULE.match(line):
            return None
        if row is not None and row.applied:
            found.append(row.name)
    return tuple(found)


def enabled_in_kernel(listing: str) -> tuple[str, ...] | None:
    """The enabled patches of "NAME ENABLED TRANSITION" lines; None where a line is
    none. One in transition is neither on nor off, and does not count."""
    found = []
    for line in listing.splitlines():
        match line.split():
            case [name, "1", "0"]:
                found.append(name)
            case [_, ("0" | "1"), ("0" | "1")] | []:
                pass
            case _:
                return None
    return tuple(found)


def enabled_in_kpatch(listing: str) -> tuple[str, ...] | None:
    """The loaded modules of `kpatch list` that are enabled; a version of it that does
    not say counts for all of them. None for what is no such list."""
    lines = listing.splitlines()
    if _KPATCH_HEADING not in (line.strip() for line in lines):
        return None
    found = []
    for line in lines:
        if line.strip().startswith(_KPATCH_END):
            break
        row = _KPATCH_ROW.fullmatch(line)
        if row and line.strip() != _KPATCH_HEADING and row[2] in (None, "enabled"):
            found.append(row[1])
    return tuple(found)


def xen_span(name: str) -> Span | None:
    """None where the name does not tell."""
    found = _XEN_NAME.fullmatch(name)
    return _span(found.groups()) if found else None


def kernel_span(name: str) -> Span | None:
    found = _KERNEL_NAME.fullmatch(name)
    return _span([part.replace("_", ".") for part in found.groups()]) if found else None


def _span(parts: Iterable[str]) -> Span:
    base, base_release, to, to_release = parts
    return Span(Version(base, base_release), Version(to, to_release))


Reader = Callable[[str], Span | None]


def spans(names: Iterable[str], read: Reader) -> tuple[tuple[Span, ...], bool]:
    """What the names tell, and whether there is one that should and does not: it has
    the prefix of an update's live patch. Other names are somebody's own patches."""
    told = [(name, read(name)) for name in names]
    known = tuple(span for _, span in told if span is not None)
    return known, any(n.startswith("lp_") for n, span in told if span is None)
