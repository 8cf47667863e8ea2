"""Runs inside a guest with live patching, as root: plays what is done to its kernel,
and prints as JSON what came of it.

    python in_linux.py agreement FILE      modules: what is foreseen, what is answered
    python in_linux.py stall MODULE        apply it without a plan, for two seconds
    python in_linux.py cycles MODULE N     apply and revert it N times
    python in_linux.py steps FILE          steps like ["apply", "a.ko"], in one process
"""

import contextlib
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lpengine
from lpengine.core.modules import finit_module
from lpengine.errors import LpengineError, TargetError
from lpengine.patch.linux.reader import read_module
from lpengine.patch.model import Patch
from lpengine.patch.reader import load_patch
from lpengine.planner import plan_apply
from lpengine.targets.linux import CAP_SYS_MODULE, LinuxTarget
from lpengine.targets.linux_answers import KernelLog, refusal
from lpengine.targets.linux_transition import Clock, is_on, wait
from lpengine.targets.linux_tree import Tree

LONG = timedelta(seconds=20)
WARM = 10
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


def foreseen(target: LinuxTarget, path: Path) -> dict[str, Any]:
    patch = load_patch(path)
    plan = plan_apply([patch], target.facts([patch]))
    return {
        "verdict": str(plan.verdict),
        "blocking": [[f.cause, f.errno] for f in plan.blocking],
        "others": [f.cause for f in plan.findings if f not in plan.blocking],
    }


def answer(target: LinuxTarget, path: Path, after: str = "") -> dict[str, Any]:
    """What the kernel says to a module, whatever the plan and the reader say, or to
    another one that comes `after` it."""
    patch = load_patch(path)
    target._store.keep(patch)
    kept = target._store.find(patch.name)
    try:
        target._insert(kept)
        if after:
            insert(patch, after)
    except TargetError as error:
        return {"cause": error.cause, "errno": error.errno, "said": error.message}
    finally:
        take_out(target, patch.name)
        target._store.forget(patch.name)
    return {"cause": "", "errno": "", "said": "taken"}


def insert(patch: Patch, module: str) -> None:
    log = KernelLog()
    heard = log.open()
    try:
        finit_module(Path(module))
    except OSError as error:
        raise refusal(patch, error.errno or 0, log.close(heard)) from error
    log.close(heard)


def take_out(target: LinuxTarget, name: str) -> None:
    """If the kernel has taken it: off, and out, as soon as it lets go."""
    if (PATCHES / name).exists():
        wait(lambda: is_on(Tree(), name), Clock(), LONG)
        target.revert(name, LONG)
    for shown in (one for one in target._look().modules if one.name == name):
        if shown.livepatch:
            target._remove(name)


def agreement(path: str) -> dict[str, Any]:
    """Cases as (module, around, beside) by their names: tried one after the other."""
    cases = json.loads(Path(path).read_text())
    with fresh_target() as target:
        return {name: attempt(target, *map(str, case)) for name, case in cases.items()}


def attempt(
    target: LinuxTarget, module: str, around: str, beside: str
) -> dict[str, Any]:
    path = Path(module)
    before = modules()
    with AROUND[around](target, beside):
        found = {
            "foreseen": foreseen(target, path),
            "answered": answer(target, path, beside if around == "then" else ""),
        }
    return {**found, "clean": modules() == before}


Around = AbstractContextManager[None]


@contextlib.contextmanager
def below(target: LinuxTarget, beside: str) -> Iterator[None]:
    """Another patch is on."""
    patch = load_patch(Path(beside))
    target.load(patch)
    target.apply(patch.name, LONG)
    try:
        yield
    finally:
        target.revert(patch.name, LONG)
        target.unload(patch.name)


@contextlib.contextmanager
def in_transition(target: LinuxTarget, beside: str) -> Iterator[None]:
    """Another patch waits for a task that sleeps in its function."""
    sleeper = subprocess.Popen(["sleep", "300"])
    patch = load_patch(Path(beside))
    wait(lambda: bool(sleeping(sleeper.pid)), Clock(), LONG)
    finit_module(Path(beside))
    try:
        yield
    finally:
        sleeper.kill()
        sleeper.wait()
        take_out(target, patch.name)


def sleeping(process: int) -> bool:
    return "nanosleep" in Path(f"/proc/{process}/stack").read_text()


@contextlib.contextmanager
def switched(path: str, value: str) -> Iterator[None]:
    """A setting of the kernel, for as long as it takes; some have no way back."""
    switch = Path(path)
    before = switch.read_text().strip()
    switch.write_text(value)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            switch.write_text(before)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Without CAP_SYS_MODULE in effect."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    fewer = (ctypes.c_uint32 * 6)(*before)
    fewer[0] &= ~CAP_SYS_MODULE
    assert libc.capset(header, fewer) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


TRACING = "/proc/sys/kernel/ftrace_enabled"
LOCKDOWN = "/sys/kernel/security/lockdown"
SIGNATURES = "/sys/module/module/parameters/sig_enforce"
MODULES = "/proc/sys/kernel/modules_disabled"
AROUND: dict[str, Callable[[LinuxTarget, str], Around]] = {
    "": lambda *_: contextlib.nullcontext(),
    "below": below,
    "in-transition": in_transition,
    "then": lambda *_: contextlib.nullcontext(),
    "unprivileged": lambda *_: unprivileged(),
    "ftrace-off": lambda *_: switched(TRACING, "0"),
    # There is no way back from these.
    "lockdown": lambda *_: switched(LOCKDOWN, "integrity"),
    "sig-enforce": lambda *_: switched(SIGNATURES, "1"),
    "modules-disabled": lambda *_: switched(MODULES, "1"),
}


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
    before, free = modules(), 0
    begun = time.monotonic()
    wrong = []
    try:
        with fresh_target() as target:
            patch = load_patch(Path(path))
            target.load(patch)
            for number in range(int(count)):
                # The first ones fill what stays filled.
                if number == WARM:
                    free = memory_free()
                target.apply(patch.name, LONG)
                if "patched" not in Path("/proc/cmdline").read_text():
                    wrong.append(f"{number}: not on")
                target.revert(patch.name, LONG)
                if "patched" in Path("/proc/cmdline").read_text():
                    wrong.append(f"{number}: not off")
            lost = free - memory_free()
            target.unload(patch.name)
    finally:
        if online.exists():
            online.write_text("1")
    return {
        "wrong": wrong,
        "seconds": time.monotonic() - begun,
        "clean": modules() == before and not any(PATCHES.iterdir()),
        "lost": lost,
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
    verbs = {"agreement": agreement, "stall": stall, "cycles": cycles, "steps": steps}
    print(json.dumps(verbs[sys.argv[1]](*sys.argv[2:])))
