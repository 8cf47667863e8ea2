"""Waits until the kernel has switched every task, and says who holds it up.

Documentation/livepatch/livepatch.rst, "Consistency model": each task switches by
itself when none of the functions is on its stack. Until then both versions run.
"""

import errno
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from lpengine.errors import BusyError, NotPermittedError, StuckError, TargetError
from lpengine.targets.linux_tree import (
    RunningPatch,
    Task,
    Tree,
    running_patch,
    switched,
    tasks,
)

# Most transitions are over before the first look. The kernel itself looks at
# sleeping tasks once a second, at others as they leave the kernel.
FIRST_LOOK = 0.010
LAST_LOOK = 0.020
# How long a transition that is called off may take; then somebody has to look.
REVERSAL = timedelta(seconds=60)
SHOWN = 8


@dataclass(frozen=True)
class Clock:
    """Seconds that only grow, and waiting; tests have a clock of their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def wait(done: Callable[[], bool], clock: Clock, timeout: timedelta) -> bool:
    """Whether it came true in time."""
    deadline = clock.now() + timeout.total_seconds()
    pause = FIRST_LOOK
    while not done():
        left = deadline - clock.now()
        if left <= 0:
            return False
        clock.sleep(min(pause, left))
        pause = min(pause * 1.5, LAST_LOOK)
    return True


def is_on(tree: Tree, name: str) -> bool:
    return switched(tree, name) == (True, False)


def is_off(tree: Tree, name: str) -> bool:
    """The directory goes away when the last task has switched."""
    return not (tree.livepatch / name).is_dir()


def complete(
    tree: Tree, clock: Clock, patch: RunningPatch, timeout: timedelta, force: bool
) -> bool:
    """Wait for the transition that is under way, in the direction it has. One that
    takes too long is called off, unless `force`: then every task is switched where
    it stands. Returns whether it was forced. `BusyError` where it was called off,
    and names who held it up; `StuckError` where not even that worked."""
    reached = is_on if patch.enabled else is_off
    if wait(lambda: reached(tree, patch.name), clock, timeout):
        return False
    if force:
        write(tree, patch.name, "force", "1")
        if wait(lambda: reached(tree, patch.name), clock, REVERSAL):
            return True
    held_up = blockers(tree, patch)
    if not called_off(tree, clock, patch):
        return False
    raise BusyError(
        f"{patch.name}: not every task had switched after "
        f"{timeout.total_seconds():g} s: {described(held_up)}; it was called off",
        cause="transition-stalled",
        errno="EBUSY",
        hint=advice(held_up),
    )


def called_off(tree: Tree, clock: Clock, patch: RunningPatch) -> bool:
    """Turn the transition round, and see that it ends where it began. False where
    it has come to its own end in the last moment."""
    back, forth = (is_off, is_on) if patch.enabled else (is_on, is_off)
    # The kernel refuses where there is nothing left to turn round.
    with suppress(TargetError):
        write(tree, patch.name, "enabled", "0" if patch.enabled else "1")

    def settled() -> bool:
        return back(tree, patch.name) or forth(tree, patch.name)

    if wait(settled, clock, REVERSAL):
        return back(tree, patch.name)
    now = running_patch(tree, patch.name)
    held_up = blockers(tree, now) if now else ()
    raise StuckError(
        f"{patch.name}: its transition neither ends nor goes back: "
        f"{described(held_up)}",
        left=[f"{patch.name} is in transition"],
        hint=advice(held_up),
    )


def write(tree: Tree, name: str, file: str, value: str) -> None:
    path = tree.livepatch / name / file
    try:
        path.write_text(value)
    except PermissionError as error:
        raise NotPermittedError(
            f"{path}: permission denied", hint="run it as root"
        ) from error
    except OSError as error:
        raise TargetError(
            f"{name}: the kernel refuses {value} in {file}: {error.strerror}",
            cause="busy" if error.errno == errno.EBUSY else "wrong-state",
            errno=errno.errorcode.get(error.errno or 0, ""),
        ) from error


def blockers(tree: Tree, patch: RunningPatch) -> tuple[Task, ...]:
    """The threads that still run the other version."""
    behind = 0 if patch.enabled else 1
    return tuple(task for task in tasks(tree) if task.patch_state == behind)


def described(held_up: Iterable[Task]) -> str:
    """ "kernel thread 42 (kswapd0) in kswapd < kthread", one after the other."""
    found = tuple(held_up)
    if not found:
        return "an idle CPU, or a task that has just switched"
    shown = [
        task.who + (f" in {' < '.join(task.stack[:4])}" if task.stack else "")
        for task in found[:SHOWN]
    ]
    more = len(found) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def advice(held_up: Iterable[Task]) -> str:
    found = tuple(held_up)
    if any(task.kernel for task in found):
        return "a kernel thread that lives in a function never leaves it: reboot"
    if found:
        threads = ", ".join(str(task.thread) for task in found[:SHOWN])
        return f"wake or end {threads}, or allow more time with --timeout"
    return "allow more time with --timeout"
