"""Power cuts at any call, on a disk that keeps of what was not synced whatever it
likes: after recovery all files are the old ones, or all are the new ones."""

import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.errors import LpengineError
from lpengine.targets.disk import Disk
from tests.disk_cases import (
    CHANGED,
    FIRST,
    FIRST_FILES,
    SECOND,
    SECOND_FILES,
    Tree,
    make_root,
    open_disk,
    put_on,
    tree,
)
from tests.disk_power import ForgetfulDisk, PowerCut

FOREVER = 1 << 30

# Every so many calls in the fast run.
SAMPLE = 5

Act = Callable[[Disk], object]


def nothing(_: Disk) -> None:
    pass


def install_first(disk: Disk) -> None:
    put_on(disk)


def install_second(disk: Disk) -> None:
    put_on(disk, SECOND, SECOND_FILES)


def both(disk: Disk) -> None:
    install_first(disk)
    install_second(disk)


def damaged(disk: Disk) -> None:
    install_first(disk)
    (disk.root / "usr/bin/tool").write_bytes(CHANGED)
    (disk.root / "etc/tool.conf").unlink()


# Name -> what is there before, and what is done while the power fails.
DEEDS: dict[str, tuple[Act, Act]] = {
    "install": (nothing, install_first),
    "install-over": (install_first, install_second),
    "repair": (damaged, install_first),
    "uninstall": (install_first, lambda disk: disk.uninstall(FIRST)),
    "uninstall-top": (both, lambda disk: disk.uninstall(SECOND)),
}


class Scene:
    """A root before and after a deed, copied for every power cut."""

    def __init__(self, directory: Path, name: str) -> None:
        before, self.deed = DEEDS[name]
        self.pristine = directory / "pristine"
        self.root = directory / "root"
        make_root(self.pristine)
        before(open_disk(self.pristine))
        self.old = tree(self.pristine)
        self.set_up()
        forgetful = ForgetfulDisk(self.root, FOREVER)
        self.deed(open_disk(self.root, forgetful))
        self.new = tree(self.root)
        self.calls = forgetful.calls

    def set_up(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.pristine, self.root, symlinks=True)

    def cut(self, after: int, act: Act, chance: random.Random) -> bool:
        """Whether the power failed; then the disk is as it came up again."""
        forgetful = ForgetfulDisk(self.root, after)
        try:
            act(open_disk(self.root, forgetful))
        except PowerCut:
            forgetful.restart(chance)
            return True
        return False


def recover(disk: Disk) -> None:
    disk.recover()


def assert_whole(scene: Scene) -> Tree:
    disk = open_disk(scene.root)
    settled = disk.recover()
    assert settled is None or settled.left == ()
    assert disk.pending() is None
    assert disk.recover() is None
    found = tree(scene.root)
    assert found in (scene.old, scene.new)
    for installed in disk.installed():
        assert disk.deviations(installed) == () or found == scene.old
    return found


def cut_everywhere(scene: Scene, every: int, times: int) -> set[bool]:
    """Cut at so many calls, several outcomes each; which ends were seen (new?)."""
    ends = set()
    for after, seed in itertools.product(range(0, scene.calls, every), range(times)):
        scene.set_up()
        assert scene.cut(after, scene.deed, random.Random(after * 1000 + seed))
        found = assert_whole(scene)
        ends.add(found == scene.new)
        if found == scene.old:
            scene.deed(open_disk(scene.root))
            assert tree(scene.root) == scene.new
    return ends


def cut_twice(scene: Scene, every: int, every_second: int) -> None:
    """Cut at a call, and then again at a call of the recovery."""
    for first in range(0, scene.calls, every):
        for second in itertools.count(first % every_second, every_second):
            chance = random.Random(first * 1000)
            scene.set_up()
            scene.cut(first, scene.deed, chance)
            more = scene.cut(second, recover, chance)
            assert_whole(scene)
            if not more:
                break


@pytest.mark.parametrize("name", DEEDS)
def test_power_cuts_during(tmp_path: Path, name: str) -> None:
    ends = cut_everywhere(Scene(tmp_path, name), SAMPLE, 1)
    assert ends == {True, False}, "both ends have to be seen, or the test is none"


@pytest.mark.parametrize("name", ["install", "uninstall"])
def test_power_cuts_during_the_recovery_of(tmp_path: Path, name: str) -> None:
    cut_twice(Scene(tmp_path, name), 9 * SAMPLE, SAMPLE)


def test_before_recovery_each_file_is_old_or_new(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "install")
    mixtures = 0
    for after in range(1, scene.calls, SAMPLE):
        scene.set_up()
        scene.cut(after, scene.deed, random.Random(after))
        found = tree(scene.root)
        for path in (path[1:] for path in FIRST_FILES):
            assert found.get(path) in (scene.old.get(path), scene.new.get(path))
        of_update = {path for path in found if ".lpengine-" not in path}
        visible = {path: found[path] for path in of_update}
        mixtures += visible not in (scene.old, scene.new)
    assert mixtures, "the disk has to show that recovery is needed"


def test_a_disk_that_is_never_synced_is_caught(tmp_path: Path) -> None:
    """The model itself: without syncing, an install does not survive."""
    scene = Scene(tmp_path, "install")

    class Hasty(ForgetfulDisk):
        def sync(self, descriptor: int) -> None:
            self.call()

        def sync_directory(self, path: Path) -> None:
            self.call()

    for seed in range(40):
        scene.set_up()
        hasty = Hasty(scene.root, scene.calls - 2)
        with pytest.raises(PowerCut):
            scene.deed(open_disk(scene.root, hasty))
        hasty.restart(random.Random(seed))
        try:
            assert_whole(scene)
        except (AssertionError, LpengineError):
            return
    pytest.fail("it survived")


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEDS)
def test_many_outcomes_of_power_cuts_at_every_call(tmp_path: Path, name: str) -> None:
    cut_everywhere(Scene(tmp_path, name), 1, 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEDS)
def test_two_power_cuts_at_every_pair_of_calls(tmp_path: Path, name: str) -> None:
    cut_twice(Scene(tmp_path, name), 3, 1)
