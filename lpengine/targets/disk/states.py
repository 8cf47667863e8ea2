"""What is at a path: a value that can be kept, compared and made again."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

CHUNK = 1 << 20

# Attributes that are true of the old content only (Linux IMA and EVM): a signature
# or digest of it, which would make the new content unreadable where it is enforced.
_OF_CONTENT = ("security.ima", "security.evm")
# They say again what the mode says, and the update gives a mode.
_OF_MODE = ("system.posix_acl_access", "system.posix_acl_default")


class Kind(StrEnum):
    ABSENT = "absent"
    FILE = "file"
    LINK = "link"


@dataclass(frozen=True)
class FileState:
    """`target` is a link's, the rest a file's; owner and group are numbers.
    `attributes` are extended ones: security labels, capabilities, access lists."""

    kind: Kind
    sha256: str = ""
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    modified: int = 0
    target: str = ""
    attributes: Mapping[str, bytes] = field(default_factory=dict)

    def is_like(self, other: "FileState") -> bool:
        """Whether nobody can tell them apart who reads the file: time stamps and
        labels may differ."""
        return self._essence == other._essence

    @property
    def _essence(self) -> tuple[object, ...]:
        if self.kind is Kind.FILE:
            return self.kind, self.sha256, self.mode, self.uid, self.gid
        return self.kind, self.target

    def __str__(self) -> str:
        if self.kind is Kind.ABSENT:
            return "nothing"
        if self.kind is Kind.LINK:
            return f"a link to {self.target}"
        return (
            f"a file of {self.size} bytes, sha256 {self.sha256[:12]}, mode "
            f"{self.mode:04o}, owner {self.uid}:{self.gid}"
        )


ABSENT = FileState(Kind.ABSENT)


class NotAFileError(OSError):
    """A directory, a device, a socket or a FIFO is in the way."""


def look(path: Path) -> FileState:
    """What is there now, content included. `NotAFileError` for what no update may
    replace; `OSError` where it cannot be read."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return ABSENT
    if stat.S_ISLNK(found.st_mode):
        return FileState(
            Kind.LINK,
            uid=found.st_uid,
            gid=found.st_gid,
            target=str(path.readlink()),
        )
    if not stat.S_ISREG(found.st_mode):
        raise NotAFileError(errno.EINVAL, f"there is {kind_of(found.st_mode)}", path)
    return FileState(
        Kind.FILE,
        digest(path),
        found.st_size,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        attributes=attributes_of(path),
    )


def kind_of(mode: int) -> str:
    for test, name in (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return name
    return "something that is no file"


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def chunks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def attributes_of(path: Path) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    found = {}
    for name in names:
        found[name] = os.getxattr(path, name, follow_symlinks=False)
    return found


def kept_attributes(attributes: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of a replaced file that the new content keeps."""
    dropped = (*_OF_CONTENT, *_OF_MODE)
    return {name: value for name, value in attributes.items() if name not in dropped}
