"""What several tests share: images compiled here, Debian's Xen fetched by name."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.missing import not_there

if TYPE_CHECKING:
    from lpengine.elf import Image
    from lpengine.hosts.lab import Guest, Stock
    from tests.emulated_fleet import EmulatedFleet
    from tests.site_cases import EmulatedHost, Workshop

FIXTURES = Path(__file__).parent.parent / "fixtures"
# How long an example takes depends on what else the machine does.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

XEN_PACKAGE = "xen-hypervisor-4.17-amd64-dbg"


def _definition(name: str, value: object) -> str:
    """A compiler flag in the form that a shell inside make takes apart again."""
    text = f'\\"{value}\\"' if isinstance(value, str) else str(value)
    return f"-D{name}={text}"


def build_hv_in(directory: Path, **defines: object) -> Path:
    """Compile fixtures/hv into `directory`; VERSION_EXTRA=".8" is -D with a string."""
    flags = " ".join(_definition(name, value) for name, value in defines.items())
    command = ["make", "-s", "-C", FIXTURES / "hv", f"OUT={directory}"]
    done = subprocess.run(
        [*command, f"DEFINES={flags}"], capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        pytest.fail(f"fixtures/hv does not compile:\n{done.stderr}")
    return directory / "hv"


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs one command line as `main` does: (exit code, stdout, stderr)."""
    from lpengine.cli import run

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        output = capfd.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture(scope="session")
def build_hv() -> Callable[..., Path]:
    """`build_hv(directory, VERSION_EXTRA=".8")` -> the image compiled there."""
    return build_hv_in


@pytest.fixture(scope="session")
def hv_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hypervisor-like image of fixtures/hv, compiled once a session."""
    return build_hv_in(tmp_path_factory.mktemp("hv"))


@pytest.fixture(scope="session")
def hv(hv_image: Path) -> "Image":
    """`hv_image`, opened."""
    from lpengine.elf import open_image

    return open_image(hv_image)


@pytest.fixture(scope="session")
def patch_sources() -> Path:
    """The directory of C patches for the hypervisor-like image."""
    return FIXTURES / "patches"


@pytest.fixture
def machine_dir(tmp_path: Path) -> Path:
    """Where an emulated machine may be created; does not exist yet."""
    return tmp_path / "machine"


def _cache() -> Path:
    chosen = os.environ.get("LPENGINE_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "lpengine"


def _package(package: str) -> Path:
    """A Debian package's files; the test is skipped where they cannot be had."""
    try:
        return _fetch_package(package, _cache())
    except (OSError, subprocess.SubprocessError) as error:
        not_there(f"cannot fetch {package}", error)


def _fetch_package(package: str, directory: Path) -> Path:
    """Download and unpack a Debian package; the directory with its files. Complete
    or not there at all, also when several test runs do it at once."""
    unpacked = directory / package
    if unpacked.is_dir():
        return unpacked
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        # apt's own user could not write into a private cache directory.
        download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", package]
        _run(download, Path(scratch))
        (archive,) = Path(scratch).glob("*.deb")
        _run(["dpkg", "-x", archive, "files"], Path(scratch))
        try:
            (Path(scratch) / "files").rename(unpacked)
        except OSError:
            if not unpacked.is_dir():  # else another run was faster
                raise
    return unpacked


def _run(command: list[str | Path], directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=300)


@pytest.fixture(scope="session")
def package_files() -> Callable[[str], Path]:
    """`package_files("busybox-static")` -> its files, unpacked; for tests marked
    `system`."""
    return _package


@pytest.fixture(scope="session")
def xen_image() -> Path:
    """xen-syms of Debian's Xen 4.17, for tests marked `system`."""
    files = _package(XEN_PACKAGE)
    found = files.glob("usr/lib/debug/boot/xen-syms-*")
    return max(path for path in found if path.suffix != ".map")


def build_probe_in(directory: Path, base: int, *, writable_code: bool) -> Path:
    """Assemble fixtures/probe to run at `base`; code pages are RX or, as in Xen's
    image, RWX."""
    directory.mkdir(parents=True, exist_ok=True)
    source, linked = FIXTURES / "probe", directory / "probe"
    script = (source / "probe.lds").read_text().replace("BASE", hex(base))
    script = script.replace("CODE_FLAGS", "7" if writable_code else "5")
    (directory / "probe.lds").write_text(script)
    _run(["gcc", "-c", "-o", "probe.o", source / "probe.S"], directory)
    _run(["ld", "-T", "probe.lds", "-o", "probe", "probe.o"], directory)
    return linked


@pytest.fixture(scope="session")
def probe_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of functions that each do one thing to an emulated machine."""
    directory = tmp_path_factory.mktemp("probe")
    return build_probe_in(directory, 0xFFFF82D040200000, writable_code=False)


@pytest.fixture(scope="session")
def probe(probe_image: Path) -> "Image":
    """`probe_image`, opened."""
    from lpengine.elf import open_image

    return open_image(probe_image)


@pytest.fixture(scope="session")
def build_probe() -> Callable[..., Path]:
    """`build_probe(directory, base, writable_code=True)` -> the image."""
    return build_probe_in


def _booted(kind: str) -> Iterator["Guest"]:
    """A guest for the session, of packages fetched by name."""
    from lpengine.errors import LpengineError
    from lpengine.hosts import lab

    try:
        lab.fetch(kind)
    except LpengineError as error:
        not_there(f"cannot fetch packages for {kind} guests", error)
    with lab.boot(kind, name=f"{kind}-session-{os.getpid()}") as guest:
        yield guest


@pytest.fixture(scope="session")
def linux_image() -> "Stock":
    """Debian's Linux for clouds, unpacked: `.kernel` is its vmlinuz, `.modules` the
    directory of its modules; for tests marked `system`."""
    from lpengine.errors import LpengineError
    from lpengine.hosts import lab

    try:
        return lab.fetch("linux")
    except LpengineError as error:
        not_there("cannot fetch a Linux kernel", error)


@pytest.fixture(scope="session")
def xen_guest() -> Iterator["Guest"]:
    """Dom0 of Debian's Xen under QEMU; for tests marked `system`. Shared: leave no
    payload behind."""
    yield from _booted("xen")


@pytest.fixture(scope="session")
def linux_guest() -> Iterator["Guest"]:
    """Debian's Linux for clouds under QEMU; for tests marked `system`. Shared: leave
    no module behind."""
    yield from _booted("linux")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> "Workshop":
    """Updates for emulated hosts, signed."""
    from tests.site_cases import Workshop

    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def emulated_host(workshop: "Workshop", tmp_path: Path) -> "EmulatedHost":
    """A tree of files with a machine in it, as a host that updates go to."""
    from tests.site_cases import EmulatedHost

    return EmulatedHost(workshop, tmp_path / "host")


@pytest.fixture
def emulated_fleet(
    workshop: "Workshop", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> "EmulatedFleet":
    """Two pools of such hosts, for the command line: it finds their pool.toml, and
    their lpengine runs in this process."""
    from tests.emulated_fleet import EmulatedFleet
    from tests.in_process import Local

    fleet = EmulatedFleet(workshop, tmp_path)
    monkeypatch.setattr("lpengine.hosts.LocalHost", Local)
    monkeypatch.setenv("LPENGINE_POOLS", str(fleet.path))
    monkeypatch.setenv("LPENGINE_STATE_DIR", str(tmp_path / "state"))
    return fleet


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With LPENGINE_REQUIRE_SYSTEM=1 a system test that is skipped has failed: in CI
    nothing that was promised may be missing."""
    report = yield
    required = os.environ.get("LPENGINE_REQUIRE_SYSTEM") == "1"
    if required and report.skipped and item.get_closest_marker("system"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but required: {report.longrepr}"
    return report
