"""Debian's own Linux kernel in a guest: built, planned, applied, seen, taken back."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lpengine.elf import open_image
from lpengine.elf.kernel import KernelImage, open_kernel
from lpengine.hosts import lab
from lpengine.hosts.lab.initramfs import python_command
from lpengine.patch.linux.module_file import ModuleFile
from tests.kernel_modules import Build, builder

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent
LONG = timedelta(minutes=4)
CYCLES = 200
TEMPORARY = 12

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
HOLD = """\
struct seq_file;
void seq_printf(struct seq_file *m, const char *format, ...);
long schedule_timeout_uninterruptible(long jiffies);

int loadavg_proc_show(struct seq_file *m, void *v)
{
	schedule_timeout_uninterruptible(1500);
	seq_printf(m, "held\\n");
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


@pytest.fixture(scope="module")
def kernel(linux_guest: lab.Guest) -> KernelImage:
    return open_kernel(lab.stocked("linux").kernel)


@pytest.fixture
def build(kernel: KernelImage, tmp_path: Path) -> Build:
    return builder(kernel, tmp_path)


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
        words = ["lpengine", *argv, "--target", "linux", "--json"]
        return json.loads(self.run(*words, status=status))

    def play(self, *argv: str) -> Any:
        words = [*python_command(), "-m", "tests.in_linux", *argv]
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
    module, before = build("nap", SLEEP, "common_nsleep"), driver.modules()
    driver.sh("setsid sleep 300 >/dev/null 2>&1 </dev/null & sleep 1")
    try:
        words = ("apply", str(module), "--timeout", "2000")
        stalled = driver.lpengine(*words, status=TEMPORARY)
    finally:
        driver.sh("pkill -x sleep")
    findings = stalled["plan"]["findings"]
    assert ("function-busy", "warn") in {(f["cause"], f["severity"]) for f in findings}
    assert stalled["outcome"]["status"] == "rolled-back"
    assert stalled["outcome"]["cause"] == "transition-stalled"
    assert "(sleep) in " in stalled["outcome"]["error"]
    assert "common_nsleep" in stalled["outcome"]["error"]
    assert driver.lpengine("status")["patches"] == []
    assert driver.modules() == before


def test_a_task_asleep_in_the_new_code_is_waited_for(driver, build) -> None:
    """In a sleep that no signal ends: the patch stays on until it is over."""
    module = build("hold", HOLD, "loadavg_proc_show")
    driver.lpengine("apply", str(module))
    driver.sh("setsid cat /proc/loadavg >/run/held 2>&1 </dev/null & sleep 1")
    words = ("revert", "hold", "--timeout", "1000")
    stalled = driver.lpengine(*words, status=TEMPORARY)
    assert "(cat) in " in stalled["outcome"]["error"]
    assert "hold:loadavg_proc_show" in stalled["outcome"]["error"]
    assert driver.lpengine("status")["effective"] == ["hold"]
    driver.sh("while ! grep -q held /run/held; do sleep 0.2; done")
    driver.lpengine("revert", "hold")
    driver.lpengine("unload", "hold")


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


def test_a_patched_module_that_comes_again_is_refused_as_foreseen(
    driver, build
) -> None:
    """Before Linux 6.3, where the patch refers to something in that module."""
    stock = lab.stocked("linux")
    (af_key,) = stock.modules.rglob("af_key.ko")
    (needed,) = stock.modules.rglob("xfrm_algo.ko")
    source = (ROOT / "fixtures/klp/pfkey.c").read_text()
    shipped = ModuleFile(open_image(af_key))
    module = build("key", source, "pfkey_seq_show", module=shipped)
    before = driver.modules()
    applied = driver.lpengine("apply", str(module))
    causes = [finding["cause"] for finding in applied["plan"]["findings"]]
    assert causes == ["target-absent", "target-reload"]
    driver.sh(f"insmod {needed} && insmod {af_key} && rmmod af_key")
    driver.run("insmod", str(af_key), status=1)
    assert "existing value is nonzero" in driver.sh("dmesg | tail -20")
    driver.lpengine("revert", "key")
    driver.lpengine("unload", "key")
    driver.sh(f"insmod {af_key} && rmmod af_key xfrm_algo")
    assert driver.modules() == before


def test_many_cycles_while_the_function_is_called(driver, build) -> None:
    module = build("again", show(), "cmdline_proc_show")
    # What stands by in the guest has all its memory then.
    driver.lpengine("status")
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
