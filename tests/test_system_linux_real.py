"""Debian's own Linux kernel in a guest: built, planned, applied, seen, taken back."""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lpengine.elf import open_image, parse_image
from lpengine.elf.kernel import KernelImage, open_kernel
from lpengine.hosts import lab
from lpengine.patch.linux.build import build_c
from lpengine.patch.linux.module_file import ModuleFile

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent
LONG = timedelta(minutes=4)
CYCLES = 200

SHOW = """\
struct seq_file;
void seq_printf(struct seq_file *m, const char *format, ...);
extern char *saved_command_line;

int cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%%s %s\\n", saved_command_line);
	return 0;
}
"""
SLEEP = """\
int common_nsleep(int clock, int flags, const void *time)
{
	return 0;
}
"""
SWAP = """\
int kswapd(void *node)
{
	return 0;
}
"""
STATUS = """\
long simple_read_from_buffer(void *to, unsigned long count, long long *at,
	const void *from, unsigned long available);

long bm_status_read(void *file, void *to, unsigned long count, long long *at)
{
	return simple_read_from_buffer(to, count, at, "patched\\n", 8);
}
"""
VETO = """\
struct klp_object;

static int no(struct klp_object *object)
{
	return -19;
}

KLP_PRE_PATCH(no);
"""


@pytest.fixture(scope="module")
def kernel(linux_guest: lab.Guest) -> KernelImage:
    return open_kernel(lab.stocked("linux").kernel)


@pytest.fixture
def build(kernel: KernelImage, tmp_path: Path) -> Callable[..., Path]:
    """Builds a module of C that says what takes the place of what."""

    def make(name: str, source: str, *functions: str, **more: Any) -> Path:
        path = tmp_path / f"{name}.c"
        path.write_text(source)
        built = build_c(path, dict.fromkeys(functions, ""), kernel, name=name, **more)
        module = tmp_path / f"{name}.ko"
        module.write_bytes(built.payload)
        return module

    return make


def show(says: str = "patched", more: str = "") -> str:
    return SHOW % says + more


class Driver:
    """lpengine and other programs, in the guest."""

    def __init__(self, guest: lab.Guest, directory: Path) -> None:
        self.guest, self.directory = guest, directory

    def run(self, *argv: str, status: int = 0) -> str:
        done = self.guest.run(argv, timeout=LONG, directory=str(ROOT))
        text = done.stdout.decode()
        assert done.status == status, text + done.stderr.decode()
        return text

    def sh(self, script: str) -> str:
        return self.run("sh", "-c", script)

    def lpengine(self, *argv: str, status: int = 0) -> Any:
        words = [sys.executable, "-m", "lpengine", *argv, "--target", "linux", "--json"]
        return json.loads(self.run(*words, status=status))

    def play(self, *argv: str) -> Any:
        words = [sys.executable, "-m", "tests.in_linux", *argv]
        return json.loads(self.run(*words))

    def steps(self, *steps: tuple[str, ...]) -> Any:
        """In one process: to start one costs more than most of what it does."""
        path = self.directory / "steps.json"
        path.write_text(json.dumps(steps))
        return self.play("steps", str(path))

    def modules(self) -> list[str]:
        return sorted(line.split()[0] for line in self.sh("lsmod").splitlines()[1:])


@pytest.fixture
def driver(linux_guest: lab.Guest, tmp_path: Path) -> Driver:
    return Driver(linux_guest, tmp_path)


def test_user_space_sees_the_patch_come_and_go(driver, build) -> None:
    module = build("hello", show("live from lpengine"), "cmdline_proc_show")
    before, old = driver.modules(), driver.sh("cat /proc/cmdline")
    applied = driver.lpengine("apply", str(module))
    assert applied["outcome"]["status"] == "done"
    assert driver.sh("cat /proc/cmdline") == f"{old.strip()} live from lpengine\n"
    (loaded,) = driver.lpengine("status")["patches"]
    assert (loaded["name"], loaded["state"]) == ("hello", "applied")
    driver.lpengine("revert", "hello")
    assert driver.sh("cat /proc/cmdline") == old
    driver.lpengine("unload", "hello")
    assert driver.modules() == before
    assert "hello" not in driver.sh("ls /sys/kernel/livepatch")


def test_patches_lie_on_one_another_and_get_replaced(driver, build) -> None:
    before = driver.modules()
    one = build("one", show("one"), "cmdline_proc_show")
    two = build("two", show("two"), "cmdline_proc_show")
    whole = build("whole", show("whole"), "cmdline_proc_show", atomic_replace=True)
    _, both, _, alone, states, *_ = driver.steps(
        ("apply", str(one), str(two)),
        ("sh", "cat /proc/cmdline"),
        ("replace", str(whole)),
        ("sh", "cat /proc/cmdline"),
        ("status",),
        ("revert", "whole"),
        ("unload", "one", "two", "whole"),
    )
    assert both.endswith(" two\n")
    assert alone.endswith(" whole\n")
    assert states == {"one": "checked", "two": "checked", "whole": "applied"}
    assert driver.modules() == before


def test_a_task_asleep_in_the_function_is_named_and_the_patch_goes_back(
    driver, build
) -> None:
    module = build("nap", SLEEP, "common_nsleep")
    driver.sh("setsid sleep 300 >/dev/null 2>&1 </dev/null & sleep 1")
    try:
        found = driver.play("stall", str(module))
    finally:
        driver.sh("pkill -x sleep")
    assert ["function-busy", "warn"] in [f[:2] for f in found["findings"]]
    assert found["cause"] == "transition-stalled"
    assert "(sleep) in " in found["said"]
    assert "common_nsleep" in found["said"]
    assert found["applied"] == []
    assert found["clean"]


def test_a_kernel_thread_that_never_leaves_is_foreseen_and_named(driver, build) -> None:
    found = driver.play("stall", str(build("swap", SWAP, "kswapd")))
    assert ["function-resident", "block"] in [f[:2] for f in found["findings"]]
    assert found["tasks"] in (["reboot_host"], ["evacuate_host+reboot_host"])
    assert found["cause"] == "transition-stalled"
    assert "(kswapd0) in " in found["said"]
    assert found["clean"]


def test_a_module_is_patched_whenever_it_comes(driver, build) -> None:
    """binfmt_misc, whose status file says "enabled": patched as it comes in, and
    while it is there."""
    stock = lab.stocked("linux")
    target = stock.modules / "kernel/fs/binfmt_misc.ko"
    shipped = ModuleFile(open_image(target))
    module = build("misc", STATUS, "bm_status_read", module=shipped)
    place = "/proc/sys/fs/binfmt_misc"
    mount = f"mount -t binfmt_misc none {place} && cat {place}/status"
    before = driver.modules()
    look = ("sh", f"cat {place}/status")
    early, came, _, off, late, on, _, off_again, *_ = driver.steps(
        ("apply", str(module)),
        ("sh", f"insmod {target} && {mount}"),
        ("revert", "misc"),
        look,
        ("apply", str(module)),
        look,
        ("revert", "misc"),
        look,
        ("unload", "misc"),
        ("sh", f"umount {place} && rmmod binfmt_misc"),
    )
    assert early == ["done", "target-absent"]
    assert late == ["done"]
    assert (came, off, on, off_again) == (
        "patched\n",
        "enabled\n",
        "patched\n",
        "enabled\n",
    )
    assert driver.modules() == before


def test_what_is_refused_was_foreseen(driver, build, tmp_path) -> None:
    folder = tmp_path / "refusals"
    folder.mkdir()
    expected = bad_modules(folder, build)
    before = driver.modules()
    seen = driver.play("refusals", str(folder))
    wrong = {}
    for name, (foreseen, answered, errno) in expected.items():
        row = seen[name]
        said = (row["answered"]["cause"], row["answered"]["errno"])
        blocking = [tuple(each) for each in row["foreseen"]["blocking"]]
        fine = said == (answered, errno) and row["clean"]
        if foreseen:
            fine = fine and bool(blocking) and blocking[0] == (foreseen, errno)
        else:
            fine = fine and not blocking
        if not fine:
            wrong[name] = row
    assert wrong == {}
    assert driver.modules() == before


def test_many_cycles_while_the_function_is_called(driver, build) -> None:
    module = build("again", show(), "cmdline_proc_show")
    driver.sh(
        "setsid nice -n 19 sh -c 'while :; do cat /proc/cmdline; done' "
        ">/dev/null 2>&1 </dev/null & echo $! > /run/busy"
    )
    try:
        result = driver.play("cycles", str(module), str(CYCLES))
    finally:
        driver.sh("kill $(cat /run/busy)")
    assert result["wrong"] == []
    assert result["clean"]
    assert result["lost"] < 8 << 10


# Modules that are wrong in one thing: name -> (what the plan says, what the kernel
# says, errno). The plan says "" where only trying tells.
Expected = dict[str, tuple[str, str, str]]


def bad_modules(folder: Path, build: Callable[..., Path]) -> Expected:
    good = build("bad", show(), "cmdline_proc_show").read_bytes()
    expected: Expected = {}

    def add(
        name: str, raw: bytes, foreseen: str, answered: str, errno: str, below: str = ""
    ) -> None:
        (folder / f"{name}.ko").write_bytes(raw)
        if below:
            (folder / f"{name}.below").write_bytes(Path(below).read_bytes())
        expected[name] = (foreseen, answered, errno)

    def same(name: str, raw: bytes, cause: str, errno: str) -> None:
        add(name, raw, cause, cause, errno)

    names = ".rodata.klp_names"
    function = b"cmdline_proc_show\0"
    same("01-good", good, "", "")
    same(
        "02-vermagic",
        edited(good, ".modinfo", b"SMP preempt", b"SMP PREEMPT"),
        "vermagic-mismatch",
        "ENOEXEC",
    )
    same(
        "03-layout",
        flipped(good, "__versions", b"module_layout"),
        "module-layout-mismatch",
        "ENOEXEC",
    )
    same(
        "04-crc",
        flipped(good, "__versions", b"seq_printf"),
        "symbol-version-mismatch",
        "EINVAL",
    )
    same(
        "05-no-crc",
        edited(good, "__versions", b"seq_printf", b"seq_prinXX"),
        "symbol-version-missing",
        "EINVAL",
    )
    same(
        "06-unknown",
        edited(good, ".strtab", b"seq_printf", b"seq_prinXX"),
        "unknown-symbol",
        "ENOENT",
    )
    same(
        "07-not-marked",
        edited(good, ".modinfo", b"livepatch=Y", b"livepatXX=Y"),
        "not-marked-livepatch",
        "EINVAL",
    )
    same(
        "08-klp-symbol",
        edited(good, ".strtab", b"saved_command_line,0", b"saved_command_linX,0"),
        "klp-symbol-not-found",
        "EINVAL",
    )
    same(
        "09-klp-position",
        edited(good, ".strtab", b"saved_command_line,0", b"saved_command_line,9"),
        "symbol-position",
        "EINVAL",
    )
    same(
        "10-old-function",
        edited(good, names, function, b"cmdline_proc_shoX\0"),
        "klp-symbol-not-found",
        "EINVAL",
    )
    expected["10-old-function"] = (
        "old-function-not-found",
        "klp-symbol-not-found",
        "EINVAL",
    )
    same(
        "11-not-traced",
        edited(good, names, function, b"do_syscall_64\0\0\0\0\0"),
        "function-not-traced",
        "EINVAL",
    )
    same(
        "12-ambiguous",
        edited(good, names, function, b"s_show\0\0\0\0\0\0\0\0\0\0\0\0"),
        "symbol-ambiguous",
        "EINVAL",
    )
    add(
        "13-init",
        edited(good, names, function, b"start_kernel\0\0\0\0\0\0"),
        "init-target",
        "function-not-traced",
        "EINVAL",
    )
    same("14-ftrace-off", good, "tracing-disabled", "EBUSY")
    veto = build("veto", show(more=VETO), "cmdline_proc_show").read_bytes()
    add("15-veto", veto, "", "hook-veto", "ENODEV")
    low = build("low", show(more="KLP_STATE(77, 1);\n"), "cmdline_proc_show")
    high = build("high", show(more="KLP_STATE(77, 2);\n"), "cmdline_proc_show")
    add(
        "16-state",
        low.read_bytes(),
        "states-incompatible",
        "states-incompatible",
        "EINVAL",
        below=str(high),
    )
    return expected


def edited(raw: bytes, section: str, old: bytes, new: bytes) -> bytes:
    """The module with some bytes of a section replaced by as many others."""
    assert len(old) == len(new)
    found = parse_image(raw).section(section)
    assert found is not None
    at = raw.index(old, found.offset, found.offset + found.size)
    return raw[:at] + new + raw[at + len(old) :]


def flipped(raw: bytes, section: str, name: bytes) -> bytes:
    """The module with another CRC before that name."""
    found = parse_image(raw).section(section)
    assert found is not None
    at = raw.index(name, found.offset) - 8
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
