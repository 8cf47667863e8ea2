"""The system calls that change a disk, one method each. All changes go through here,
so that tests can stop any of them, and forget what was not synced."""

import os
from pathlib import Path


class System:
    """Raises `OSError` as the calls do. A descriptor is open for writing."""

    def create(self, path: Path) -> int:
        """A new file that nobody else may read yet; its descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

    def write(self, descriptor: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def change_owner(self, descriptor: int, uid: int, gid: int) -> None:
        os.fchown(descriptor, uid, gid)

    def change_mode(self, descriptor: int, mode: int) -> None:
        os.fchmod(descriptor, mode)

    def set_attribute(self, descriptor: int, name: str, value: bytes) -> None:
        os.setxattr(descriptor, name, value)

    def set_modified(self, descriptor: int, nanoseconds: int) -> None:
        os.utime(descriptor, ns=(nanoseconds, nanoseconds))

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def link(self, path: Path, name: Path) -> None:
        """Another name for what is at `path`, a symbolic link included."""
        os.link(path, name, follow_symlinks=False)

    def symlink(self, target: str, path: Path) -> None:
        path.symlink_to(target)

    def change_link_owner(self, path: Path, uid: int, gid: int) -> None:
        os.lchown(path, uid, gid)

    def rename(self, path: Path, name: Path) -> None:
        path.rename(name)

    def remove(self, path: Path) -> None:
        path.unlink()

    def make_directory(self, path: Path, mode: int) -> None:
        """The mode is what it says, whatever the umask."""
        path.mkdir(mode)
        path.chmod(mode)

    def remove_directory(self, path: Path) -> None:
        path.rmdir()

    def sync_directory(self, path: Path) -> None:
        """Makes the names in it durable, their coming and going."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
