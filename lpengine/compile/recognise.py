"""Which kind of source tree a directory is."""

from pathlib import Path

from lpengine.compile.linux_tree import LinuxTree
from lpengine.compile.tree import Tree
from lpengine.compile.xen_tree import XenTree
from lpengine.errors import InputError, NotFoundError


def open_tree(directory: Path, fan_out: int = 0) -> Tree:
    """The tree at `directory`, or right above it (xen/xen). Of a kernel a fix may
    touch so many objects, 0 for as many as a run of minutes takes. NotFoundError
    without it, InputError for one that cannot be built here."""
    if not directory.is_dir():
        raise NotFoundError(f"{directory}: no such directory")
    for root in (directory.resolve(), directory.resolve().parent):
        if XenTree.is_at(root):
            return XenTree(root)
        if LinuxTree.is_at(root):
            return LinuxTree(root, fan_out) if fan_out else LinuxTree(root)
    raise InputError(
        f"{directory}: neither Xen's source tree nor a kernel's",
        hint="give the directory with Config.mk and xen/, or the one with Kbuild",
    )
