"""Reads patch modules of either format."""

from pathlib import Path

from lpengine.errors import InputError, NotFoundError
from lpengine.patch.model import Patch

# Far above what any target takes; what is larger is no patch and is not even read.
_LARGEST_READ = 64 << 20
# What every module for Linux has, damaged ones included, and no payload for Xen.
_LINUX_MARKS = (b".gnu.linkonce.this_module\0", b"vermagic=")


def load_patch(path: Path, name: str = "") -> Patch:
    """The patch module in a file, in the format that its content shows.

    `name` "" means for Linux what the module calls itself, for Xen the file's name
    without its suffix. Raises NotFoundError, and InputError for a file that is no
    module by its size; anything else that is wrong with it is in the patch.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST_READ + 1)
    except OSError as error:
        raise NotFoundError(f"{path}: {error.strerror}") from error
    if len(raw) > _LARGEST_READ:
        raise InputError(
            f"{path}: larger than {_LARGEST_READ} bytes",
            hint="a Xen payload has at most 2 MiB, a kernel module rarely more",
        )
    return read_patch(raw, name or path.stem)


def read_patch(raw: bytes, name: str) -> Patch:
    """The patch module in `raw`. Never raises for what the bytes say."""
    # A verb starts sooner with one of the two: each brings a room along.
    if format_of(raw) == "linux":
        from lpengine.patch.linux.reader import read_module

        # As kbuild makes a module's name of its file's.
        return read_module(raw, name.replace("-", "_"))
    from lpengine.patch.xen.reader import read_payload

    return read_payload(raw, name)


def format_of(raw: bytes) -> str:
    """ "linux" or "xen"; what is neither counts as a damaged Xen payload."""
    return "linux" if any(mark in raw for mark in _LINUX_MARKS) else "xen"
