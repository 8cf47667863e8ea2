"""The lab with QEMU: guests of each kind, lpengine in them, a module's trial."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lpengine
from lpengine.cli import run
from lpengine.errors import UsageError
from lpengine.hosts import HostError
from lpengine.hosts.lab import Guest, boot, stocked

pytestmark = pytest.mark.system

VERSION = "/sys/hypervisor/version/extra"


@pytest.fixture(scope="module")
def payload(xen_guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes the very Xen that the guest runs say another version."""
    directory = tmp_path_factory.mktemp("payload")
    source = directory / "hello.c"
    source.write_text('const char *xen_extra_version(void) { return "+hello"; }\n')
    symbols = stocked("xen").symbols
    assert symbols is not None
    replaced = {"xen_extra_version": "xen_extra_version"}
    built = lpengine.build_c(source, replaced, symbols)
    path = directory / "hello.livepatch"
    path.write_bytes(built.payload)
    return path


def test_dom0_has_what_a_hypercall_needs(xen_guest: Guest) -> None:
    done = xen_guest.run(["ls", "/dev/xen/privcmd", "/dev/xen/hypercall"])
    assert done.status == 0
    assert xen_guest.read("/sys/hypervisor/properties/buildid")
    assert xen_guest.read("/proc/xen/capabilities") == b"control_d\n"


def test_linux_can_be_live_patched(linux_guest: Guest) -> None:
    release = linux_guest.run(["uname", "-r"]).stdout.decode().strip()
    assert release == stocked("linux").release
    assert linux_guest.run(["modprobe", "loop"]).status == 0
    assert linux_guest.run(["test", "-d", "/sys/module/loop"]).status == 0
    linux_guest.run(["rmmod", "loop"])
    enabled = linux_guest.read("/sys/kernel/debug/tracing/enabled_functions")
    assert enabled == b""


@pytest.mark.parametrize("kind", ["xen_guest", "linux_guest"])
def test_lpengine_runs_inside(kind: str, request: pytest.FixtureRequest) -> None:
    guest: Guest = request.getfixturevalue(kind)
    inside = guest.run([sys.executable, "-m", "lpengine", "explain", "LP-SHP-171"])
    assert inside.status == 0, inside.stderr.decode()
    assert b"FUNCTION_TOO_SHORT" in inside.stdout
    assert guest.run(["lpengine", "--help"]).status == 0


@pytest.mark.parametrize("kind", ["xen_guest", "linux_guest"])
def test_the_guest_sees_our_files_and_changes_none(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    guest: Guest = request.getfixturevalue(kind)
    ours = tmp_path / "ours"
    ours.write_text("from outside")
    assert guest.read(str(ours)) == b"from outside"
    guest.write(str(ours), b"from inside")
    guest.run(["rm", "-rf", "/etc/passwd"])
    assert guest.read(str(ours)) == b"from inside"
    assert ours.read_text() == "from outside"
    assert Path("/etc/passwd").exists()


def test_verbs_reach_the_real_hypervisor(
    xen_guest: Guest, payload: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    there = ["--target", "xen", "--host", xen_guest.name]
    before = xen_guest.read(VERSION)
    assert run(["apply", str(payload), *there, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["outcome"]["status"] == "done"
    assert xen_guest.read(VERSION) == b"+hello\n"
    assert run(["revert", "hello", *there]) == 0
    assert run(["unload", "hello", *there]) == 0
    assert xen_guest.read(VERSION) == before


def test_a_trial_says_how_it_went(
    xen_guest: Guest, payload: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = xen_guest.record.name
    command = ["lab", "test", str(payload), "--guest", name, "--json"]
    assert run([*command, "--check", f"cat {VERSION}"]) == 0
    document = json.loads(capfd.readouterr().out)
    (check,) = document["checks"]
    assert document["verdict"] == "passed"
    assert check["patched"] == "+hello"
    assert check["before"] == check["reverted"] != "+hello"


def test_a_trial_of_a_bad_module_is_refused(
    xen_guest: Guest, payload: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.livepatch"
    bad.write_bytes(payload.read_bytes()[:-100])
    command = ["lab", "test", str(bad), "--guest", xen_guest.record.name, "--json"]
    assert run(command) == 10
    document = json.loads(capfd.readouterr().out)
    assert document["verdict"] == "refused"
    assert "LP-MOD" in document["reason"]


def test_a_name_is_taken_once(linux_guest: Guest) -> None:
    with pytest.raises(UsageError, match="runs already"):
        boot("linux", name=linux_guest.record.name)


@pytest.fixture
def mortal(linux_guest: Guest, tmp_path: Path) -> Iterator[Guest]:
    """A guest of its own, with a directory that outlives it."""
    (tmp_path / "kept").mkdir()
    with boot("linux", memory=512, share=tmp_path / "kept") as guest:
        yield guest


def test_what_is_shared_survives_the_guest(mortal: Guest, tmp_path: Path) -> None:
    first = mortal.boot_id()
    mortal.write(f"{tmp_path}/kept/file", b"kept")
    mortal.write("/tmp/file", b"lost")
    mortal.kill()
    assert (tmp_path / "kept/file").read_bytes() == b"kept"
    with pytest.raises(HostError, match="is off"):
        mortal.run(["true"])
    with boot("linux", memory=512, share=tmp_path / "kept") as again:
        assert again.read(f"{tmp_path}/kept/file") == b"kept"
        assert again.run(["test", "-e", "/tmp/file"]).status == 1
        assert again.boot_id() != first


def test_a_panic_is_heard(mortal: Guest) -> None:
    with pytest.raises(HostError, match=r"has died|is off|has gone"):
        mortal.run(["sh", "-c", "echo c >/proc/sysrq-trigger"])
    assert "Kernel panic" in mortal.console


def test_a_client_that_goes_away_leaves_the_line_usable(linux_guest: Guest) -> None:
    argv = [sys.executable, "-m", "lpengine", "lab", "run", linux_guest.record.name]
    client = subprocess.Popen([*argv, "--", "sleep", "4711"])
    with pytest.raises(subprocess.TimeoutExpired):
        client.wait(3)
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert linux_guest.run(["echo", "still here"]).stdout == b"still here\n"
    # Other tests' guests sleep too; and the agent has to notice first.
    ours = ["pgrep", "-f", "^sleep 4711$"]
    deadline = time.monotonic() + 30
    while linux_guest.run(ours).status == 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert linux_guest.run(ours).status == 1
