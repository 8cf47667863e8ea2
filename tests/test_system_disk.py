"""Full, read-only and strange file systems, mounted for real."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lpengine.errors import LpengineError
from lpengine.targets.disk import Disk, DiskRefusal
from tests.disk_cases import (
    FIRST,
    contents_of,
    disk_file,
    make_root,
    put_on,
    tree,
)
from tests.missing import not_there

pytestmark = pytest.mark.system

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """`mount("size=1m")` -> where a new tmpfs is."""
    mounted: list[Path] = []

    def make(options: str, kind: str = "tmpfs", what: str = "none") -> Path:
        place = tmp_path / f"mount{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", kind, "-o", options, what, place]
        try:
            subprocess.run(command, capture_output=True, check=True)
        except subprocess.CalledProcessError as error:
            not_there("cannot mount here", error)
        mounted.append(place)
        return place

    yield make
    for place in reversed(mounted):
        subprocess.run(["umount", place], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def install(disk: Disk, size: int, path: str = "/usr/bin/tool") -> None:
    data = os.urandom(size)
    disk.install(FIRST, "d", [disk_file(path, data)], contents_of({"": data}))


def test_too_little_space_is_refused_beforehand(mount: Mount) -> None:
    root = make_root(mount("size=2m") / "root")
    before = tree(root, state=True)
    with pytest.raises(DiskRefusal, match="bytes are free") as caught:
        install(Disk(root), 1 << 20)
    assert caught.value.codes == ("LP-DSK-701",)
    assert tree(root, state=True) == before


def test_enough_space_is_enough_also_for_the_way_back(mount: Mount) -> None:
    root = make_root(mount("size=4m") / "root")
    before = tree(root)
    install(Disk(root), 1 << 20)
    Disk(root).uninstall(FIRST)
    assert tree(root) == before


def test_too_few_inodes_are_refused_beforehand(mount: Mount) -> None:
    root = make_root(mount("size=4m,nr_inodes=24") / "root")
    with pytest.raises(DiskRefusal, match="files may still be made") as caught:
        put_on(Disk(root))
    assert caught.value.codes == ("LP-DSK-701",)


def test_space_that_goes_while_it_is_used(mount: Mount) -> None:
    """Somebody else fills the disk after it was measured."""
    place = mount("size=4m")
    root = make_root(place / "root")
    before = tree(root)
    data = os.urandom(1 << 20)

    def thieving(_: object) -> object:
        with (place / "thief").open("wb") as file:
            file.write(bytes(os.statvfs(place).f_bavail * 4096 - (64 << 10)))
        return contents_of({"": data})(file_.content)

    file_ = disk_file("/usr/bin/tool", data)
    with pytest.raises(LpengineError) as caught:
        Disk(root).install(FIRST, "d", [file_], thieving)  # type: ignore[arg-type]
    assert "No space left" in caught.value.message
    assert tree(root) == before
    assert Disk(root).pending() is None


def test_a_read_only_root_is_refused(mount: Mount) -> None:
    place = mount("size=4m")
    root = make_root(place / "root")
    before = tree(root)
    remount(place, "ro")
    with pytest.raises(DiskRefusal) as caught:
        put_on(Disk(root))
    assert caught.value.codes == ("LP-DSK-703",)
    assert tree(root) == before


def test_a_root_on_two_file_systems(mount: Mount) -> None:
    """The state directory on another one than the files: nothing is renamed across."""
    root = make_root(mount("size=4m") / "root")
    disk = Disk(root, mount("size=1m") / "state")
    before = tree(root)
    put_on(disk)
    assert tree(root) != before
    disk.uninstall(FIRST)
    assert tree(root) == before


def test_a_file_that_is_a_mount_point(mount: Mount, tmp_path: Path) -> None:
    """rename(2) answers EBUSY in the middle of the commit: all goes back."""
    root = make_root(tmp_path / "root")
    tool = root / "usr/bin/tool"
    subprocess.run(["mount", "--bind", root / "etc/tool.conf", tool], check=True)
    try:
        before = tree(root)
        with pytest.raises(LpengineError):
            put_on(Disk(root))
        assert tree(root) == before
        assert Disk(root).pending() is None
    finally:
        subprocess.run(["umount", tool], check=True)


def test_an_ext4_image(mount: Mount, tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    root = make_root(mount("loop", "ext4", str(image)) / "root")
    before = tree(root)
    put_on(Disk(root))
    Disk(root).uninstall(FIRST)
    assert tree(root) == before
