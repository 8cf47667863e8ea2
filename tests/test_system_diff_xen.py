"""The hypervisor's own code through the differ: some of it built twice by each
compiler, the second time with every line of every source somewhere else."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lpengine.diff.changes import Changes, Verdict
from lpengine.diff.pairing import pair_files
from lpengine.diff.sets import diff_files
from lpengine.elf import open_image
from lpengine.patch.xen.build_image import TargetImage
from tests.debian_sources import Sourced, fetch_xen

pytestmark = pytest.mark.system

# Full of BUG frames, exception records, alternatives, static locals and switches.
OBJECTS = (
    *("common/domain.o", "common/event_channel.o", "common/grant_table.o"),
    *("common/kernel.o", "common/kexec.o", "common/memory.o", "common/page_alloc.o"),
    *("common/sched/core.o", "common/sched/credit2.o", "common/trace.o"),
    *("arch/x86/domain.o", "arch/x86/mm.o", "arch/x86/traps.o", "arch/x86/time.o"),
)
PLACES = ("common", "common/sched", "arch/x86")


@pytest.fixture(scope="module")
def debian() -> Sourced:
    return fetch_xen()


def make(tree: Path, compiler: str, *goals: str) -> subprocess.CompletedProcess[str]:
    """clang does not tell all of its warnings that Xen's authors did not know."""
    jobs = f"-j{len(os.sched_getaffinity(0))}"
    which = ["clang=y", "EXTRA_CFLAGS_XEN_CORE=-w"] if compiler == "clang" else []
    command = ["make", "-s", jobs, "-C", tree / "xen", *which, *goals]
    return subprocess.run(command, capture_output=True, text=True, timeout=540)


@pytest.fixture(scope="module", params=["gcc", "clang"])
def tree(
    request: pytest.FixtureRequest,
    debian: Sourced,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, str]:
    """The source as Debian configures it, and whose build it is to be."""
    copy = tmp_path_factory.mktemp("xen") / "tree"
    shutil.copytree(debian.tree, copy, symlinks=True)
    config = TargetImage(open_image(debian.xen_symbols)).configuration
    (copy / "xen/.config").write_bytes(config)
    done = make(copy, request.param, "olddefconfig")
    assert done.returncode == 0, done.stderr
    return copy, request.param


def built(tree: Path, compiler: str, directory: Path) -> Path:
    # What is generated first; without objects it ends where it would link them.
    make(tree, compiler, "xen", "ALL_OBJS-y=", "ALL_LIBS-y=")
    done = make(tree, compiler, *OBJECTS)
    assert done.returncode == 0, done.stderr
    for name in OBJECTS:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(tree / "xen" / name, directory / name)
    return directory


def move_lines(tree: Path) -> None:
    """More lines in front of everything, another number of them in each file."""
    for place in PLACES:
        for number, path in enumerate(sorted((tree / "xen" / place).glob("*.c"))):
            path.write_bytes(b"\n" * (3 + number % 7) + path.read_bytes())
    for number, path in enumerate(sorted((tree / "xen/include/xen").glob("*.h"))):
        path.write_bytes(b"\n" * (1 + number % 5) + path.read_bytes())


@pytest.fixture(scope="module")
def compared(
    tree: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Changes:
    there = tmp_path_factory.mktemp("objects")
    source, compiler = tree
    before = built(source, compiler, there / "before")
    move_lines(source)
    after = built(source, compiler, there / "after")
    assert all(differ(before / name, after / name) for name in OBJECTS)
    return diff_files(pair_files(before, after))


def differ(before: Path, after: Path) -> bool:
    return before.read_bytes() != after.read_bytes()


def test_moved_lines_change_nothing(compared: Changes) -> None:
    assert {each.name for each in compared.objects} == set(OBJECTS)
    assert compared.refusals == ()
    differing = {
        each.name: (each.changed_functions, each.new_data, each.refusals)
        for each in compared.objects
        if each.verdict is not Verdict.UNCHANGED
    }
    assert differing == {}
