"""Files that are true of one boot only: what a target was given since then."""

import os
from pathlib import Path

# Tells a file from the one that was put in its place: inode, time and size.
Version = tuple[int, int, int]


def write_whole(path: Path, data: bytes) -> Version:
    """The new file or the old one, never a part, also when the power fails.

    Which of the two there is then does not matter: memory has lost what it tells of.
    So its name is not synced, only its contents.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        version = version_of(os.fstat(file.fileno()))
    fresh.replace(path)
    return version


def version_of(found: os.stat_result) -> Version:
    return found.st_ino, found.st_mtime_ns, found.st_size
