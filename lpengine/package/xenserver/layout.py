"""Live patches where XenServer's packages put them:
`/usr/lib/COMPONENT-livepatch/BUILD-ID/livepatch.SUFFIX`, a link to the module beside
it, whose name says from what to what it patches."""

import re
from dataclasses import dataclass
from pathlib import Path

from lpengine.package.doubts import Malformed
from lpengine.package.model import Defect, LivePatch
from lpengine.package.xenserver.livepatch import (
    SUFFIXES,
    file_name,
    livepatch_of,
)


@dataclass(frozen=True)
class InstalledPatch:
    """A live patch and the file on this machine that has it."""

    livepatch: LivePatch
    path: Path


def find_installed(livepatch: LivePatch, root: Path = Path("/")) -> Path:
    """The module of a live patch that metadata announces. Malformed where the link
    is not there, or not to the file that the live patch must be in: what else is
    installed for that build is not it."""
    suffix = SUFFIXES[livepatch.component]
    directory = root / f"usr/lib/{livepatch.component}-livepatch"
    link = directory / livepatch.base_build_id / f"livepatch.{suffix}"
    target = _target(link)
    if target != file_name(livepatch):
        raise Malformed(str(link), f"not a link to {file_name(livepatch)}")
    return link.with_name(target)


def read_layout(
    root: Path = Path("/"),
) -> tuple[tuple[InstalledPatch, ...], tuple[Defect, ...]]:
    """(live patches, what is wrong with others) that are installed under `root`."""
    found: list[InstalledPatch] = []
    defects: list[Defect] = []
    for component, suffix in SUFFIXES.items():
        # A link that leads nowhere must not look as if there were none: no glob.
        for directory in _builds(root / f"usr/lib/{component}-livepatch"):
            link = directory / f"livepatch.{suffix}"
            try:
                found.append(_installed(component, link))
            except Malformed as error:
                defects.append(Defect(str(link), error.what, component))
    return tuple(found), tuple(defects)


def _builds(directory: Path) -> list[Path]:
    """The directories of builds for which something is installed."""
    if not directory.is_dir():
        return []
    return sorted(each for each in directory.iterdir() if each.is_dir())


def _installed(component: str, link: Path) -> InstalledPatch:
    target = _target(link)
    parts = re.fullmatch(
        rf"lp_(.+?)__(.+?)__(.+?)__(.+?)\.{SUFFIXES[component]}", target
    )
    if not parts or any("__" in part or "/" in part for part in parts.groups()):
        raise Malformed(target, f"{target!r} is not the name of a live patch")
    # As XAPI reads such names back: every underscore was a dot.
    version, release, to_version, to_release = (
        part.replace("_", ".") for part in parts.groups()
    )
    livepatch = livepatch_of(
        component,
        f"{version}-{release}",
        f"{to_version}-{to_release}",
        link.parent.name,
    )
    return InstalledPatch(livepatch, link.with_name(target))


def _target(link: Path) -> str:
    """What a link of XenServer's points to: a file beside it. Malformed for anything
    else."""
    try:
        target = str(link.readlink())
    except OSError:
        raise Malformed(str(link), "no link") from None
    if "/" in target or not link.with_name(target).is_file():
        raise Malformed(str(link), f"{target!r} is no file beside it")
    return target
