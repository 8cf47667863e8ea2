"""Every call that changes the disk fails, one after the other: nothing has changed, or
everything has, and nothing is left behind."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lpengine.errors import LpengineError, StuckError, TargetError
from lpengine.targets.disk import System
from tests.disk_cases import FIRST, make_root, open_disk, put_on, tree
from tests.test_disk_power import DEEDS, Scene

FAST = ("install", "uninstall")

# Every so many calls in the fast run, another one for each scene.
SAMPLE = 3

CALLS = [name for name in vars(System) if not name.startswith("_") and name != "close"]


class Interrupted(BaseException):
    """As KeyboardInterrupt, which would stop the tests if one got away."""


class Failing(System):
    """From the call number `first` on, `count` calls fail."""

    def __init__(self, first: int, count: int, failure: Callable[[], Any]) -> None:
        self.first, self.last, self.failure = first, first + count, failure
        self.calls = 0

    def __getattribute__(self, name: str) -> Any:
        if name in CALLS:
            object.__getattribute__(self, "count_one")(name)
        if name in ("sync", "sync_directory"):
            return lambda _: None
        return object.__getattribute__(self, name)

    def count_one(self, name: str) -> None:
        number = self.calls
        self.calls += 1
        if self.first <= number < self.last:
            raise self.failure()


# In the fast run the two that every host sees.
EACH = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in DEEDS
]


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "/somewhere")


def broken() -> OSError:
    return OSError(errno.EIO, "Input/output error", "/somewhere")


@pytest.mark.parametrize("failure", [full, broken])
@pytest.mark.parametrize("name", EACH)
def test_one_call_fails(
    tmp_path: Path, name: str, failure: Callable[[], BaseException]
) -> None:
    """What is raised has changed nothing; what is not raised has done everything."""
    fail_once(Scene(tmp_path, name), failure, SAMPLE)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEDS)
def test_every_single_call_fails(tmp_path: Path, name: str) -> None:
    fail_once(Scene(tmp_path, name), broken, 1)


def fail_once(scene: Scene, failure: Callable[[], BaseException], every: int) -> None:
    for call in range(len(scene.old) % every, scene.calls, every):
        scene.set_up()
        failing = Failing(call, 1, failure)
        try:
            scene.deed(open_disk(scene.root, failing))
        except TargetError:
            assert tree(scene.root) == scene.old, call
            assert open_disk(scene.root).pending() is None, call
        else:
            assert tree(scene.root) in (scene.new, with_leftovers(scene)), call
            open_disk(scene.root).recover()
            assert tree(scene.root) == scene.new, call


@pytest.mark.parametrize("name", EACH)
def test_an_interruption_at_any_call(tmp_path: Path, name: str) -> None:
    """The engine holds interruptions back; one that comes through all the same ends
    at the start, or goes on to the end with the next command."""
    scene = Scene(tmp_path, name)
    ends = set()
    for call in range(0, scene.calls, SAMPLE):
        scene.set_up()
        with pytest.raises(Interrupted):
            scene.deed(open_disk(scene.root, Failing(call, 1, Interrupted)))
        pending = open_disk(scene.root).pending()
        if pending is None:
            assert tree(scene.root) in (scene.old, scene.new), call
        else:
            open_disk(scene.root).recover()
            assert tree(scene.root) == scene.new, call
        ends.add(pending is None)
    assert ends == {True, False}


def with_leftovers(scene: Scene) -> object:
    """A failure after the new files count leaves second names behind."""
    found = tree(scene.root)
    if open_disk(scene.root).pending() is None:
        return None
    names = {path for path in found if ".lpengine-" in path}
    rest = {path: found[path] for path in found if path not in names}
    extra = {p for p in rest if p not in scene.new and rest[p] == ("a directory",)}
    visible = {path: rest[path] for path in rest if path not in extra}
    return found if visible == scene.new else None


@pytest.mark.parametrize("name", EACH)
def test_everything_fails_from_one_call_on(tmp_path: Path, name: str) -> None:
    """The way back fails too: it is said, and repaired once the disk works again."""
    scene = Scene(tmp_path, name)
    stuck = 0
    for call in range(0, scene.calls, SAMPLE):
        scene.set_up()
        error = failure_of(scene, Failing(call, 1 << 30, broken))
        if isinstance(error, StuckError):
            stuck += 1
            assert error.left
            assert "lpengine recover" in error.hint
        elif error is not None:
            assert tree(scene.root) == scene.old
        disk = open_disk(scene.root)
        disk.recover()
        assert disk.pending() is None
        assert tree(scene.root) in (scene.old, scene.new), call
    assert stuck


def failure_of(scene: Scene, failing: Failing) -> LpengineError | None:
    try:
        scene.deed(open_disk(scene.root, failing))
    except LpengineError as error:
        return error
    return None


def test_a_file_system_without_hard_links(tmp_path: Path) -> None:
    class Vfat(System):
        def link(self, path: Path, name: Path) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

    root = make_root(tmp_path / "root")
    before = tree(root)
    put_on(open_disk(root, Vfat()))
    assert tree(root) != before
    open_disk(root, Vfat()).uninstall(FIRST)
    assert tree(root) == before


def test_a_full_disk_is_said_with_the_way_out(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    with pytest.raises(TargetError) as caught:
        put_on(open_disk(root, Failing(20, 1, full)))
    assert caught.value.errno == "ENOSPC"
    assert "free space" in caught.value.hint
