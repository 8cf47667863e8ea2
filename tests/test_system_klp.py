"""Modules made by the engine's own writer, taken by Debian's kernel: insmod, sysfs
and rmmod by hand, so that nothing but the module is on trial."""

from datetime import timedelta
from pathlib import Path

import pytest

from lpengine.elf.kernel import KernelImage, open_kernel
from lpengine.hosts import lab
from lpengine.patch.linux.build import build_asm, build_c
from lpengine.patch.linux.module_file import open_module
from lpengine.patch.linux.reader import read_module

pytestmark = pytest.mark.system

SOURCES = Path(__file__).parent.parent / "fixtures/klp"
SYSFS = "/sys/kernel/livepatch"
SLEEP = """\
struct timespec { s64 seconds; long nanoseconds; };
long hrtimer_nanosleep(s64 time, int mode, int clock);

int common_nsleep(int clock, int flags, const struct timespec *time)
{
	s64 all = time->seconds * 1000000000 + time->nanoseconds;
	int result = hrtimer_nanosleep(all, !(flags & 1), clock);

	return result ? result : hrtimer_nanosleep(1, 1, clock);
}
"""
OFF = f"""
echo 0 > {SYSFS}/$1/enabled || exit 1
while [ -d {SYSFS}/$1 ]; do sleep 0.05; done
rmmod $1
"""
ON = f"""
insmod $2 || exit 1
while [ "$(cat {SYSFS}/$1/transition)" = 1 ]; do sleep 0.05; done
cat {SYSFS}/$1/enabled
"""


class Kernel:
    """The kernel of the guest, with modules that can be put in and taken out."""

    def __init__(self, guest: lab.Guest, image: KernelImage) -> None:
        self.guest, self.image = guest, image

    def sh(self, script: str, *words: str, status: int = 0) -> str:
        argv = ["sh", "-c", script, "sh", *words]
        done = self.guest.run(argv, timeout=timedelta(minutes=2))
        assert done.status == status, done.stdout + done.stderr
        return done.stdout.decode()

    def on(self, name: str, module: bytes) -> None:
        self.guest.write(f"/tmp/{name}.ko", module)
        assert self.sh(ON, name, f"/tmp/{name}.ko") == "1\n"

    def off(self, name: str) -> None:
        self.sh(OFF, name)

    def refuses(self, module: bytes) -> str:
        """What it says of a module that it does not take."""
        self.guest.write("/tmp/bad.ko", module)
        self.sh("dmesg -C; insmod /tmp/bad.ko", status=1)
        return self.log()

    def log(self) -> str:
        return self.sh("dmesg")


@pytest.fixture(scope="module")
def kernel(linux_guest: lab.Guest) -> Kernel:
    return Kernel(linux_guest, open_kernel(lab.stocked("linux").kernel))


def test_functions_data_callbacks_and_stubs_work(kernel: Kernel) -> None:
    replace = {"loadavg_proc_show": "", "uptime_proc_show": ""}
    built = build_c(SOURCES / "loadavg.c", replace, kernel.image, name="sys_loadavg")
    kernel.sh("dmesg -C")
    kernel.on("sys_loadavg", built.payload)
    try:
        assert kernel.sh("cat /proc/loadavg").startswith("live 1 running ")
        assert kernel.sh("cat /proc/loadavg").endswith(" forks 1 applied 1\n")
        assert kernel.sh("cat /proc/uptime") == "long enough\n"
    finally:
        kernel.off("sys_loadavg")
    assert kernel.sh("cat /proc/loadavg").count(" ") == 4
    log = kernel.log()
    assert "loadavg: pre_patch" in log
    assert "loadavg: post_unpatch 1" in log
    # Unsigned (8192), not of the tree (4096), live patch (32768): not forced (2).
    assert int(kernel.sh("cat /proc/sys/kernel/tainted")) & 2 == 0


def test_code_of_a_module_before_and_after_it_is_loaded(kernel: Kernel) -> None:
    (path,) = lab.stocked("linux").modules.rglob("af_key.ko")
    (needed,) = lab.stocked("linux").modules.rglob("xfrm_algo.ko")
    module = open_module(path)
    functions = {"pfkey_seq_show": ""}
    built = build_c(
        SOURCES / "pfkey.c", functions, kernel.image, module=module, name="sys_pfkey"
    )
    said = "pfkey patched, net id known, running\n"
    kernel.on("sys_pfkey", built.payload)
    kernel.sh('insmod "$1" && insmod "$2"', str(needed), str(path))
    assert kernel.sh("cat /proc/net/pfkey") == said
    kernel.off("sys_pfkey")
    shipped = kernel.sh("cat /proc/net/pfkey")
    assert shipped.startswith("sk ")
    kernel.on("sys_pfkey", built.payload)
    assert kernel.sh("cat /proc/net/pfkey") == said
    kernel.off("sys_pfkey")
    assert kernel.sh("cat /proc/net/pfkey") == shipped
    kernel.sh("rmmod af_key; rmmod xfrm_algo")


def test_stacks_through_new_code_are_reliable(kernel: Kernel, tmp_path: Path) -> None:
    """A task asleep in it holds the patch up, and the kernel says by which
    function: it could walk the stack, through the stub as well."""
    (tmp_path / "sleep.c").write_text(SLEEP)
    built = build_c(
        tmp_path / "sleep.c", {"common_nsleep": ""}, kernel.image, name="sys_sleep"
    )
    control = "file kernel/livepatch/transition.c"
    dynamic = "/sys/kernel/debug/dynamic_debug/control"
    kernel.sh(
        "mountpoint -q /sys/kernel/debug || mount -t debugfs d /sys/kernel/debug;"
        f"echo '{control} +p' > {dynamic}; dmesg -C"
    )
    kernel.on("sys_sleep", built.payload)
    kernel.sh("sleep 4 > /dev/null 2>&1 & sleep 0.5")
    kernel.off("sys_sleep")
    log = kernel.log()
    kernel.sh(f"echo '{control} -p' > {dynamic}")
    assert "is sleeping on function common_nsleep" in log
    assert "unreliable" not in log


def test_assembled_code_works(kernel: Kernel) -> None:
    code = "push rbx; mov rbx, rdi; lea rsi, [rip + saved_command_line];"
    code += "mov rsi, [rsi]; call seq_puts; xor eax, eax; pop rbx; ret"
    built = build_asm("version_proc_show", code, kernel.image, name="sys_asm")
    kernel.on("sys_asm", built.payload)
    try:
        shown = kernel.sh("cat /proc/version").strip()
        assert shown == kernel.sh("cat /proc/cmdline").strip()
    finally:
        kernel.off("sys_asm")


@pytest.mark.parametrize(
    ("old", "new", "cause", "said"),
    [
        (b"livepatch=Y", b"livepotch=Y", "not-marked-livepatch", "is not marked as a"),
        (b"vmlinux.nr_", b"vmlinux;nr_", "symbol-name-corrupt", "incorrectly format"),
        (b".klp.rela.vm", b".klp.rola.vm", "section-name-corrupt", "incorrectly for"),
    ],
)
def test_what_the_reader_finds_the_kernel_says(
    kernel: Kernel, old: bytes, new: bytes, cause: str, said: str
) -> None:
    replace = {"loadavg_proc_show": ""}
    built = build_c(SOURCES / "loadavg.c", replace, kernel.image, name="sys_bad")
    module = built.payload.replace(old, new)
    assert cause in [each.cause for each in read_module(module, "m").violations]
    assert said in kernel.refuses(module)


def test_a_relocation_over_something_is_refused_by_both(kernel: Kernel) -> None:
    built = build_asm("version_proc_show", "call seq_file_path; ret", kernel.image)
    assert b"\xe8\0\0\0\0\xe9" in built.payload
    module = built.payload.replace(b"\xe8\0\0\0\0\xe9", b"\xe8\1\0\0\0\xe9")
    (violation,) = read_module(module, "m").violations
    assert violation.cause == "relocation-target-nonzero"
    assert "existing value is nonzero" in kernel.refuses(module)
