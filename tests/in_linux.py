"""Runs inside a guest with live patching, as root: plays what is done to its kernel,
and prints as JSON what came of it.

    python in_linux.py refusals FOLDER     every module there: foreseen, and answered
    python in_linux.py stall MODULE        apply it without a plan, for two seconds
    python in_linux.py cycles MODULE N     apply and revert it N times
    python in_linux.py steps FILE          steps like ["apply", "a.ko"], in one process
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lpengine
from lpengine.errors import LpengineError, TargetError
from lpengine.patch.linux.reader import read_module
from lpengine.patch.reader import load_patch
from lpengine.planner import plan_apply
from lpengine.targets.linux import LinuxTarget

LONG = timedelta(seconds=20)
SHORT = timedelta(seconds=2)
PATCHES = Path("/sys/kernel/livepatch")


@contextlib.contextmanager
def fresh_target() -> Iterator[LinuxTarget]:
    with TemporaryDirectory() as directory:
        yield LinuxTarget(read_module, state_directory=Path(directory))


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def modules() -> list[str]:
    return sorted(line.split()[0] for line in lines("/proc/modules"))


def answer(target: LinuxTarget, path: Path) -> dict[str, Any]:
    """What the kernel says to a module, whatever the plan and the reader say."""
    patch = load_patch(path)
    target._store.keep(patch)
    try:
        target.apply(patch.name, LONG)
    except TargetError as error:
        result = {"cause": error.cause, "errno": error.errno, "said": error.message}
    else:
        result = {"cause": "", "errno": "", "said": "taken"}
        target.revert(patch.name, LONG)
    target.unload(patch.name)
    return result


def foreseen(target: LinuxTarget, path: Path) -> dict[str, Any]:
    patch = load_patch(path)
    plan = plan_apply([patch], target.facts([patch]))
    return {
        "verdict": str(plan.verdict),
        "blocking": [[f.cause, f.errno] for f in plan.blocking],
    }


def refusals(folder: str) -> dict[str, Any]:
    """Modules are named NUMBER-what.ko; "below-…" are on while the others are tried,
    "ftrace-off-…" are tried with the tracer switched off."""
    result = {}
    for path in sorted(Path(folder).glob("*.ko")):
        with fresh_target() as target, surroundings(target, path):
            before = modules()
            result[path.stem] = {
                "foreseen": foreseen(target, path),
                "answered": answer(target, path),
                "clean": modules() == before,
            }
    return result


@contextlib.contextmanager
def surroundings(target: LinuxTarget, path: Path) -> Iterator[None]:
    below = path.with_suffix(".below")
    switch = Path("/proc/sys/kernel/ftrace_enabled")
    if below.exists():
        patch = load_patch(below)
        target.load(patch)
        target.apply(patch.name, LONG)
    if "ftrace-off" in path.stem:
        switch.write_text("0")
    try:
        yield
    finally:
        switch.write_text("1")
        if below.exists():
            target.revert(patch.name, LONG)
            target.unload(patch.name)


def stall(path: str) -> dict[str, Any]:
    before = modules()
    with fresh_target() as target:
        patch = load_patch(Path(path))
        plan = plan_apply([patch], target.facts([patch]))
        target.load(patch)
        begun = time.monotonic()
        try:
            target.apply(patch.name, SHORT)
            said, cause = "applied", ""
            target.revert(patch.name, LONG)
        except LpengineError as error:
            said, cause = error.message, getattr(error, "cause", "")
        took = time.monotonic() - begun
        applied = target.facts().applied
        target.unload(patch.name)
    return {
        "findings": [[f.cause, str(f.severity), f.observed] for f in plan.findings],
        "tasks": [str(task) for task in plan.tasks],
        "said": said,
        "cause": cause,
        "took": took,
        "applied": list(applied),
        "clean": modules() == before and not any(PATCHES.iterdir()),
    }


def cycles(path: str, count: str) -> dict[str, Any]:
    """With one CPU, so that the kernel finds every task off the CPU at once instead
    of looking again a second later."""
    online = Path("/sys/devices/system/cpu/cpu1/online")
    if online.exists():
        online.write_text("0")
    before, free = modules(), memory_free()
    begun = time.monotonic()
    wrong = []
    try:
        with fresh_target() as target:
            patch = load_patch(Path(path))
            target.load(patch)
            for number in range(int(count)):
                target.apply(patch.name, LONG)
                if "patched" not in Path("/proc/cmdline").read_text():
                    wrong.append(f"{number}: not on")
                target.revert(patch.name, LONG)
                if "patched" in Path("/proc/cmdline").read_text():
                    wrong.append(f"{number}: not off")
            target.unload(patch.name)
    finally:
        if online.exists():
            online.write_text("1")
    return {
        "wrong": wrong,
        "seconds": time.monotonic() - begun,
        "clean": modules() == before and not any(PATCHES.iterdir()),
        "lost": free - memory_free(),
    }


def steps(path: str) -> list[Any]:
    """What each step gives: the outcome and findings of a verb, the states of
    patches for "status", the output of a shell for "sh"."""
    return [step(*words) for words in json.loads(Path(path).read_text())]


def step(verb: str, *words: str) -> Any:
    if verb == "sh":
        script = ["sh", "-c", *words]
        return subprocess.run(script, check=True, capture_output=True, text=True).stdout
    if verb == "status":
        loaded = lpengine.status("linux").facts.loaded
        return {patch.name: str(patch.state) for patch in loaded}
    verbs = {
        "apply": lambda: lpengine.apply(words, "linux"),
        "replace": lambda: lpengine.replace(words[0], "linux"),
        "revert": lambda: lpengine.revert(words, "linux"),
        "unload": lambda: lpengine.unload(words, "linux"),
    }
    acted = verbs[verb]()
    status = acted.outcome.status if acted.outcome else "refused"
    return [status, *(finding.cause for finding in acted.planned.plan.findings)]


def memory_free() -> int:
    """In KiB, without what can be had back."""
    fields = dict(line.split(":", 1) for line in lines("/proc/meminfo"))
    return int(fields["MemAvailable"].split()[0])


if __name__ == "__main__":
    verbs = {"refusals": refusals, "stall": stall, "cycles": cycles, "steps": steps}
    print(json.dumps(verbs[sys.argv[1]](*sys.argv[2:])))
