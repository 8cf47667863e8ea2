"""Measures building a module from a source fix, against what it takes to build Xen
three times, which is what others do:

    python bench/build.py TREE [--config FILE]

TREE is a source tree of Xen. A one-file fix is made up, the hypervisor that runs is
built plainly, and then, in one run: three full builds (or --builds, and three times
their mean), the first build with lpengine, and five with its base cached. Peak memory
is of the largest process. Exit code 1 where it takes more than 30 seconds, or a quarter
of three builds.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILE, BEFORE = "xen/common/version.c", "return XEN_EXTRAVERSION;"
AFTER = 'return XEN_EXTRAVERSION "+bench";'
ROUNDS = 5
SECONDS, SHARE = 30, 0.25


def full_build(tree: Path, config: Path | None, scratch: Path) -> float:
    copy = scratch / "full"
    shutil.copytree(tree, copy, symlinks=True)
    if config is not None:
        shutil.copy(config, copy / "xen/.config")
    make = ["make", f"-j{len(os.sched_getaffinity(0))}", "-s", "-C", copy / "xen"]
    begun = time.monotonic()
    goal = "olddefconfig" if config is not None else "defconfig"
    for goals in ([goal], ["build"]):
        subprocess.run([*make, *goals], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - begun
    shutil.copy(copy / "xen/xen-syms", scratch / "xen-syms")
    shutil.rmtree(copy)
    return seconds


def made_up_fix(tree: Path, scratch: Path) -> Path:
    sides = [scratch / side / FILE for side in ("a", "b")]
    text = (tree / FILE).read_text()
    for path, content in zip(sides, (text, text.replace(BEFORE, AFTER)), strict=True):
        path.parent.mkdir(parents=True)
        path.write_text(content)
    argv = ["diff", "-u", f"a/{FILE}", f"b/{FILE}"]
    said = subprocess.run(argv, cwd=scratch, capture_output=True)
    fix = scratch / "fix.patch"
    fix.write_bytes(said.stdout)
    return fix


def from_fix(tree: Path, fix: Path, scratch: Path) -> tuple[float, float]:
    """Seconds, and MiB of the largest of its processes."""
    run = "from lpengine.cli import main; main()"
    argv = [sys.executable, "-c", run, "build", "source", "--tree", tree]
    argv += ["--patch", fix, "--image", scratch / "xen-syms"]
    argv += ["-o", scratch / "fix.livepatch", "--json"]
    environment = {**os.environ, "LPENGINE_CACHE": str(scratch / "cache")}
    begun = time.monotonic()
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"lpengine build source ended with {process.returncode}")
    return seconds, used.ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--builds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        full = [
            full_build(chosen.tree, chosen.config, scratch)
            for _ in range(chosen.builds)
        ]
        three = 3 * statistics.mean(full)
        print(
            f"three full builds        {three:8.1f} s  (from {len(full)})", flush=True
        )
        fix = made_up_fix(chosen.tree, scratch)
        first, _ = from_fix(chosen.tree, fix, scratch)
        print(f"build source, first time {first:8.1f} s", flush=True)
        rounds = [from_fix(chosen.tree, fix, scratch) for _ in range(ROUNDS)]
        seconds = statistics.median(each for each, _ in rounds)
        print(f"build source, base kept  {seconds:8.1f} s  (median of {ROUNDS})")
        print(f"  of three full builds   {seconds / three:8.1%}")
        print(f"  peak memory            {max(each for _, each in rounds):8.0f} MiB")
    return 0 if seconds < SECONDS and seconds <= SHARE * three else 1


if __name__ == "__main__":
    sys.exit(main())
