"""Measures building a live patch module from a source fix to a Linux kernel:

    python bench/build_linux.py TREE VMLINUZ [--module KO|DIRECTORY]

TREE is the source that VMLINUZ was built from. In one run: the first build, which
prepares the tree; then fixes to files that were never compiled before, of the kernel
and of a module, and each of them again, when the original is compiled already. Peak
memory is of the largest process. Ends with an error where a build takes over 30 s.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# A small file, for the preparation; then another one, a large one, one of a module.
FILES = (
    *("fs/proc/uptime.c", "fs/fs_context.c", "net/ipv4/tcp_ipv4.c"),
    "net/sched/sch_qfq.c",
)
LIMIT_SECONDS = 30


@dataclass(frozen=True)
class Run:
    seconds: float
    mebibytes: float
    said: str


def made_up_fix(tree: Path, name: str, scratch: Path) -> Path:
    """A fix that adds a statement to the first function with a plain return."""
    text = (tree / name).read_text()
    found = re.search(r"\n(\treturn (?:0|err|ret);\n})", text)
    if found is None:
        sys.exit(f"{tree / name}: has no function to change")
    changed = text[: found.start(1)] + "\tbarrier();\n\tWRITE_ONCE(jiffies_64, "
    changed += "READ_ONCE(jiffies_64));\n" + text[found.start(1) :]
    for side, content in (("a", text), ("b", changed)):
        path = scratch / side / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    argv = ["diff", "-u", f"a/{name}", f"b/{name}"]
    fix = scratch / f"{Path(name).stem}.patch"
    fix.write_bytes(subprocess.run(argv, cwd=scratch, capture_output=True).stdout)
    return fix


def build(arguments: argparse.Namespace, fix: Path, scratch: Path) -> Run:
    run = "from lpengine.cli import main; main()"
    argv = [sys.executable, "-c", run, "build", "source", "--tree", arguments.tree]
    argv += ["--patch", fix, "--image", arguments.image, "-o", scratch / "lp_bench.ko"]
    argv += [word for each in arguments.module for word in ("--module", each)]
    environment = {**os.environ, "LPENGINE_CACHE": str(scratch / "cache")}
    begun = time.monotonic()
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"lpengine build source ended with {process.returncode}:\n{said}")
    return Run(seconds, used.ru_maxrss / 1024, said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--module", action="append", default=[], type=Path)
    arguments = parser.parse_args()
    slow = []
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        for number, name in enumerate(FILES):
            fix = made_up_fix(arguments.tree, name, scratch)
            if number == 0:
                first = build(arguments, fix, scratch)
                print(f"first build, with make prepare    {first.seconds:7.1f} s")
                continue
            for when in ("never compiled before", "once more"):
                done = build(arguments, fix, scratch)
                print(
                    f"{name:24} {when:22} {done.seconds:7.1f} s "
                    f"{done.mebibytes:6.0f} MiB"
                )
                slow += [name] if done.seconds > LIMIT_SECONDS else []
    if slow:
        sys.exit(f"over {LIMIT_SECONDS} s: {', '.join(slow)}")


if __name__ == "__main__":
    main()
