"""The lab without QEMU: framing, command lines, archives, packages, state."""

import gzip
import json
import lzma
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.cli import run
from lpengine.cli.lab import kind_of
from lpengine.command import CommandError
from lpengine.errors import InputError, LockedError, NotFoundError, UsageError
from lpengine.hosts import HostError
from lpengine.hosts.lab import agent, boot, find, guests, packages, qemu, state
from lpengine.hosts.lab.channel import Channel
from lpengine.hosts.lab.guest import last_words
from lpengine.hosts.lab.hypervisor import find_symbols, prepare_hypervisor
from lpengine.hosts.lab.initramfs import Initramfs, cpio_entry, init_script
from lpengine.hosts.lab.modules import Modules, dependencies
from lpengine.hosts.lab.packages import Stock
from lpengine.hosts.lab.storage import exclusive
from lpengine.hosts.lab.trial import reason_of

NONCE = b"0123456789abcdef" * 2
FIELDS = st.lists(st.binary(max_size=300), max_size=6)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LPENGINE_LAB", str(tmp_path / "lab"))


def stock(kind: str = "xen", tree: Path = Path("/cache/tree")) -> Stock:
    kernel = tree / "boot/vmlinuz-6.1"
    hypervisor = tree / "boot/xen.elf" if kind == "xen" else None
    return Stock(kind, tree, kernel, "6.1", (), hypervisor, None)


def record(name: str = "one", **changes: object) -> state.Record:
    ours = state.process(os.getpid())
    made = state.Record(name, "xen", 512, 2, "", (ours,))
    return replace(made, **changes)


# The line to the agent.


@given(FIELDS)
def test_what_is_framed_can_be_parsed(fields: list[bytes]) -> None:
    lines = agent.frame(NONCE, fields).split(b"\n")
    assert [m for line in lines if (m := agent.parse(line))] == [(NONCE, tuple(fields))]


@given(st.binary(max_size=200))
def test_noise_is_not_a_message_and_never_an_error(noise: bytes) -> None:
    found = agent.parse(noise)
    assert found is None or agent.parse(agent.frame(*found).strip()) == found


@given(FIELDS, st.integers(min_value=0))
def test_a_broken_off_message_does_not_spoil_the_next(
    fields: list[bytes], cut: int
) -> None:
    whole = agent.frame(NONCE, fields)
    stream = whole[: cut % len(whole)] + agent.frame(NONCE[::-1], [b"next"])
    parsed = [m for line in stream.split(b"\n") if (m := agent.parse(line))]
    assert parsed[-1] == (NONCE[::-1], (b"next",))


@pytest.fixture
def line() -> Iterator[Channel]:
    """A channel to an agent that runs here, over a socket pair."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    thread = threading.Thread(target=serve_until_closed, args=(theirs,))
    thread.start()
    yield Channel(ours, lambda: None)
    ours.close()
    thread.join()
    theirs.close()


def serve_until_closed(port: socket.socket) -> None:
    """`agent.serve` without its patience with a peer that is not there."""
    pending = bytearray()
    while data := port.recv(1 << 16):
        pending += data
        *lines, rest = bytes(pending).split(b"\n")
        pending = bytearray(rest)
        for each in lines:
            if message := agent.parse(each):
                answer = agent.answer(port.fileno(), message[1])
                port.sendall(agent.frame(message[0], answer))


def test_the_agent_runs_programs(line: Channel) -> None:
    request = [b"run", b"10", b"/", b"input", b"sh", b"-c", b"cat; pwd; exit 4"]
    assert line.ask(request, 10) == (b"done", b"4", b"input/\n", b"")


def test_the_agent_ends_what_takes_too_long(line: Channel) -> None:
    assert line.ask([b"run", b"0.1", b"/", b"", b"sleep", b"9"], 10) == (b"late",)


def test_the_agent_reads_and_writes_whole_files(line: Channel, tmp_path: Path) -> None:
    data, path = bytes(range(256)) * 4000, str(tmp_path / "file").encode()
    assert line.ask([b"write", path, data], 10) == (b"done",)
    assert line.ask([b"read", path], 10) == (b"done", data)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_agent_says_what_it_cannot_do(line: Channel, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing").encode()
    assert line.ask([b"read", missing], 10)[:2] == (b"failed", b"2")
    assert line.ask([b"dance"], 10)[0] == b"failed"


def test_answers_to_others_are_ignored() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"half a line" + agent.frame(NONCE, [b"for somebody else"]))
        with pytest.raises(HostError, match="does not answer"):
            Channel(ours, lambda: None).ask([b"alive"], 0.1)


def test_waiting_ends_when_the_guest_has_died() -> None:
    def died() -> None:
        raise HostError("it has died")

    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(HostError, match="it has died"):
        Channel(ours, died).ask([b"alive"], 60)


def test_the_agent_imports_no_lpengine() -> None:
    """It is started by its path, by a Python without site packages."""
    command = [
        "python3",
        "-I",
        "-S",
        "-c",
        "import runpy, sys; runpy.run_path(sys.argv[1])",
    ]
    subprocess.run([*command, agent.__file__], check=True, timeout=30)


# QEMU's command line.


@pytest.mark.parametrize("kind", ["xen", "linux"])
@pytest.mark.parametrize("transport", ["9p", "virtiofs"])
def test_qemu_never_uses_kvm_and_has_no_network(kind: str, transport: str) -> None:
    initramfs = Initramfs(Path("/cache/i.cpio"), transport)
    argv = qemu.arguments(stock(kind), initramfs, qemu.Shape(700, 3), None)
    pairs = dict(pairwise(argv))
    assert (pairs["-accel"], pairs["-net"]) == ("tcg", "none")
    assert (pairs["-m"], pairs["-smp"]) == ("700", "3")
    assert not [word for word in argv if "kvm" in word]


def test_the_hosts_root_is_never_writable() -> None:
    initramfs = Initramfs(Path("/cache/i.cpio"), "9p")
    argv = qemu.arguments(stock(), initramfs, qemu.Shape(700, 1), Path("/srv/x"))
    roots = [word for word in argv if word.startswith("local,")]
    assert "readonly=on" in roots[0]
    assert roots[1].startswith("local,path=/srv/x,")
    assert "readonly=off" in roots[1]


def test_commas_in_paths_are_doubled() -> None:
    initramfs = Initramfs(Path("/a,b/i.cpio"), "9p")
    argv = qemu.arguments(stock(tree=Path("/a,b")), initramfs, qemu.Shape(700, 1), None)
    modules = argv[argv.index("-initrd") + 1]
    assert modules.endswith(",/a,,b/i.cpio")
    assert modules.startswith("/a,,b/boot/vmlinuz-6.1 ")


def test_what_virtiofs_serves_is_read_only_but_for_the_share() -> None:
    servers = qemu.virtiofs_servers(Path("/srv/x"))
    assert {tag: "remount,bind,ro" in " ".join(a) for tag, a in servers.items()} == {
        "hostroot": True,
        "share": False,
    }


def test_a_missing_virtiofsd_names_its_package() -> None:
    with pytest.raises(NotFoundError) as caught:
        qemu.virtiofs_arguments("x", Path("/"), "", ["/nowhere/virtiofsd"])
    assert "qemu-system-common" in caught.value.hint


# The initramfs.


def test_archives_are_what_cpio_reads(tmp_path: Path) -> None:
    archive = b"".join(
        [
            cpio_entry("folder", stat.S_IFDIR | 0o755, b"", 1),
            cpio_entry("folder/file", stat.S_IFREG | 0o644, b"content\n", 2),
            cpio_entry("TRAILER!!!", 0, b"", 0),
        ]
    )
    listed = subprocess.run(
        ["cpio", "-it", "--quiet"], input=archive, capture_output=True, check=True
    )
    assert listed.stdout == b"folder\nfolder/file\n"
    subprocess.run(["cpio", "-id", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "folder/file").read_text() == "content\n"


@pytest.mark.parametrize("share", [None, Path("/srv/it's here")])
@pytest.mark.parametrize("transport", ["9p", "virtiofs"])
def test_the_init_script_is_a_script(
    share: Path | None, transport: str, tmp_path: Path
) -> None:
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr" / "only-in-the-packages it's").touch()
    script = init_script(stock(tree=tmp_path), transport, ["a.ko"], share)
    subprocess.run(["sh", "-n"], input=script.encode(), check=True)
    assert "only-in-the-packages" in script


def make_modules(directory: Path) -> Modules:
    (directory / "kernel").mkdir(parents=True)
    for name, needs in (("top", "mid-dle,base"), ("mid-dle", "base"), ("base", "")):
        content = b"\x7fELF\0license=GPL\0depends=%s\0" % needs.encode()
        (directory / "kernel" / f"{name}.ko").write_bytes(content)
    packed = lzma.compress(b"\0depends=top\0")
    (directory / "kernel" / "packed.ko.xz").write_bytes(packed)
    (directory / "modules.builtin").write_text("kernel/built-in.ko\n")
    return Modules(directory)


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    ordered = make_modules(tmp_path / "m").ordered(["packed", "built_in", "top"])
    assert [name for name, _ in ordered] == [
        "base.ko",
        "mid_dle.ko",
        "top.ko",
        "packed.ko",
    ]


def test_a_module_that_the_kernel_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no module nothing"):
        make_modules(tmp_path / "m").ordered(["nothing"])


@given(st.binary())
def test_a_module_without_modinfo_needs_nothing(data: bytes) -> None:
    assert dependencies(data.replace(b"depends=", b"")) == ()


# Packages.

APT = {
    "depends --important xen-system-amd64": (
        "xen-system-amd64\n  Depends: xen-hypervisor-4.17-amd64\n"
    ),
    "depends --important linux-image-amd64": (
        "linux-image-amd64\n  Depends: linux-image-6.1.0-9-amd64\n"
    ),
    "depends --important linux-image-cloud-amd64": (
        "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n"
    ),
    "madison xen-hypervisor-4.17-amd64": "x | 2-1 | a Packages\nx | 1-1 | b Packages\n",
    "madison xen-hypervisor-4.17-amd64-dbg": "x | 1-1 | b Packages\n",
}


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(arguments: list[str]) -> str:
        line = " ".join(arguments)
        if "--recurse" in line:
            return "xen-utils-4.17\n  Depends: libc6\nlibxenctrl\nlibc6\nlibyajl2\n"
        return APT.get(line, f"{arguments[-1]} | 5:1.0 | c Packages\n")

    monkeypatch.setattr(packages, "_apt_cache", answer)


def test_hypervisor_and_symbols_have_one_version(apt: None) -> None:
    wanted = dict(packages.wanted_packages("xen"))
    assert wanted["xen-hypervisor-4.17-amd64"] == "1-1"
    assert wanted["xen-hypervisor-4.17-amd64-dbg"] == "1-1"
    assert {
        "xen-utils-4.17",
        "libxenctrl",
        "libyajl2",
        "linux-image-6.1.0-9-amd64",
    } <= (set(wanted))
    assert "libc6" not in wanted


def test_linux_guests_run_the_kernel_for_clouds(apt: None) -> None:
    assert [name for name, _ in packages.wanted_packages("linux")] == [
        "linux-image-6.1.0-9-cloud-amd64",
        "busybox-static",
    ]


def test_apt_without_lists_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def empty(argv: list[str], **_: object) -> object:
        raise CommandError(argv, 100, "failed", b"E: No packages found")

    monkeypatch.setattr(packages, "run", empty)
    assert run(["lab", "fetch", "xen"]) == 4
    assert "apt-get update" in capsys.readouterr().err


def test_what_is_in_the_store_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "name_1%3a2.deb").write_bytes(b"")
    found = packages._download([("name", "1:2")], tmp_path)
    assert found == [tmp_path / "name_1%3a2.deb"]


def test_other_versions_are_another_tree() -> None:
    assert packages.fingerprint([("a", "1"), ("b", "2")]) == packages.fingerprint(
        [("b", "2"), ("a", "1")]
    )
    assert packages.fingerprint([("a", "1")]) != packages.fingerprint([("a", "2")])


def test_booting_what_was_not_fetched_says_how(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["lab", "boot", "xen"]) == 4
    assert "lpengine lab fetch xen" in capsys.readouterr().err
    with pytest.raises(UsageError, match="not a kind"):
        boot("hurd")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"tree": 5}', "null"])
def test_a_damaged_stock_record_is_no_stock(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cache/lab/xen.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(NotFoundError, match="nothing is fetched"):
        packages.stocked("xen")


# State.


def test_a_saved_guest_is_found_again() -> None:
    state.save(record())
    assert state.load("one") == record()
    assert [guest.name for guest in guests()] == ["qemu:one"]
    assert find("one").alive


def test_a_process_number_in_other_hands_is_not_our_guest() -> None:
    stolen = state.Process(os.getpid(), 1)
    state.save(record(processes=(stolen,)))
    assert not find("one").alive
    find("one").stop()
    assert guests() == ()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 64])
def test_names_that_are_no_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not a name"):
        find(name)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"name": "one"}'])
def test_a_damaged_guest_record_is_no_guest(content: str) -> None:
    state.save(record())
    (record().directory / state.RECORD).write_text(content)
    with pytest.raises(NotFoundError):
        find("one")


def test_names_count_up() -> None:
    assert state.free_name("xen") == "xen"
    state.save(record("xen"))
    assert state.free_name("xen") == "xen-2"


def test_guests_that_do_not_fit_are_refused() -> None:
    meminfo = "MemTotal: 9 kB\nMemAvailable:   2097152 kB\n"
    state.check_memory(1500, meminfo)
    with pytest.raises(UsageError, match="does not fit: 1792 MiB free"):
        state.check_memory(1700, meminfo)
    state.save(record(memory=1024))  # which may still take most of that
    with pytest.raises(UsageError, match="does not fit"):
        state.check_memory(1500, meminfo)


def test_a_held_lock_is_waited_for_and_then_named(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "lock", "it", 1),
        pytest.raises(LockedError, match="it is in use"),
        exclusive(tmp_path / "lock", "it", 0.1),
    ):
        pass
    with exclusive(tmp_path / "lock", "it", 0):
        pass


# Consoles and verdicts.


@pytest.mark.parametrize(
    ("console", "words"),
    [
        ("", ""),
        ("(XEN) Freed 656kB init memory\nlab: ready\n", ""),
        ("(XEN) x\n(XEN) Panic on CPU 0:\r\n(XEN) y", "(XEN) Panic on CPU 0:"),
        (
            "[ 1.0] Kernel panic - not syncing: x",
            "[ 1.0] Kernel panic - not syncing: x",
        ),
        ("lab: failed: insmod 9p.ko", "lab: failed: insmod 9p.ko"),
    ],
)
def test_last_words(console: str, words: str) -> None:
    assert last_words(console) == words


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"message": "no such thing"}, "no such thing"),
        ({"outcome": {"error": "EINVAL"}, "plan": {}}, "EINVAL"),
        ("Traceback\nboom", "boom"),
        ({"outcome": None, "plan": {"findings": []}}, "no reason given"),
    ],
)
def test_reasons_come_from_the_documents(said: object, reason: str) -> None:
    assert reason_of(said) == reason
    assert reason_of(json.loads(json.dumps(said))) == reason


def test_the_kind_of_guest_follows_from_the_module(tmp_path: Path) -> None:
    module = tmp_path / "x.ko"
    module.write_bytes(b"\x7fELF\0license=GPL\0vermagic=6.1.0\0")
    assert kind_of(module) == "linux"
    module.write_bytes(b"\x7fELF .livepatch.funcs")
    assert kind_of(module) == "xen"
    with pytest.raises(NotFoundError):
        kind_of(tmp_path / "missing")


def test_a_port_without_a_peer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtio port that nobody has opened is ready to read, and empty."""
    ours, theirs = os.pipe()
    os.close(theirs)
    try:
        assert select.select([ours], [], [], 0)[0]
        assert agent._receive(ours) == b""
    finally:
        os.close(ours)


XEN32 = b"\x7fELF\x01" + bytes(60)


def test_a_built_hypervisor_is_unpacked_for_qemu(tmp_path: Path) -> None:
    (tmp_path / "xen").write_bytes(XEN32)
    (tmp_path / "xen.gz").write_bytes(gzip.compress(XEN32))
    guest = tmp_path / "guest"
    guest.mkdir()
    plain = prepare_hypervisor(tmp_path / "xen", guest)
    assert plain == tmp_path / "xen"
    unpacked = prepare_hypervisor(tmp_path / "xen.gz", guest)
    assert unpacked == guest / "xen"
    assert unpacked.read_bytes() == XEN32


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"\x7fELF\x02", "file with the symbols"),
        (b"MZ", "not a 32-bit ELF file"),
        (gzip.compress(XEN32, mtime=0)[:-9], "ends early"),
        (b"\x1f\x8bxx", "damaged"),
    ],
)
def test_what_cannot_be_booted_is_named(tmp_path: Path, raw: bytes, says: str) -> None:
    (tmp_path / "xen").write_bytes(raw)
    with pytest.raises(InputError, match=says):
        prepare_hypervisor(tmp_path / "xen", tmp_path)


def test_symbols_lie_beside_their_hypervisor(tmp_path: Path) -> None:
    assert find_symbols(tmp_path / "xen.gz", None) is None
    (tmp_path / "xen-syms").touch()
    assert find_symbols(tmp_path / "xen.gz", None) == tmp_path / "xen-syms"
    with pytest.raises(NotFoundError, match="no such file"):
        find_symbols(tmp_path / "xen.gz", tmp_path / "missing")


def test_only_xen_has_a_hypervisor(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no hypervisor"):
        boot("linux", hypervisor=tmp_path / "xen")


# Command lines of lpengine, by a process that has it in memory.


@pytest.fixture(scope="module")
def standby() -> agent.Standby:
    return agent.Standby([sys.executable, "-m", "lpengine.cli.standby"])


def asked(standby: agent.Standby, *argv: bytes, seconds: float = 20) -> list[bytes]:
    """As the agent answers a request to run something."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        request = [b"run", b"%f" % seconds, b"/", b"", *argv]
        return list(agent.answer(theirs.fileno(), request, standby))


def test_the_standby_runs_lpengine_as_if_started(standby: agent.Standby) -> None:
    alone = subprocess.run(
        [sys.executable, "-m", "lpengine", "explain", "LP-SHP-171"],
        capture_output=True,
        check=True,
    )
    done = asked(standby, b"lpengine", b"explain", b"LP-SHP-171")
    assert done == [b"done", b"0", alone.stdout, b""]
    refused = asked(standby, b"lpengine", b"explain", b"LP-NO-SUCH")
    assert refused[1] == b"4"
    assert b"LP-NO-SUCH" in refused[3]


def test_one_command_line_is_as_good_as_the_next(
    standby: agent.Standby, hv_image: Path, tmp_path: Path
) -> None:
    place = f"{tmp_path}/it's a machine".encode()
    made = asked(
        standby,
        *(b"lpengine", b"machine", b"create", place),
        *(b"--image", str(hv_image).encode()),
    )
    assert made[:2] == [b"done", b"0"], made
    target = b"emulated:" + place
    first = asked(standby, b"lpengine", b"status", b"--target", target, b"--json")
    again = asked(standby, b"lpengine", b"status", b"--target", target, b"--json")
    assert first == again
    assert json.loads(first[2])["target"] == target.decode()


def test_other_programs_do_not_go_through_the_standby(standby: agent.Standby) -> None:
    assert asked(standby, b"echo", b"lpengine")[2] == b"lpengine\n"


def test_a_standby_that_breaks_down_is_done_without(tmp_path: Path) -> None:
    broken = agent.Standby(["false"])
    program = tmp_path / "lpengine"
    program.write_text("#!/bin/sh\necho started\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path), prepend=":")
        assert asked(broken, b"lpengine", b"status")[2] == b"started\n"


def test_a_command_line_that_takes_too_long_is_ended() -> None:
    hanging = agent.Standby(["sh", "-c", "echo ready; read line; exec sleep 60"])
    before = hanging.process
    assert asked(hanging, b"lpengine", b"status", seconds=0.2) == [b"late"]
    assert not Path(f"/proc/{before}").exists()
    assert hanging.process != before
    os.killpg(hanging.process, signal.SIGKILL)


def test_a_standby_that_dies_of_a_command_line_is_begun_anew() -> None:
    dying = agent.Standby(["sh", "-c", "echo ready; read line; kill -SEGV $$"])
    for _ in range(2):
        assert asked(dying, b"lpengine", b"status")[:2] == [b"done", b"139"]
    os.killpg(dying.process, signal.SIGKILL)
