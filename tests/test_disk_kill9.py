"""kill -9 before any line of the disk's code: the next command finds the old or the
new files, or makes them, and works."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.disk_cases import open_disk
from tests.dying import LPENGINE, count_lines, dies
from tests.test_disk_power import DEEDS, Scene, assert_whole

SOURCES = (LPENGINE / "targets/disk",)

# Every so many lines in the fast run; coprime to the length of loops.
SAMPLE = 97


def recover(scene: Scene) -> Callable[[], object]:
    return lambda: open_disk(scene.root).recover()


def sweep(scene: Scene, every: int) -> None:
    def act() -> None:
        scene.deed(open_disk(scene.root))

    scene.set_up()
    lines = count_lines(act, SOURCES)
    for line in range(0, lines, every):
        scene.set_up()
        assert dies(act, SOURCES, line), line
        dies(recover(scene), SOURCES, line % 311)
        if assert_whole(scene) == scene.old:
            act()
            assert_whole(scene)


@pytest.mark.parametrize("name", ["install", "uninstall"])
def test_killed_anywhere(tmp_path: Path, name: str) -> None:
    sweep(Scene(tmp_path, name), SAMPLE)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEDS)
def test_killed_at_every_line(tmp_path: Path, name: str) -> None:
    sweep(Scene(tmp_path, name), 1)
