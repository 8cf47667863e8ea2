"""What no update may do to a disk: refused with a code before anything is written."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.planner import CATALOGUE
from lpengine.planner.catalogue.causes import CODE_OF
from lpengine.targets.disk import Disk, DiskRefusal
from lpengine.targets.disk.space import rooms_for
from tests.disk_cases import (
    FIRST,
    contents_of,
    disk_file,
    make_root,
    open_disk,
    tree,
)

DATA = b"new"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root")


def install(root: Path, *paths: str) -> None:
    files = [disk_file(path, DATA) for path in paths]
    open_disk(root).install(FIRST, "d", files, contents_of({"": DATA}))


def refused(root: Path, *paths: str) -> DiskRefusal:
    before = tree(root, state=True)
    with pytest.raises(DiskRefusal) as caught:
        install(root, *paths)
    assert tree(root, state=True) == before
    assert caught.value.codes == (CODE_OF[caught.value.cause],)
    assert caught.value.hint
    return caught.value


def test_every_cause_has_a_code() -> None:
    assert set(CODE_OF.values()) <= set(CATALOGUE)


@pytest.mark.parametrize(
    "path",
    [
        "usr/bin/tool",
        "/",
        "//usr/bin/tool",
        "/usr/bin/",
        "/usr/../../etc/shadow",
        "/usr/./bin/tool",
        "/usr/bin/a\0b",
        "",
    ],
)
def test_paths_that_are_none(root: Path, path: str) -> None:
    assert refused(root, path).cause == "bad-path"


def directory(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path has 108 bytes at most
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize("make", [directory, fifo, unix_socket])
def test_what_is_no_file_is_not_replaced(
    root: Path, make: Callable[[Path], None]
) -> None:
    make(root / "usr/bin/odd")
    error = refused(root, "/usr/bin/odd")
    assert error.cause == "not-a-file"
    assert "/usr/bin/odd" in error.message


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes devices")
def test_a_device_is_not_replaced(root: Path) -> None:
    try:
        os.mknod(root / "usr/bin/null", 0o20666, os.makedev(1, 3))
    except PermissionError as error:
        pytest.skip(f"no devices here: {error}")
    assert refused(root, "/usr/bin/null").cause == "not-a-file"


def test_a_parent_that_is_a_file(root: Path) -> None:
    assert refused(root, "/usr/bin/tool/below").cause == "not-a-directory"


def test_a_parent_that_leads_nowhere(root: Path) -> None:
    (root / "dangling").symlink_to("no/such/place")
    assert refused(root, "/dangling/file").cause == "not-a-directory"


@pytest.mark.parametrize("target", ["/tmp", "../..", "../../etc", "usr/../../out"])
def test_links_that_leave_the_root(root: Path, target: str) -> None:
    (root / "etc/out").symlink_to(target)
    outside = set(root.parent.iterdir())
    assert refused(root, "/etc/out/file").cause in ("leaves-root", "not-a-directory")
    assert set(root.parent.iterdir()) == outside


def test_links_within_the_root_are_followed(root: Path) -> None:
    (root / "etc/within").symlink_to("../usr/bin")
    install(root, "/etc/within/file")
    assert (root / "usr/bin/file").read_bytes() == DATA


def test_links_that_lead_round_in_circles(root: Path) -> None:
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    assert refused(root, "/one/file").cause == "bad-path"


def test_two_files_in_one_place(root: Path) -> None:
    error = refused(root, "/lib/x", "/usr/lib/x")
    assert error.cause == "one-place-twice"
    assert "/lib/x" in error.message


def test_its_own_state(root: Path) -> None:
    error = refused(root, "/var/lib/lpengine/disk/transaction.json")
    assert error.cause == "own-state"


def test_an_owner_that_there_is_not(root: Path) -> None:
    file = disk_file("/usr/bin/x", DATA)
    file = type(file)(file.path, file.mode, "nobody-here", "root", file.content)
    with pytest.raises(DiskRefusal) as caught:
        open_disk(root).install(FIRST, "d", [file], contents_of({"": DATA}))
    assert caught.value.codes == ("LP-DSK-707",)


def test_room_is_needed_twice_per_file_system_in_whole_blocks(root: Path) -> None:
    (base,) = rooms_for([(root, 0, 0)])
    (room,) = rooms_for([(root, 1, 2), (root / "usr", 3 * base.block, 2)])
    assert room.needed - base.needed == 2 * 4 * base.block
    assert room.inodes_needed - base.inodes_needed == 4


def test_the_needs_of_an_install_cover_what_it_writes(root: Path) -> None:
    disk: Disk = open_disk(root)
    big = b"x" * 300_000
    transaction = disk.plan(FIRST, "d", [disk_file("/usr/bin/tool", big)])
    assert transaction is not None
    assert sum(room.needed for room in disk.rooms(transaction)) > 2 * len(big)
