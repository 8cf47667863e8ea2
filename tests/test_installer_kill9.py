"""kill -9 before any line of what installs, takes off and recovers: files are wholly
the old or the new ones, the journal tells the truth, and the next command works."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.api.recovery import recover_host
from lpengine.installer.request import Request
from lpengine.journal import lock_holder
from lpengine.journal.host import HostJournal
from tests.dying import LPENGINE, count_lines, dies
from tests.site_cases import FIRST, OTHER, TOOL, EmulatedHost, Workshop, api

SOURCES = tuple(
    LPENGINE / room
    for room in ("installer", "journal", "targets/disk", "targets/packages")
)
FILES = {TOOL: b"new tool", OTHER: b"new"}
OLD = {TOOL: b"old tool", OTHER: None}

Act = Callable[[EmulatedHost], object]


class Scene:
    """A host before an act, copied for every death."""

    def __init__(self, host: EmulatedHost, act: Act, directory: Path) -> None:
        self.host = host
        self.act = act
        self.pristine = directory / "pristine"
        shutil.copytree(host.root, self.pristine, symlinks=True)

    def set_up(self) -> None:
        shutil.rmtree(self.host.root)
        shutil.copytree(self.pristine, self.host.root, symlinks=True)

    def lines(self) -> int:
        self.set_up()
        return count_lines(lambda: self.act(self.host), SOURCES)

    def die_at(self, line: int, boot: bool) -> None:
        self.set_up()
        assert dies(lambda: self.act(self.host), SOURCES, line), line
        if boot:
            self.host.boot()
        # The recovery dies as well, at some other place.
        dies(lambda: recover(self.host), SOURCES, line % 401)
        recover(self.host)


def recover(host: EmulatedHost) -> None:
    recover_host(tuple(host.here.site.targets.values()))
    api.recover(host.here)


def assert_whole(host: EmulatedHost) -> bool:
    """Whether the update is on the disk. Everybody has to agree about that."""
    site = host.here.site
    assert lock_holder(site.state) is None
    found = {path: host.read(path) for path in FILES}
    assert found in (OLD, FILES)
    with HostJournal(site.state) as journal:
        assert journal.open_run() is None
        kept = [one.id for one in journal.updates()]
    installed = found == FILES
    assert kept == ([FIRST] if installed else [])
    assert [one.update for one in site.disk.installed()] == kept
    assert site.disk.pending() is None
    assert not list(host.root.rglob(".lpengine-*"))
    return installed


def sweep(scene: Scene, every: int, first: int, ended: Callable[[bool], None]) -> None:
    lines = scene.lines()
    for number, line in enumerate([*range(first, lines, every), lines - 1]):
        scene.die_at(line, boot=number % 2 == 1)
        ended(assert_whole(scene.host))
        assert api.recover(scene.host.here) is None


def sweep_install(host: EmulatedHost, workshop: Workshop, directory: Path, every: int):  # type: ignore[no-untyped-def]
    update = workshop.update(files=FILES)
    scene = Scene(host, lambda host: host.install(update), directory)
    seen = set()

    def ended(installed: bool) -> None:
        seen.add(installed)
        # A boot in the middle of it looks like a crash.
        host.install(update, request=Request(retry_crashed=True))
        assert assert_whole(host)
        assert host.running == "+LP1"
        assert host.status().plan.no_action_required

    sweep(scene, every, 3, ended)
    assert seen == {True, False}


def sweep_uninstall(
    host: EmulatedHost, workshop: Workshop, directory: Path, every: int
) -> None:
    host.install(workshop.update(files=FILES))
    scene = Scene(host, lambda host: host.uninstall(), directory)
    seen = set()

    def ended(installed: bool) -> None:
        seen.add(installed)
        if installed:
            host.uninstall()
        assert not assert_whole(host)
        assert host.running != "+LP1"

    sweep(scene, every, 3, ended)
    assert seen == {True, False}


def sweep_boot(
    host: EmulatedHost, workshop: Workshop, directory: Path, every: int
) -> None:
    host.install(workshop.update(files=FILES))
    host.boot()
    scene = Scene(host, lambda host: api.boot(host.here), directory)

    def ended(installed: bool) -> None:
        assert installed
        api.boot(host.here, retry_crashed=True)
        assert host.running == "+LP1"

    sweep(scene, every, 3, ended)


def test_install_killed_anywhere(
    emulated_host: EmulatedHost, workshop: Workshop, tmp_path: Path
) -> None:
    sweep_install(emulated_host, workshop, tmp_path, 907)


def test_uninstall_killed_anywhere(
    emulated_host: EmulatedHost, workshop: Workshop, tmp_path: Path
) -> None:
    sweep_uninstall(emulated_host, workshop, tmp_path, 709)


@pytest.mark.slow
@pytest.mark.parametrize("act", [sweep_install, sweep_uninstall, sweep_boot])
def test_killed_at_many_lines(
    emulated_host: EmulatedHost,
    workshop: Workshop,
    tmp_path: Path,
    act: Callable[[EmulatedHost, Workshop, Path, int], None],
) -> None:
    act(emulated_host, workshop, tmp_path, 61)
