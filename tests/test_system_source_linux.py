"""Fixes of Debian's own kernel source, proved against Debian's own build of it, taken
by that kernel, and seen from user space."""

import os
import shutil
from pathlib import Path

import pytest

from lpengine.api.object_builds import build_objects
from lpengine.api.source_builds import build_source
from lpengine.compile.fix import open_fix
from lpengine.compile.linux_tree import LinuxTree
from lpengine.compile.source import built
from lpengine.compile.toolchain import Toolchain
from lpengine.compile.tree import Settings
from lpengine.diff.changes import Verdict
from lpengine.errors import BuildError, NotFoundError
from lpengine.hosts import lab
from lpengine.patch.linux.reader import read_module
from lpengine.patch.model import KlpSymbol, Patch
from lpengine.patch.source import SourceResult
from lpengine.patch.unproved import NotProvedError
from tests.debian_kernel import fetch_source
from tests.klp_flips import Flip
from tests.missing import not_there
from tests.source_trees import write_fix

pytestmark = pytest.mark.system

DONE = """
#include <lpengine/klp.h>
static void lp_done(struct klp_object *object)
{
	pr_info("lp_loadavg is complete\\n");
}
KLP_POST_PATCH(lp_done);"""
# In the kernel itself, with lines added above and a callback; where a static local
# counts; in an inline function that three objects have copies of; in a module.
FIXES = {
    "lp_loadavg": {
        "fs/proc/loadavg.c": {
            "\tseq_printf(m,": '\t/* Not what booted. */\n\tseq_puts(m, "patched ");\n'
            "\tseq_printf(m,",
            "fs_initcall(proc_loadavg_init);": f"fs_initcall(proc_loadavg_init);{DONE}",
        }
    },
    "lp_timeout": {
        "net/core/sock.c": {
            "\t\tWRITE_ONCE(*timeo_p, 0);\n": "\t\tWRITE_ONCE(*timeo_p, 7 * HZ);\n",
        }
    },
    "lp_ipc": {
        "ipc/util.h": {
            "\treturn ids->max_idx;\n": "\treturn ids->max_idx + 100;\n",
        }
    },
    "lp_pfkey": {
        "net/key/af_key.c": {
            'seq_printf(f ,"sk ': 'seq_puts(f, "patched\\n"), seq_printf(f ,"sk ',
        }
    },
}
FUNCTIONS = {
    "lp_loadavg": {"loadavg_proc_show"},
    "lp_timeout": {"sock_set_timeout"},
    "lp_ipc": {"msgctl_info", "semctl_info", "shmctl_shm_info", "ksys_shmctl"},
    "lp_pfkey": {"pfkey_seq_show"},
}
# What this would do to structures, variables and set-up the running kernel has already.
IMPOSSIBLE = {
    "ipc/mqueue.c": {
        "\tstruct list_head\tmsg_list;\n\tint\t\t\tpriority;\n": (
            "\tint\t\t\tpriority;\n\tstruct list_head\tmsg_list;\n"
        ),
        "= FS_USERNS_MOUNT,": "= 0,",
        "SLAB_HWCACHE_ALIGN|SLAB_ACCOUNT, init_once": "SLAB_ACCOUNT, init_once",
        "static int mqueue_unlink(": (
            "static DEFINE_PER_CPU(int, unlinked);\nstatic int mqueue_unlink("
        ),
        "\tdrop_nlink(inode);\n": "\tdrop_nlink(inode);\n\tthis_cpu_inc(unlinked);\n",
    }
}
REFUSED = {
    ("LP-DAT-301", "struct posix_msg_tree_node"),
    ("LP-DAT-302", "mqueue_fs_type"),
    ("LP-DAT-304", "init_mqueue_fs"),
    ("LP-CHG-902", "unlinked"),
}
TIMEOUTS = """\
import socket, struct
one = socket.socket()
for _ in range(12):
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", -1, 0))
print(struct.unpack("qq", one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))[0])
"""
IPC = """\
import ctypes
libc, info = ctypes.CDLL(None), ctypes.create_string_buffer(256)
queue = libc.msgget(0, 0o1600)
semaphore, memory = libc.semget(0, 1, 0o1600), libc.shmget(0, 4096, 0o1600)
told = libc.msgctl(0, 3, info), libc.semctl(0, 0, 3, info), libc.shmctl(0, 3, info)
print(*("much" if each >= 100 else "few" for each in told))
libc.msgctl(queue, 0, None), libc.semctl(semaphore, 0, 0), libc.shmctl(memory, 0, None)
"""


@pytest.fixture(scope="module")
def tree(linux_image: lab.Stock) -> Path:
    try:
        return fetch_source(linux_image)
    except Exception as error:
        not_there("cannot fetch Debian's source of Linux", error)


@pytest.fixture(scope="module")
def results(
    tree: Path, linux_image: lab.Stock, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, SourceResult]:
    there = tmp_path_factory.mktemp("fixes")
    return {
        name: build_source(
            tree,
            [write_fix(there / f"{name}.patch", tree, edits)],
            linux_image.kernel,
            name=name,
        )
        for name, edits in FIXES.items()
    }


def patch_of(result: SourceResult) -> Patch:
    assert result.built is not None
    return read_module(result.built.payload, "m")


@pytest.mark.parametrize("name", FIXES)
def test_the_fix_and_nothing_else(name: str, results: dict[str, SourceResult]) -> None:
    result = results[name]
    assert result.verdict is Verdict.CHANGED, result.refusals
    assert result.built is not None
    plain = {each.partition(".")[0] for each in result.built.functions}
    assert plain - {"compat_ksys_shmctl"} == FUNCTIONS[name]
    assert patch_of(result).violations == ()
    assert result.configuration.endswith("-cloud-amd64")


def test_a_header_is_followed_into_all_objects_that_use_it(
    results: dict[str, SourceResult],
) -> None:
    result = results["lp_ipc"]
    changed = [each.name for each in result.changes.changed]
    assert changed == ["ipc/msg.o", "ipc/sem.o", "ipc/shm.o"]
    assert set(changed) <= set(result.objects)
    (fan,) = result.changes.fan_out
    assert (fan.function, len(fan.objects), fan.missing) == ("ipc_get_maxidx", 3, ())


def test_a_static_local_is_the_running_one(
    results: dict[str, SourceResult], linux_image: lab.Stock
) -> None:
    """Of the many that are called so, the one that the proved code counts in."""
    wanted = {
        each.symbol
        for each in patch_of(results["lp_timeout"]).klp_relocations
        if each.symbol and each.symbol.name.startswith("warned")
    }
    (symbol,) = wanted
    assert isinstance(symbol, KlpSymbol)
    assert symbol.object == "vmlinux"


def test_what_is_exported_is_linked_and_the_rest_looked_up(
    results: dict[str, SourceResult],
) -> None:
    patch = patch_of(results["lp_loadavg"])
    assert {"seq_printf", "seq_puts", "__fentry__"} <= set(patch.undefined)
    assert {each.symbol.name for each in patch.klp_relocations if each.symbol} == {
        *("get_avenrun", "nr_running", "nr_threads"),
    }


def test_what_cannot_be_patched_is_refused(
    tree: Path, linux_image: lab.Stock, tmp_path: Path
) -> None:
    fix = write_fix(tmp_path / "fix.patch", tree, IMPOSSIBLE)
    result = build_source(tree, [fix], linux_image.kernel, name="lp_impossible")
    assert result.verdict is Verdict.REFUSED
    assert result.built is None
    assert {(each.code, each.subject) for each in result.refusals} == REFUSED
    assert all(each.evidence and each.remedy for each in result.refusals)


def test_what_only_processors_that_come_up_run_is_refused(
    tree: Path, linux_image: lab.Stock, tmp_path: Path
) -> None:
    edits = {
        "arch/x86/kernel/cpu/bugs.c": {
            "\t\tmcu_ctrl |= RNGDS_MITG_DIS;\n": "\t\tmcu_ctrl |= 2;\n",
        }
    }
    fix = write_fix(tmp_path / "fix.patch", tree, edits)
    result = build_source(tree, [fix], linux_image.kernel, name="lp_bring_up")
    assert result.verdict is Verdict.REFUSED
    (refusal,) = result.refusals
    assert (refusal.code, refusal.cause) == ("LP-DAT-304", "bring-up-only")
    assert refusal.subject == "update_srbds_msr"


def flip(guest: lab.Guest, name: str, results: dict[str, SourceResult]) -> Flip:
    built = results[name].built
    assert built is not None
    return Flip(guest, name, built.payload)


def test_the_kernel_does_what_the_fix_says(
    linux_guest: lab.Guest, results: dict[str, SourceResult]
) -> None:
    module = flip(linux_guest, "lp_loadavg", results)
    seen = module.seen("cut", "-c", "1-8", "/proc/loadavg")
    assert [each == "patched" for each in seen] == [False, True, False]
    assert module.sh("sh", "-c", "dmesg | grep -c 'lp_loadavg is complete'") == "1"


def test_new_code_goes_on_counting_where_the_old_stopped(
    linux_guest: lab.Guest, results: dict[str, SourceResult]
) -> None:
    """The kernel complains ten times at most, whoever counts."""
    module = flip(linux_guest, "lp_timeout", results)
    module.sh("sysctl", "-q", "net.core.message_cost=0")
    assert module.seen("python3", "-c", TIMEOUTS) == ("0", "7", "0")
    complaints = module.sh("sh", "-c", "dmesg | grep -c 'set negative timeout'")
    assert complaints == "10"


def test_all_copies_of_an_inline_function_are_patched(
    linux_guest: lab.Guest, results: dict[str, SourceResult]
) -> None:
    module = flip(linux_guest, "lp_ipc", results)
    seen = module.seen("python3", "-c", IPC)
    assert seen == ("few few few", "much much much", "few few few")


def test_a_module_is_patched_as_it_is_loaded(
    linux_guest: lab.Guest, results: dict[str, SourceResult]
) -> None:
    module = flip(linux_guest, "lp_pfkey", results)
    module.on()
    module.sh("modprobe", "af_key")
    assert module.sh("head", "-n", "1", "/proc/net/pfkey") == "patched"
    module.off()
    assert module.sh("head", "-n", "1", "/proc/net/pfkey").startswith("sk ")
    module.sh("modprobe", "-r", "af_key")  # with what came with it


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def test_wherever_it_is_built_the_module_is_the_same(
    tree: Path,
    results: dict[str, SourceResult],
    linux_image: lab.Stock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another tree, and another place to build in."""
    monkeypatch.setenv("LPENGINE_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "elsewhere/linux"
    shutil.copytree(tree, other, symlinks=True, copy_function=link_or_copy)
    fix = write_fix(tmp_path / "lp_loadavg.patch", other, FIXES["lp_loadavg"])
    try:
        again = build_source(other, [fix], linux_image.kernel, name="lp_loadavg")
    finally:
        shutil.rmtree(tmp_path)
    first = results["lp_loadavg"].built
    assert again.built is not None
    assert first is not None
    assert again.built.payload == first.payload


@pytest.fixture(scope="module")
def pair(
    tree: Path, linux_image: lab.Stock, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The object of af_key, as it is and with the fix."""
    there = tmp_path_factory.mktemp("pair")
    fix = write_fix(there / "fix.patch", tree, FIXES["lp_pfkey"])
    settings = Settings(
        Toolchain("gcc"),
        linux_image.kernel.with_name(f"config-{linux_image.release}").read_bytes(),
        variables={"KERNELRELEASE": linux_image.release},
        jobs=2,
    )
    with built(LinuxTree(tree), [open_fix(fix)], settings) as source:
        (found,) = source.pairs
        assert found.original is not None
        assert found.patched is not None
        for name, path in (("old", found.original), ("new", found.patched)):
            (there / name / "net/key").mkdir(parents=True)
            shutil.copy(path, there / name / "net/key/af_key.o")
    return there / "old", there / "new"


def test_another_kind_of_compiler_is_refused_at_once(
    tree: Path, linux_image: lab.Stock, tmp_path: Path
) -> None:
    fix = write_fix(tmp_path / "fix.patch", tree, FIXES["lp_pfkey"])
    with pytest.raises(BuildError, match="was compiled by GCC") as caught:
        build_source(tree, [fix], linux_image.kernel, name="n", compiler="clang")
    assert caught.value.codes == ("LP-TGT-108",)


def test_objects_make_the_module_that_their_source_does(
    pair: tuple[Path, Path], results: dict[str, SourceResult], linux_image: lab.Stock
) -> None:
    original, patched = pair
    result = build_objects(original, patched, image=linux_image.kernel, name="lp_pfkey")
    assert result.verdict is Verdict.CHANGED
    assert result.built is not None
    assert result.built.functions == ("pfkey_seq_show",)
    one, other = (
        read_module(each.built.payload, "m")
        for each in (result, results["lp_pfkey"])
        if each.built
    )
    assert one.objects == other.objects == ("af_key",)
    assert one.klp_relocations == other.klp_relocations


def test_objects_that_do_not_run_are_refused(
    pair: tuple[Path, Path], linux_image: lab.Stock
) -> None:
    """The two builds mixed up."""
    with pytest.raises(NotProvedError) as caught:
        build_objects(*reversed(pair), image=linux_image.kernel, name="n")
    assert [each.function for each in caught.value.differences] == ["pfkey_seq_show"]


def test_a_module_that_is_not_there_is_asked_for(
    pair: tuple[Path, Path], linux_image: lab.Stock, tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(NotProvedError):
        build_objects(
            *pair, image=linux_image.kernel, name="n", modules=[tmp_path / "none"]
        )
    with pytest.raises(NotFoundError):
        build_objects(
            *pair, image=linux_image.kernel, name="n", modules=[tmp_path / "missing"]
        )
