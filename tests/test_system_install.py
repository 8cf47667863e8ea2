"""Updates on real machines: Debian's Xen takes a live patch and files with it, refuses
one at run time, and gets its patch again after the power failed; and a Linux whose
power fails in the middle of the disk half comes up with the old files or the new ones.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import lpengine
from lpengine.elf import open_image
from lpengine.hosts.lab import Guest, boot
from lpengine.package import content_of, write_bundle
from lpengine.package.model import DiskFile, Level, LivePatch, Update
from lpengine.package.signing import sign_with
from lpengine.patch.model import HookKind
from lpengine.patch.xen.spec import HookSpec
from tests.agreement import EXTRA, Xen
from tests.site_cases import Workshop, version

pytestmark = pytest.mark.system
ROOT = Path(__file__).parent.parent
SAYS = 'const char *xen_extra_version(void)\n{\n\treturn "+LP-UPDATE";\n}\n'
EXTRA_FILE = "/sys/hypervisor/version/extra"
# mov eax, -EBUSY; ret
NO = bytes.fromhex("b8f0ffffffc3")
FILES = 60
PATIENCE = timedelta(minutes=4)


class Machine:
    """A guest, and a directory of ours that outlives it with a host's files in it."""

    def __init__(self, kind: str, share: Path, workshop: Workshop) -> None:
        self.kind = kind
        self.share = share
        self.root = share / "root"
        self.workshop = workshop
        self.environment = [f"PYTHONPATH={ROOT}", f"LPENGINE_STATE_DIR={share}/state"]
        self.guest: Guest | None = None

    def boot(self) -> None:
        self.stop()
        self.guest = boot(self.kind, share=self.share)

    def power_cut(self) -> None:
        assert self.guest is not None
        self.guest.kill()

    def stop(self) -> None:
        if self.guest is not None:
            self.guest.stop()
        self.guest = None

    def run(self, *argv: object) -> str:
        assert self.guest is not None
        words = ["env", *self.environment, *map(str, argv)]
        done = self.guest.run(words, timeout=PATIENCE)
        assert done.status in (0, 1, 20, 22), (done.stdout + done.stderr).decode()
        return done.stdout.decode()

    def lpengine(self, verb: str, *words: object) -> dict:
        program = (sys.executable, "-m", "lpengine", verb, *words, *self.where)
        return json.loads(self.run(*program, "--json"))

    @property
    def where(self) -> tuple[str, ...]:
        components = ("--component", "xen=xen") if self.kind == "xen" else ()
        return "--root", str(self.root), *components

    def install(self, bundle: Path) -> dict:
        return self.lpengine("install", bundle, "--signers", self.signers, "--yes")

    @property
    def signers(self) -> Path:
        return self.workshop.signers


def packed(
    workshop: Workshop, update: Update, contents: dict[str, bytes], to: Path
) -> Path:
    write_bundle(
        update, contents, to, lambda said: sign_with(workshop.key, said, lambda: "")
    )
    return to


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("share")


# The real hypervisor.


@pytest.fixture(scope="module")
def updates(share: Path, xen_image: Path, workshop: Workshop) -> dict[str, Path]:
    """`good` changes what Xen says of itself, `refused` has a hook that says no."""
    source = share / "says.c"
    source.write_text(SAYS)
    good = lpengine.build_c(source, {EXTRA: EXTRA}, xen_image).payload
    xen = Xen(open_image(xen_image))
    no = xen.raw(xen.like(), hooks=(HookSpec(HookKind.PREAPPLY, NO),))
    made = {}
    for number, (name, module) in enumerate((("good", good), ("refused", no)), 1):
        tool = f"tool {number}\n".encode()
        contents = {f"modules/{name}.livepatch": module, "files/tool": tool}
        member, data = next(iter(contents.items()))
        base = open_image(xen_image).build_id
        patch = LivePatch(
            "xen", base, version(1), version(number + 1), content_of(member, data)
        )
        file = DiskFile(
            "/usr/bin/tool", 0o755, "root", "root", content_of("files/tool", tool)
        )
        update = Update(
            f"LPU-{number}",
            components=("xen",),
            livepatches=(patch,),
            files=(file,),
            guidance={Level.RECOMMENDED: ("RebootHost",)},
        )
        made[name] = packed(workshop, update, contents, share / f"{name}.lpu")
    return made


@pytest.fixture(scope="module")
def life(
    share: Path, updates: dict[str, Path], xen_image: Path, workshop: Workshop
) -> Iterator[dict]:
    """One life of a host, from its first update over a power cut to none."""
    machine = Machine("xen", share, workshop)
    machine.environment.append(f"LPENGINE_XEN_SYMS={xen_image}")
    (machine.root / "usr/bin").mkdir(parents=True)
    (machine.root / "usr/bin/tool").write_text("old tool\n")
    (machine.root / "proc").symlink_to("/proc")
    seen: dict = {}

    def see(moment: str, done: dict) -> None:
        status = machine.lpengine("status")
        (xen,) = [one for one in status["components"] if one["component"] == "xen"]
        seen[moment] = {
            "done": done,
            "extra": machine.run("cat", EXTRA_FILE).strip(),
            "tool": (machine.root / "usr/bin/tool").read_text(),
            "xen": xen,
            "status": status,
        }

    try:
        machine.boot()
        see(
            "before",
            machine.lpengine(
                "install", updates["good"], "--signers", machine.signers, "--dry-run"
            ),
        )
        see("installed", machine.install(updates["good"]))
        machine.power_cut()
        machine.boot()
        see("powered up", {})
        see("booted", machine.lpengine("boot"))
        see("refused", machine.install(updates["refused"]))
        see("taken off", machine.lpengine("uninstall", "LPU-2"))
        see("gone", machine.lpengine("uninstall", "LPU-1"))
        yield seen
    finally:
        machine.stop()


def test_nothing_is_changed_by_planning(life: dict) -> None:
    before = life["before"]
    assert before["done"]["plan"]["verdict"] == "ready"
    assert before["done"]["plan"]["after"] == []
    assert before["tool"] == "old tool\n"


def test_the_hypervisor_and_the_disk_have_the_update(life: dict) -> None:
    installed = life["installed"]
    assert installed["done"]["status"] == "done"
    assert (installed["done"]["failed"], installed["done"]["tasks"]) == ([], [])
    assert installed["extra"] == "+LP-UPDATE"
    assert installed["tool"] == "tool 1\n"
    assert installed["xen"]["effective"] == "4.17.4-2"
    assert (installed["xen"]["memory"], installed["xen"]["disk"]) == (
        "applied",
        "matches",
    )


def test_after_the_power_came_back_memory_is_behind(life: dict) -> None:
    behind = life["powered up"]
    assert behind["extra"] == life["before"]["extra"]
    assert behind["tool"] == "tool 1\n"
    assert behind["xen"]["memory"] == "behind"
    assert behind["status"]["needs_reboot"]


def test_the_boot_unit_puts_the_patch_on_again(life: dict) -> None:
    booted = life["booted"]
    assert booted["done"]["status"] == "done"
    assert booted["extra"] == "+LP-UPDATE"
    assert not booted["status"]["needs_reboot"]


def test_what_the_hypervisor_refuses_leaves_a_reboot_to_be_done(life: dict) -> None:
    refused = life["refused"]
    assert refused["done"]["status"] == "done"
    (failure,) = refused["done"]["failed"]
    assert failure["component"] == "xen"
    assert [one["task"] for one in refused["done"]["tasks"]] == ["reboot_host"]
    assert refused["tool"] == "tool 2\n"
    assert refused["extra"] == "+LP-UPDATE"
    assert refused["xen"]["memory"] == "failed"


def test_all_of_it_can_be_taken_off(life: dict) -> None:
    assert life["taken off"]["tool"] == "tool 1\n"
    assert life["taken off"]["extra"] == "+LP-UPDATE"
    assert not life["taken off"]["status"]["needs_reboot"]
    gone = life["gone"]
    assert gone["tool"] == "old tool\n"
    assert gone["extra"] == life["before"]["extra"]
    assert gone["xen"]["applied"] == []
    assert gone["status"]["updates"] == []


# The power fails in the middle of the disk half.


@pytest.fixture(scope="module")
def linux(share: Path, linux_image: object, workshop: Workshop) -> Iterator[Machine]:
    """Its host's files are on an ext4 of their own, in a file of ours: what was not
    synced when the power fails is lost with the guest's memory."""
    machine = Machine("linux", share, workshop)
    machine.root = Path("/mnt/root")
    try:
        yield machine
    finally:
        machine.stop()


def mount(machine: Machine) -> None:
    image = machine.share / "disk.img"
    machine.run("sh", "-c", f"mkdir -p /mnt && mount -o loop {image} /mnt")


def make_disk(machine: Machine) -> None:
    image = machine.share / "disk.img"
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(24 << 20)
    machine.run("mkfs.ext4", "-q", image)
    mount(machine)
    mark = machine.share / "begun"
    hook = "/mnt/root/etc/lpengine/hooks.d/pre-apply/mark"
    machine.run(
        "sh",
        "-c",
        f"mkdir -p /mnt/root/data /mnt/root/etc/lpengine/hooks.d/pre-apply; "
        f"ln -s /proc /mnt/root/proc; "
        f"for i in $(seq {FILES}); do echo old > /mnt/root/data/$i; done; "
        f"printf '#!/bin/sh\\ntouch {mark}\\n' > {hook}; chmod 755 {hook}; sync",
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def contents(machine: Machine) -> list[str]:
    words = f"for i in $(seq {FILES}); do cat /mnt/root/data/$i; done"
    return machine.run("sh", "-c", words).split()


@pytest.mark.parametrize("seconds", [0.3, 0.7, 1.2])
def test_files_are_old_or_new_after_a_power_cut(
    linux: Machine, workshop: Workshop, seconds: float
) -> None:
    files = {f"/data/{number}": b"new\n" for number in range(1, FILES + 1)}
    update = replace(Update("LPU-1"), files=tuple(disk_files(files)))
    bundle = packed(workshop, update, members(files), linux.share / "data.lpu")
    linux.boot()
    make_disk(linux)
    mark = linux.share / "begun"
    mark.unlink(missing_ok=True)
    program = f"{sys.executable} -m lpengine install {bundle} --yes"
    words = f"{program} --signers {linux.signers} {' '.join(linux.where)}"
    linux.run("sh", "-c", f"setsid {words} >/dev/null 2>&1 </dev/null &")
    wait_for(mark.exists)
    time.sleep(seconds)
    linux.power_cut()
    linux.boot()
    mount(linux)
    before = set(contents(linux))
    assert before <= {"old", "new"}, "each single file is one of the two"
    linux.lpengine("recover")
    found = contents(linux)
    assert found in (["old"] * FILES, ["new"] * FILES)
    status = linux.lpengine("status")
    assert [one["disk"] for one in status["updates"]] == ["matches"] * (
        found[0] == "new"
    )
    assert (status["interrupted"], status["loose"]) == ("", [])
    assert linux.install(bundle)["status"] in ("done", "nothing")
    assert contents(linux) == ["new"] * FILES


def members(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"files{path}": data for path, data in files.items()}


def disk_files(files: dict[str, bytes]) -> Iterator[DiskFile]:
    for path, data in files.items():
        content = content_of(f"files{path}", data)
        yield DiskFile(path, 0o644, "root", "root", content)
