"""Packages of updates through dpkg and rpm, each on a root of its own."""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from lpengine.errors import LockedError, NotFoundError, StuckError, TargetError
from lpengine.package.model import Content, DiskPackage
from lpengine.targets.disk import DiskRefusal
from lpengine.targets.packages import (
    Packages,
    PackageTool,
    find_tool,
)
from tests.disk_cases import Unsynced
from tests.package_builds import (
    PATH,
    build_deb,
    build_rpm,
    debian_root,
    disk_package,
    rpm_root,
)

UPDATE, LATER = "LPU-1", "LPU-2"


class Site:
    """A root with a package manager, and archives for it."""

    def __init__(self, directory: Path, format: str) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.format = format
        self.tool: PackageTool = {"deb": debian_root, "rpm": rpm_root}[format](
            self.root
        )
        self.build = {"deb": build_deb, "rpm": build_rpm}[format]
        self.packages = self.reopened()
        self.archives: dict[str, Path] = {}

    def reopened(self) -> Packages:
        state = self.root / "var/lib/lpengine/packages"
        return Packages(state, self.tool, Unsynced())

    def archive(self, name: str, version: str, **options: object) -> DiskPackage:
        path = self.build(self.directory, name, version, **options)  # type: ignore[operator]
        package = disk_package(path, name, version)
        self.archives[package.content.sha256] = path
        return package

    def contents(self, content: Content) -> Sequence[bytes]:
        return [self.archives[content.sha256].read_bytes()]

    def install(self, *packages: DiskPackage, update: str = UPDATE) -> object:
        return self.packages.install(update, f"of {update}", packages, self.contents)

    def versions(self) -> dict[str, str]:
        present = self.tool.present()
        return {name.name: str(there) for name, there in present.items()}

    def content(self, name: str) -> str:
        return (self.root / PATH / name).read_text()


@pytest.fixture(params=["deb", "rpm"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return Site(tmp_path, request.param)


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Packages' scripts run here, since there is no shell below the root."""
    monkeypatch.setenv("DPKG_FORCE", "script-chrootless")
    return Site(tmp_path, "deb")


def test_new_packages_come_and_go(site: Site) -> None:
    site.install(site.archive("one", "1.0-1"), site.archive("two", "2.0-1"))
    assert site.versions() == {"one": "1.0-1", "two": "2.0-1"}
    assert site.content("one") == "1.0-1"
    assert site.packages.pending() is None
    site.packages.uninstall(UPDATE)
    assert site.versions() == {}
    assert site.packages.installed() == ()
    assert list((site.root / "var/lib/lpengine/packages/archives").iterdir()) == []


def test_an_upgrade_goes_back_to_what_an_earlier_update_brought(site: Site) -> None:
    site.install(site.archive("one", "1.0-1"))
    site.install(site.archive("one", "2.0-1"), update=LATER)
    assert site.content("one") == "2.0-1"
    with pytest.raises(DiskRefusal) as caught:
        site.packages.uninstall(UPDATE)
    assert caught.value.cause == "built-upon"
    site.packages.uninstall(LATER)
    assert site.versions() == {"one": "1.0-1"}
    assert site.content("one") == "1.0-1"


def test_without_the_archive_of_before_it_cannot_be_taken_back(site: Site) -> None:
    site.archive("one", "1.0-1")
    (archive,) = site.archives.values()
    site.tool.install([archive])
    site.install(site.archive("one", "2.0-1"))
    with pytest.raises(DiskRefusal, match=r"no archive of one\.\w+ 1\.0-1") as caught:
        site.packages.uninstall(UPDATE)
    assert caught.value.codes == ("LP-DSK-710",)
    assert site.versions() == {"one": "2.0-1"}


def test_the_package_managers_cache_is_used_and_kept(debian: Site) -> None:
    old = debian.archive("one", "1.0-1")
    cache = debian.root / "var/cache/apt/archives"
    cache.mkdir(parents=True)
    path = debian.archives[old.content.sha256]
    debian.tool.install([path])
    path.rename(cache / path.name)
    debian.install(debian.archive("one", "2.0-1"))
    (cache / path.name).unlink()
    debian.packages.uninstall(UPDATE)
    assert debian.versions() == {"one": "1.0-1"}


def test_a_newer_package_is_left_alone(site: Site) -> None:
    site.archive("one", "3.0-1")
    site.tool.install(list(site.archives.values()))
    site.install(site.archive("one", "2.0-1"), site.archive("two", "1.0-1"))
    assert site.versions() == {"one": "3.0-1", "two": "1.0-1"}
    (packages,) = site.packages.installed()
    assert site.packages.deviations(packages) == ()
    site.packages.uninstall(UPDATE)
    assert site.versions() == {"one": "3.0-1"}


def test_installing_again_does_nothing(site: Site) -> None:
    package = site.archive("one", "1.0-1")
    site.install(package)
    assert site.install(package) is None


def test_what_somebody_has_changed_since_is_named(site: Site) -> None:
    site.install(site.archive("one", "1.0-1"))
    (packages,) = site.packages.installed()
    assert site.packages.deviations(packages) == ()
    site.archive("one", "3.0-1")
    site.tool.install([list(site.archives.values())[-1]])
    (line,) = site.packages.deviations(packages)
    assert "3.0-1" in line


def test_unmet_dependencies_are_refused_beforehand(site: Site) -> None:
    field = {"deb": "Depends: not-there\n", "rpm": "Requires: not-there\n"}
    package = site.archive("one", "1.0-1", fields=field[site.format])
    with pytest.raises(DiskRefusal, match="not-there") as caught:
        site.install(package)
    assert caught.value.codes == ("LP-DSK-702",)
    assert site.versions() == {}
    assert site.packages.pending() is None
    assert list((site.root / "var/lib/lpengine/packages/archives").iterdir()) == []


def test_a_package_that_would_push_another_out_is_refused(debian: Site) -> None:
    old = debian.archive("one", "1.0-1")
    debian.tool.install([debian.archives[old.content.sha256]])
    package = debian.archive("two", "1.0-1", fields="Conflicts: one\n")
    with pytest.raises(DiskRefusal, match="would remove one"):
        debian.install(package)
    assert debian.versions() == {"one": "1.0-1"}


def test_packages_of_another_manager_are_refused(debian: Site) -> None:
    package = debian.archive("one", "1.0-1")
    foreign = DiskPackage("rpm", "one", "noarch", package.version, package.content)
    with pytest.raises(DiskRefusal) as caught:
        debian.install(foreign)
    assert caught.value.cause == "package-tool-missing"


def test_a_package_manager_that_dies_is_taken_back(debian: Site) -> None:
    """The new version's script kills dpkg in the middle of its work."""
    debian.install(debian.archive("one", "1.0-1"))
    deadly = debian.archive("one", "2.0-1", scripts={"preinst": "kill -9 $PPID"})
    with pytest.raises(TargetError) as caught:
        debian.install(deadly, update=LATER)
    assert caught.value.cause == "package-manager-failed"
    assert debian.versions() == {"one": "1.0-1"}
    assert debian.content("one") == "1.0-1"
    assert debian.packages.pending() is None


def test_what_cannot_be_taken_back_is_said_exactly(debian: Site) -> None:
    old = debian.archive("one", "1.0-1")
    debian.tool.install([debian.archives[old.content.sha256]])
    needed = debian.root / "needed"
    failing = debian.archive("one", "2.0-1", scripts={"postinst": f"test -e {needed}"})
    with pytest.raises(StuckError) as caught:
        debian.install(failing)
    assert caught.value.left == ("one.all is 2.0-1, not configured, wanted was 1.0-1",)
    assert debian.packages.pending() is not None
    # The administrator puts it right; recovery carries on from there.
    needed.touch()
    settled = debian.reopened().recover()
    assert settled is not None
    assert settled.done
    assert debian.versions() == {"one": "2.0-1"}
    assert debian.packages.pending() is None


def test_a_locked_package_manager_is_named(debian: Site) -> None:
    package = debian.archive("one", "1.0-1")
    with (debian.root / "var/lib/dpkg/lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        with pytest.raises(LockedError):
            debian.install(package)
    assert debian.versions() == {}


def test_only_what_is_installed_can_be_taken_off(debian: Site) -> None:
    with pytest.raises(NotFoundError, match="LPU-9"):
        debian.packages.uninstall("LPU-9")


def test_the_package_manager_is_found(site: Site) -> None:
    assert find_tool(site.root).format == site.format


@pytest.mark.slow
def test_dpkg_and_lpengine_killed_together(debian: Site) -> None:
    """At many moments of a real upgrade."""
    debian.install(debian.archive("one", "1.0-1"))
    package = debian.archive("one", "2.0-1", scripts={"preinst": "sleep 0.05"})
    start = time.monotonic()
    debian.install(package, update=LATER)
    whole = time.monotonic() - start
    debian.packages.uninstall(LATER)
    ends = set()
    for part in range(1, 41):
        delay = whole * part / 25  # a busy machine is slower at times
        killed_after(lambda: debian.install(package, update=LATER), delay)
        debian.reopened().recover()
        assert debian.packages.pending() is None
        ends.add(debian.versions()["one"])
        if debian.packages.find(LATER):
            debian.packages.uninstall(LATER)
        assert debian.versions() == {"one": "1.0-1"}
    assert ends == {"1.0-1", "2.0-1"}


def killed_after(action: Callable[[], object], delay: float) -> None:
    """Run it in a child, and after a while kill that and what it has started."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            action()
        os._exit(0)
    time.sleep(delay)
    os.kill(child, signal.SIGSTOP)  # it starts nothing more
    children = Path(f"/proc/{child}/task/{child}/children")
    for pid in (*map(int, children.read_text().split()), child):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os.waitpid(child, 0)
