"""Room on the file systems that an update writes to."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lpengine.targets.disk.refusals import DiskRefusal

# A new file waits beside the old one, and must be able to go back the same way.
STAGED, KEPT = 2, 1
# Records, and the blocks of directories that grow.
_MARGIN = 256 << 10
_NAMES = 16


@dataclass(frozen=True)
class Room:
    """What is free on one file system, seen at `directory`, and what is needed.
    `inodes` is None where the file system makes them as it needs them (btrfs)."""

    directory: Path
    device: int
    block: int
    free: int
    inodes: int | None
    read_only: bool
    needed: int = _MARGIN
    inodes_needed: int = _NAMES

    def check(self) -> None:
        """`DiskRefusal` where the files do not fit, or none may be written."""
        if self.read_only:
            raise DiskRefusal("read-only", f"{self.directory} is mounted read-only")
        if self.free < self.needed:
            raise DiskRefusal(
                "no-space",
                f"{self.directory}: {self.free} bytes are free, the update needs "
                f"{self.needed}",
            )
        if self.inodes is not None and self.inodes < self.inodes_needed:
            raise DiskRefusal(
                "no-inodes",
                f"{self.directory}: {self.inodes} files may still be made, the update "
                f"needs {self.inodes_needed}",
            )


def room_at(directory: Path) -> Room:
    found = os.statvfs(directory)
    block = found.f_frsize or found.f_bsize
    return Room(
        directory,
        directory.stat().st_dev,
        block,
        found.f_bavail * block,
        found.f_favail if found.f_files else None,
        bool(found.f_flag & os.ST_RDONLY),
    )


def rooms_for(wanted: Iterable[tuple[Path, int, int]]) -> tuple[Room, ...]:
    """Each file system once, with what files below these directories need: (directory,
    size, how many copies), in whole blocks."""
    found: dict[int, Room] = {}
    for directory, size, copies in wanted:
        here = room_at(directory)
        known = found.get(here.device, here)
        blocks = -(-size // known.block) * known.block
        found[here.device] = replace(
            known,
            needed=known.needed + copies * blocks,
            inodes_needed=known.inodes_needed + copies,
        )
    return tuple(found.values())
