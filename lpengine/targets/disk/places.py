"""Where a path of an update lies on the disk, under a root that nothing leaves."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lpengine.targets.disk.refusals import DiskRefusal

# As many as the kernel follows (Linux, include/linux/namei.h: MAXSYMLINKS).
_LINKS_MAX = 40


@dataclass(frozen=True)
class Place:
    """`directory` has no symbolic link in it; `missing` are its parts that are not
    there yet, outermost first."""

    directory: Path
    name: str
    missing: tuple[Path, ...] = ()

    @property
    def path(self) -> Path:
        return self.directory / self.name

    @property
    def standing(self) -> Path:
        """The innermost directory on the way that is there."""
        return self.missing[0].parent if self.missing else self.directory


def find_place(root: Path, path: str) -> Place:
    """Follows the links among the parents of `path`, as the kernel will. `RefusedError`
    for a path that is none, a parent that is no directory, and a link that
    leads out of `root`."""
    parts = checked_parts(path)
    directory = Path(os.path.realpath(root))
    walk = _Walk(directory, path)
    for part in parts[:-1]:
        walk.enter(part)
    return Place(walk.here, parts[-1], tuple(walk.missing))


def checked_parts(path: str) -> tuple[str, ...]:
    parts = path.split("/")
    clean = path.startswith("/") and all(parts[1:]) and "\0" not in path
    if not clean or {".", ".."} & set(parts) or len(parts) < 2:
        raise DiskRefusal("bad-path", f"{path!r} is no plain absolute path", path)
    return tuple(parts[1:])


class _Walk:
    """A position under `top`, moved by one name at a time."""

    def __init__(self, top: Path, path: str) -> None:
        self.top = top
        self.path = path
        self.here = top
        self.missing: list[Path] = []
        self.links = 0

    def enter(self, name: str) -> None:
        if name == "..":
            self.leave()
            return
        below = self.here / name
        mode = self.mode_of(below)
        if mode is None:
            self.missing.append(below)
            self.here = below
        elif stat.S_ISDIR(mode):
            self.here = below
        elif stat.S_ISLNK(mode):
            self.follow(below)
        else:
            raise self.refused("not-a-directory", f"{below} is no directory")

    def mode_of(self, path: Path) -> int | None:
        if self.missing:
            return None
        try:
            return path.lstat().st_mode
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.refused("unreadable", f"{path}: {error.strerror}") from error

    def leave(self) -> None:
        if self.here == self.top and self.top != Path("/"):
            raise self.refused("leaves-root", f"a link climbs above {self.top}")
        self.here = self.here.parent

    def follow(self, link: Path) -> None:
        self.links += 1
        if self.links > _LINKS_MAX:
            raise self.refused("bad-path", os.strerror(errno.ELOOP))
        target = PurePosixPath(link.readlink())
        parts = target.parts
        if target.is_absolute():
            if self.top != Path("/"):
                raise self.refused("leaves-root", f"{link} leads out, to {target}")
            self.here, parts = self.top, parts[1:]
        for part in parts:
            self.enter(part)
        if self.missing:
            raise self.refused("not-a-directory", f"{link} leads nowhere")

    def refused(self, cause: str, why: str) -> DiskRefusal:
        return DiskRefusal(cause, f"{self.path}: {why}", self.path)
