"""Files of updates: put on a disk and taken off it."""

import os
from pathlib import Path

import pytest

from lpengine.errors import InputError, NotFoundError, StalePlanError
from lpengine.targets.disk import Disk, DiskRefusal, Kind, Purpose, System
from tests.disk_cases import (
    CHANGED,
    FIRST,
    FIRST_FILES,
    SECOND,
    SECOND_FILES,
    content,
    contents_of,
    disk_file,
    make_root,
    open_disk,
    put_on,
    tree,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root")


@pytest.fixture
def disk(root: Path) -> Disk:
    return open_disk(root)


def test_every_file_is_there_with_its_mode(root: Path, disk: Disk) -> None:
    put_on(disk)
    for path, data in FIRST_FILES.items():
        assert (root / path[1:]).read_bytes() == data
    assert (root / "usr/bin/tool").stat().st_mode & 0o7777 == 0o4755
    assert (root / "etc/tool.conf").stat().st_mode & 0o7777 == 0o600
    assert not (root / "etc/current").is_symlink()


def test_nothing_else_changes_and_nothing_is_left_behind(
    root: Path, disk: Disk
) -> None:
    before = tree(root)
    put_on(disk)
    after = tree(root)
    touched = {path[1:] for path in FIRST_FILES}
    made = {"usr/lib/xen-livepatch", "usr/lib/xen-livepatch/ab12"}
    assert {p for p in after if after[p] != before.get(p)} == touched | made
    assert disk.pending() is None


def test_uninstall_puts_everything_back(root: Path, disk: Disk) -> None:
    before, times = tree(root), modified(root)
    put_on(disk)
    taken = disk.uninstall(FIRST)
    assert taken.kept == ()
    assert tree(root) == before
    assert modified(root) == times
    assert disk.installed() == ()


def modified(root: Path) -> dict[str, int]:
    files = [path for path in root.rglob("*") if path.is_file()]
    own = root / "var/lib/lpengine"
    return {
        str(path): path.stat().st_mtime_ns
        for path in files
        if not path.is_relative_to(own)
    }


def test_the_state_directory_is_as_after_the_first_install_when_all_is_gone(
    root: Path, disk: Disk
) -> None:
    put_on(disk)
    disk.uninstall(FIRST)
    own = root / "var/lib/lpengine"
    assert [path for path in own.rglob("*") if not path.is_dir()] == []
    assert list((own / "disk/backups").iterdir()) == []


def test_installing_again_does_nothing(root: Path, disk: Disk) -> None:
    put_on(disk)
    before = tree(root, state=True)
    assert put_on(disk) is None
    assert tree(root, state=True) == before


def test_installing_again_repairs_what_was_damaged(root: Path, disk: Disk) -> None:
    pristine = tree(root)
    put_on(disk)
    after = tree(root)
    (root / "usr/bin/tool").write_bytes(CHANGED)
    (root / "usr/bin/fresh").unlink()
    settled = put_on(disk)
    assert settled is not None
    transaction = settled.transaction
    assert transaction.purpose is Purpose.REPAIR
    assert {c.path for c in transaction.changes} == {"/usr/bin/tool", "/usr/bin/fresh"}
    assert tree(root) == after
    kept = disk.records.backups(transaction.id)
    assert [path.read_bytes() for path in kept.iterdir()] == [CHANGED]
    disk.uninstall(FIRST)
    assert tree(root) == pristine


def test_updates_lie_upon_one_another(root: Path, disk: Disk) -> None:
    pristine = tree(root)
    put_on(disk)
    first = tree(root)
    put_on(disk, SECOND, SECOND_FILES)
    assert (root / "usr/lib/other").read_bytes() == SECOND_FILES["/lib/other"]
    assert [one.update for one in disk.installed()] == [FIRST, SECOND]
    with pytest.raises(DiskRefusal) as caught:
        disk.uninstall(FIRST)
    assert caught.value.cause == "built-upon"
    disk.uninstall(SECOND)
    assert tree(root) == first
    disk.uninstall(FIRST)
    assert tree(root) == pristine


def test_an_update_beneath_another_is_repaired_where_it_still_counts(
    root: Path, disk: Disk
) -> None:
    put_on(disk)
    put_on(disk, SECOND, SECOND_FILES)
    whole = tree(root)
    (root / "etc/tool.conf").write_bytes(CHANGED)
    put_on(disk)
    assert tree(root) == whole


def test_a_changed_file_stops_the_uninstall(root: Path, disk: Disk) -> None:
    put_on(disk)
    (root / "etc/tool.conf").write_bytes(CHANGED)
    (root / "usr/bin/tool").chmod(0o700)
    before = tree(root, state=True)
    with pytest.raises(DiskRefusal, match=r"/usr/bin/tool.*/etc/tool.conf") as caught:
        disk.uninstall(FIRST)
    assert caught.value.cause == "file-changed"
    assert caught.value.codes == ("LP-DSK-708",)
    assert tree(root, state=True) == before


def test_a_changed_file_is_kept_on_request(root: Path, disk: Disk) -> None:
    before = tree(root)
    put_on(disk)
    (root / "etc/tool.conf").write_bytes(CHANGED)
    taken = disk.uninstall(FIRST, keep_changed=True)
    assert [one.change.path for one in taken.kept] == ["/etc/tool.conf"]
    after = tree(root)
    assert after.pop("etc/tool.conf") == ("file", CHANGED, 0o600)
    before.pop("etc/tool.conf")
    assert after == before


def test_directories_that_others_use_stay(root: Path, disk: Disk) -> None:
    put_on(disk)
    stranger = root / "usr/lib/xen-livepatch/stranger"
    stranger.write_bytes(b"")
    disk.uninstall(FIRST)
    assert stranger.exists()
    assert not (root / "usr/lib/xen-livepatch/ab12").exists()


def test_deviations_name_what_somebody_changed(root: Path, disk: Disk) -> None:
    put_on(disk)
    (one,) = disk.installed()
    assert disk.deviations(one) == ()
    (root / "usr/bin/tool").unlink()
    (deviation,) = disk.deviations(one)
    assert deviation.change.path == "/usr/bin/tool"
    assert deviation.now.kind is Kind.ABSENT


def test_a_root_may_be_moved(tmp_path: Path, root: Path, disk: Disk) -> None:
    """An image is filled in one place and booted in another."""
    before = tree(root)
    put_on(disk)
    moved = root.rename(tmp_path / "elsewhere")
    open_disk(moved).uninstall(FIRST)
    assert tree(moved) == before


def test_capabilities_and_labels_are_kept(root: Path, disk: Disk) -> None:
    tool = root / "usr/bin/tool"
    try:
        os.setxattr(tool, "user.label", b"trusted")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    put_on(disk)
    assert os.getxattr(tool, "user.label") == b"trusted"
    disk.uninstall(FIRST)
    assert os.getxattr(tool, "user.label") == b"trusted"


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_owners_are_those_of_the_root(root: Path, disk: Disk) -> None:
    (root / "etc/passwd").write_text("daemon:x:77:88::/:/bin/false\n")
    (root / "etc/group").write_text("staff:x:99:\n")
    file = disk_file("/usr/bin/given", b"x")
    given = type(file)(file.path, 0o2750, "daemon", "staff", file.content)
    disk.install(FIRST, "d", [given], contents_of({"": b"x"}))
    found = (root / "usr/bin/given").stat()
    assert (found.st_uid, found.st_gid) == (77, 99)
    assert found.st_mode & 0o7777 == 0o2750


def test_the_same_id_with_other_contents_is_refused(disk: Disk) -> None:
    put_on(disk)
    with pytest.raises(DiskRefusal) as caught:
        disk.install(FIRST, "another digest", [], contents_of({}))
    assert caught.value.codes == ("LP-DEP-504",)


def test_a_lying_archive_changes_nothing(root: Path, disk: Disk) -> None:
    before = tree(root)
    file = disk_file("/usr/bin/tool", b"announced")
    with pytest.raises(InputError, match="not the one announced"):
        disk.install(
            FIRST, "d", [file], lambda _: contents_of({"": b"sent"})(content(b"sent"))
        )
    assert tree(root) == before
    assert disk.pending() is None


def test_a_file_that_changes_meanwhile_stops_it(root: Path) -> None:
    """Somebody writes to a file after it was backed up."""
    tool = root / "usr/bin/tool"

    class Meddling(System):
        def link(self, path: Path, name: Path) -> None:
            super().link(path, name)
            if path == tool:
                path.write_bytes(CHANGED)

    before = tree(root)
    disk = open_disk(root, Meddling())
    with pytest.raises(StalePlanError, match="/usr/bin/tool changed"):
        put_on(disk)
    before["usr/bin/tool"] = ("file", CHANGED, 0o755)
    assert tree(root) == before


def test_only_what_is_installed_can_be_taken_off(disk: Disk) -> None:
    with pytest.raises(NotFoundError, match="LPU-9"):
        disk.uninstall("LPU-9")


def test_a_damaged_record_is_named(root: Path, disk: Disk) -> None:
    put_on(disk)
    (path,) = (root / "var/lib/lpengine/disk/installed").iterdir()
    path.write_bytes(b"{")
    with pytest.raises(InputError, match=str(path)):
        disk.installed()


def test_nothing_is_written_by_looking(root: Path, disk: Disk) -> None:
    before = tree(root, state=True)
    assert disk.installed() == ()
    assert disk.pending() is None
    assert disk.recover() is None
    assert tree(root, state=True) == before
