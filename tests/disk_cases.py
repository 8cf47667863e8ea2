"""A small root with every kind of thing that an update may replace, two updates for
it, and what a test compares."""

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from lpengine.package.model import Content, DiskFile
from lpengine.targets.disk import Change, Contents, Disk, Installed, System
from lpengine.targets.disk.states import kind_of

FIRST, SECOND = "LPU-1", "LPU-2"
CHANGED = b"by hand\n"

# Path -> the new content. Replaced: a program, a link, a file with another mode; two
# are new, one of them in directories that are not there yet.
FIRST_FILES: Mapping[str, bytes] = {
    "/usr/bin/tool": b"#!new tool\n",
    "/etc/current": b"a file instead of a link\n",
    "/etc/tool.conf": b"level = 2\n",
    "/usr/lib/xen-livepatch/ab12/livepatch": b"payload" * 100,
    "/usr/bin/fresh": b"",
}
SECOND_FILES: Mapping[str, bytes] = {
    "/usr/bin/tool": b"#!newer tool\n",
    "/lib/other": b"through a link\n",
}
MODES = {"/usr/bin/tool": 0o4755, "/etc/tool.conf": 0o600}


def make_root(root: Path) -> Path:
    """/lib is a link to usr/lib, /etc/current one to a file."""
    for directory in ("usr/bin", "usr/lib", "etc", "var/lib"):
        (root / directory).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    tool = root / "usr/bin/tool"
    tool.write_bytes(b"#!old tool\n")
    tool.chmod(0o755)
    (root / "etc/tool.conf").write_bytes(b"level = 1\n")
    (root / "etc/current").symlink_to("tool.conf")
    (root / "etc/bystander").write_bytes(b"not in any update\n")
    return root


def content(data: bytes) -> Content:
    sha256 = hashlib.sha256(data).hexdigest()
    return Content(f"files/{sha256[:8]}", sha256, len(data))


def disk_file(path: str, data: bytes) -> DiskFile:
    return DiskFile(path, MODES.get(path, 0o644), owner(), group(), content(data))


def owner() -> str:
    return "root" if os.getuid() == 0 else str(os.getuid())


group = owner


def contents_of(files: Mapping[str, bytes]) -> Contents:
    by_hash = {content(data).sha256: data for data in files.values()}
    return lambda wanted: [by_hash[wanted.sha256]]


def put_on(
    disk: Disk, update: str = FIRST, files: Mapping[str, bytes] = FIRST_FILES
) -> object:
    wanted = [disk_file(path, data) for path, data in files.items()]
    return disk.install(update, f"digest of {update}", wanted, contents_of(files))


class Unsynced(System):
    """For tests in which no power fails: syncing takes long and changes nothing."""

    def sync(self, descriptor: int) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass


def open_disk(root: Path, system: System | None = None) -> Disk:
    return Disk(root, root / "var/lib/lpengine/disk", system or Unsynced())


Tree = dict[str, tuple[object, ...]]


def tree(root: Path, *, state: bool = False) -> Tree:
    """Every file, link and directory with what matters of it; lpengine's own state
    only where asked for."""
    found: Tree = {}
    own = root / "var/lib/lpengine"
    for path in sorted(root.rglob("*")):
        if state or not path.is_relative_to(own):
            found[str(path.relative_to(root))] = essence(path)
    return found


def essence(path: Path) -> tuple[object, ...]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "link", str(path.readlink())
    if not stat.S_ISREG(mode):
        return (kind_of(mode),)
    return "file", path.read_bytes(), stat.S_IMODE(mode)


def put_state(installed: Installed) -> dict[str, Change]:
    return {change.path: change for change in installed.changes}
