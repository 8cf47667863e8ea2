"""Updates on real machines: Debian's Xen takes a live patch and files with it, refuses
one at run time, and gets its patch again after a boot; and a Linux whose power fails in
the middle of the disk half comes up with the old files or the new ones.
"""

import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import lpengine
from lpengine.elf import open_image
from lpengine.hosts.lab import Guest, Stock, boot
from lpengine.package import content_of, write_bundle
from lpengine.package.model import DiskFile, Level, LivePatch, Update
from lpengine.package.modules import base_build_id_of
from lpengine.package.signing import sign_with
from lpengine.patch.model import HookKind
from lpengine.patch.reader import read_patch
from lpengine.patch.xen.spec import HookSpec
from tests.agreement import EXTRA, Xen
from tests.site_cases import Workshop, version

pytestmark = pytest.mark.system
ROOT = Path(__file__).parent.parent
ACTS = (sys.executable, ROOT / "tests/guest_acts.py")
SAYS = 'const char *xen_extra_version(void)\n{\n\treturn "+LP-UPDATE";\n}\n'
CMDLINE = """
struct seq_file;
void seq_printf(struct seq_file *m, const char *format, ...);
extern char *saved_command_line;

int cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%s patched\\n", saved_command_line);
	return 0;
}
"""
# mov eax, -EBUSY; ret
NO = bytes.fromhex("b8f0ffffffc3")
FILES = 60
PATIENCE = timedelta(minutes=4)

Seen = Mapping[str, Any]


def run(guest: Guest, *argv: object, input: bytes = b"") -> str:
    done = guest.run([str(word) for word in argv], input=input, timeout=PATIENCE)
    assert done.status == 0, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def acts(guest: Guest, settings: list[str], wanted: list[dict]) -> list[Any]:
    """See guest_acts.py. One program for all of them: to start one takes longer than
    what it does."""
    argv = ("env", f"PYTHONPATH={ROOT}", *settings, *ACTS)
    return json.loads(run(guest, *argv, input=json.dumps(wanted).encode()))


def packed(
    workshop: Workshop, update: Update, contents: dict[str, bytes], to: Path
) -> Path:
    write_bundle(
        update, contents, to, lambda said: sign_with(workshop.key, said, lambda: "")
    )
    return to


def disk_file(path: str, data: bytes) -> DiskFile:
    content = content_of(f"files{path}", data)
    return DiskFile(path, 0o644, "root", "root", content)


# The real hypervisor.


@pytest.fixture(scope="module")
def updates(tmp_path_factory, xen_image: Path, workshop: Workshop) -> dict[str, Path]:
    """`good` changes what Xen says of itself, `refused` has a hook that says no."""
    there = tmp_path_factory.mktemp("updates")
    source = there / "says.c"
    source.write_text(SAYS)
    image = open_image(xen_image)
    xen = Xen(image)
    modules = {
        "good": lpengine.build_c(source, {EXTRA: EXTRA}, xen_image).payload,
        "refused": xen.raw(xen.like(), hooks=(HookSpec(HookKind.PREAPPLY, NO),)),
    }
    made = {}
    for number, (name, module) in enumerate(modules.items(), 1):
        tool = f"tool {number}\n".encode()
        member = f"modules/{name}.livepatch"
        content = content_of(member, module)
        base, to = version(1), version(number + 1)
        update = Update(
            f"LPU-{number}",
            components=("xen",),
            livepatches=(LivePatch("xen", image.build_id, base, to, content),),
            files=(disk_file("/usr/bin/tool", tool),),
            guidance={Level.RECOMMENDED: ("RebootHost",)},
        )
        contents = {member: module, "files/usr/bin/tool": tool}
        made[name] = packed(workshop, update, contents, there / f"{name}.lpu")
    return made


@pytest.fixture(scope="module")
def life(
    xen_guest: Guest, updates: dict[str, Path], xen_image: Path, workshop: Workshop
) -> Seen:
    """One life of a host, from its first update to none. Moment -> what was done, and
    what was seen then."""
    root = run(xen_guest, "mktemp", "-d").strip()
    make = (
        f"cd {root} && mkdir -p usr/bin && ln -s /proc proc && echo old > usr/bin/tool"
    )
    run(xen_guest, "sh", "-c", make)
    where = ["--root", root, "--component", "xen=xen"]
    good, refused = (
        [str(updates[one]), "--signers", str(workshop.signers)]
        for one in ("good", "refused")
    )
    moments: dict[str, list[str]] = {
        "planned": ["install", *good, "--dry-run", *where],
        "installed": ["install", *good, "--yes", *where],
        # What a boot does to the hypervisor.
        "lost": ["revert", "good", "--target", "xen"],
        "booted": ["boot", *where],
        "refused": ["install", *refused, "--yes", *where],
        "taken off": ["uninstall", "LPU-2", *where],
        "gone": ["uninstall", "LPU-1", *where],
    }
    looks = [
        {"read": "/sys/hypervisor/version/extra"},
        {"read": f"{root}/usr/bin/tool"},
        {"lpengine": ["status", *where]},
    ]
    wanted = list(looks)
    for words in moments.values():
        wanted += [{"lpengine": words}, *looks]
    settings = [
        f"LPENGINE_XEN_SYMS={xen_image}",
        f"LPENGINE_STATE_DIR={root}/state",
    ]
    answers = acts(xen_guest, settings, wanted)
    seen = {}
    for number, moment in enumerate(["before", *moments]):
        done, extra, tool, status = [None, *answers][4 * number : 4 * number + 4]
        (xen,) = [one for one in status["components"] if one["component"] == "xen"]
        seen[moment] = {
            "done": done,
            "extra": extra,
            "tool": tool,
            "xen": xen,
            "status": status,
        }
    return seen


def test_nothing_is_changed_by_planning(life: Seen) -> None:
    planned = life["planned"]
    assert planned["done"]["plan"]["verdict"] == "ready"
    assert planned["done"]["plan"]["after"] == []
    assert planned["tool"] == "old"
    assert planned["extra"] == life["before"]["extra"]


def test_the_hypervisor_and_the_disk_have_the_update(life: Seen) -> None:
    installed = life["installed"]
    assert (installed["done"]["exit"], installed["done"]["status"]) == (0, "done")
    assert (installed["done"]["failed"], installed["done"]["tasks"]) == ([], [])
    assert installed["extra"] == "+LP-UPDATE"
    assert installed["tool"] == "tool 1"
    assert installed["xen"]["effective"] == "4.17.4-2"
    assert installed["xen"]["memory"] == "applied"
    assert installed["xen"]["disk"] == "matches"


def test_without_its_patch_memory_is_behind(life: Seen) -> None:
    behind = life["lost"]
    assert behind["extra"] == life["before"]["extra"]
    assert behind["tool"] == "tool 1"
    assert behind["xen"]["memory"] == "behind"
    assert behind["status"]["needs_reboot"]


def test_the_boot_unit_puts_the_patch_on_again(life: Seen) -> None:
    booted = life["booted"]
    assert booted["done"]["status"] == "done"
    assert booted["extra"] == "+LP-UPDATE"
    assert not booted["status"]["needs_reboot"]


def test_what_the_hypervisor_refuses_leaves_a_reboot_to_be_done(life: Seen) -> None:
    refused = life["refused"]
    assert (refused["done"]["exit"], refused["done"]["status"]) == (22, "done")
    (failure,) = refused["done"]["failed"]
    assert failure["component"] == "xen"
    assert [one["task"] for one in refused["done"]["tasks"]] == ["reboot_host"]
    assert refused["tool"] == "tool 2"
    assert refused["extra"] == "+LP-UPDATE"
    assert refused["xen"]["memory"] == "failed"


def test_all_of_it_can_be_taken_off(life: Seen) -> None:
    assert life["taken off"]["tool"] == "tool 1"
    assert life["taken off"]["extra"] == "+LP-UPDATE"
    assert not life["taken off"]["status"]["needs_reboot"]
    gone = life["gone"]
    assert gone["tool"] == "old"
    assert gone["extra"] == life["before"]["extra"]
    assert gone["xen"]["applied"] == []
    assert gone["status"]["updates"] == []


# The power fails.


class Machine:
    """A Linux guest whose host's files are on an ext4 of their own, in a file of ours:
    what was not synced when the power fails is lost with the guest's memory."""

    def __init__(self, share: Path) -> None:
        self.share = share
        self.root = "/mnt/root"
        self.guest = boot("linux", share=share)
        self.make_disk()

    def make_disk(self) -> None:
        with (self.share / "disk.img").open("wb") as file:
            file.truncate(24 << 20)
        run(self.guest, "mkfs.ext4", "-q", self.share / "disk.img")
        self.mount()
        run(self.guest, "sh", "-c", f"mkdir {self.root}; ln -s /proc {self.root}/proc")

    def mount(self) -> None:
        # The guest has no udev, by whose node /dev/loop-control its module is loaded.
        image = self.share / "disk.img"
        mount = f"mkdir -p /mnt && modprobe loop && mount -o loop {image} /mnt"
        run(self.guest, "sh", "-c", mount)

    def power_cut(self) -> None:
        self.guest.kill()
        self.guest.stop()
        self.guest = boot("linux", share=self.share)
        self.mount()

    def act(self, *wanted: dict) -> list[Any]:
        return acts(self.guest, [], list(wanted))

    def cut_during(self, *wanted: dict) -> None:
        """The last act says when."""
        mark = Path(wanted[-2]["mark"])
        program = shlex.join(map(str, ("env", f"PYTHONPATH={ROOT}", *ACTS)))
        script = self.share / "acts.json"
        script.write_text(json.dumps(wanted))
        log = self.share / "acts.log"
        run(
            self.guest,
            "sh",
            "-c",
            f"setsid {program} <{script} >{log} 2>&1 &",
        )
        deadline = time.monotonic() + PATIENCE.total_seconds()
        while not mark.exists():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        mark.unlink()
        self.power_cut()

    def verb(self, *words: object) -> dict:
        return {"lpengine": [*map(str, words), "--root", self.root]}

    def contents(self) -> str:
        """One letter for every file."""
        files = " ".join(f"{self.root}/data/{one}" for one in range(FILES))
        return run(self.guest, "sh", "-c", f"cat {files}").replace("\n", "")

    def fill(self) -> None:
        for_all = f"for i in $(seq 0 {FILES - 1}); do echo o > $i; done"
        make = f"mkdir -p {self.root}/data && cd {self.root}/data && {for_all}; sync"
        run(self.guest, "sh", "-c", make)


@pytest.fixture(scope="module")
def machine(tmp_path_factory, linux_image: Stock) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("share"))
    try:
        yield machine
    finally:
        machine.guest.stop()


OLD, NEW = "o" * FILES, "n" * FILES


@pytest.mark.parametrize(
    ("verb", "call", "found", "recovered"),
    [
        ("install", "write", {OLD}, OLD),
        ("install", "rename", None, NEW),
        ("uninstall", "rename", None, OLD),
    ],
    ids=["staging", "renames", "renames-back"],
)
def test_files_are_old_or_new_after_a_power_cut(
    machine: Machine,
    workshop: Workshop,
    verb: str,
    call: str,
    found: set[str] | None,
    recovered: str,
) -> None:
    """In the middle of staging, and of the renames that follow."""
    files = {f"/data/{number}": b"n\n" for number in range(FILES)}
    update = Update("LPU-1", files=tuple(disk_file(*one) for one in files.items()))
    members = {f"files{path}": data for path, data in files.items()}
    bundle = packed(workshop, update, members, machine.share / "data.lpu")
    machine.fill()
    install = machine.verb("install", bundle, "--yes", "--signers", workshop.signers)
    uninstall = machine.verb("uninstall", "LPU-1")
    stop = {"stop": call, "at": FILES // 2, "mark": str(machine.share / "now")}
    before = [install, stop, uninstall] if verb == "uninstall" else [stop, install]
    machine.cut_during(*before)
    there = machine.contents()
    assert there in found if found else {"o", "n"} == set(there), "each is one of two"
    machine.act(machine.verb("recover"))
    assert machine.contents() == recovered
    status, again = machine.act(machine.verb("status"), install)
    installed = [one["disk"] for one in status["updates"]]
    assert installed == (["matches"] if recovered == NEW else [])
    assert (status["interrupted"], status["loose"]) == ("", [])
    assert again["status"] == ("nothing" if recovered == NEW else "done")
    assert machine.contents() == NEW
    machine.act(uninstall)
    assert machine.contents() == OLD


def test_the_kernel_takes_its_half_again_after_a_power_cut(
    machine: Machine, linux_image: Stock, workshop: Workshop
) -> None:
    source = machine.share / "cmdline.c"
    source.write_text(CMDLINE)
    changed = {"cmdline_proc_show": "cmdline_proc_show"}
    module = lpengine.build_c(source, changed, linux_image.kernel).payload
    base = base_build_id_of(read_patch(module, "cmdline"))
    member = "modules/cmdline.ko"
    content = content_of(member, module)
    livepatch = LivePatch("kernel", base, version(1), version(2), content, "cmdline")
    update = Update(
        "LPU-2",
        components=("kernel",),
        livepatches=(livepatch,),
        files=(disk_file("/tool", b"new\n"),),
        guidance={Level.RECOMMENDED: ("RebootHost",)},
    )
    held = {member: module, "files/tool": b"new\n"}
    bundle = packed(workshop, update, held, machine.share / "kernel.lpu")
    kernel = ("--component", f"kernel=linux:{linux_image.kernel}")
    look = {"read": "/proc/cmdline"}
    signed = ("--signers", workshop.signers, "--yes")
    installed, patched = machine.act(
        machine.verb("install", bundle, *signed, *kernel), look
    )
    assert (installed["exit"], installed["failed"], installed["tasks"]) == (0, [], [])
    assert patched.endswith("patched")
    machine.power_cut()
    plain, booted, patched, gone, after = machine.act(
        look,
        machine.verb("boot", *kernel),
        look,
        machine.verb("uninstall", "LPU-2", *kernel),
        look,
    )
    assert not plain.endswith("patched")
    assert booted["status"] == "done"
    assert patched.endswith("patched")
    assert gone["status"] == "done"
    assert after == plain
