"""Waits until no CPU is inside code that is about to change or go away.

The machine's CPUs are looked at while all of them are stopped: none may have its
instruction pointer in that code, nor a return address into it on its stack. Where
one does, all run on a little and are looked at again, until the deadline.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from lpengine import core
from lpengine.errors import BusyError
from lpengine.loader.names import Names
from lpengine.machine.base import Machine, StoppedCpu
from lpengine.patch.xen.refusals import REFUSALS
from lpengine.planner.facts import Span

_BACKTRACE_MAX = 8


@dataclass(frozen=True)
class BusyCode:
    """Code that must be idle: a function that is about to change, or a patch's
    text that is about to go away."""

    name: str
    span: Span


def quiesce(
    machine: Machine, names: Names, code: Sequence[BusyCode], timeout: timedelta
) -> None:
    """Returns once no CPU is inside any of `code`; `BusyError` quiesce-timeout
    naming the first CPU that still is when `timeout` has passed."""
    deadline = time.monotonic() + timeout.total_seconds()
    ordered = _merge(code)
    while (blocked := _find_blocked(machine.stopped(), ordered)) is not None:
        if time.monotonic() >= deadline:
            raise _busy(*blocked, names, timeout)
        machine.let_run()


def _merge(code: Sequence[BusyCode]) -> list[BusyCode]:
    """Sorted, and what overlaps made one, under the first one's name."""
    merged: list[BusyCode] = []
    for one in sorted(code, key=lambda one: (one.span.start, one.span.end)):
        if merged and one.span.start < merged[-1].span.end:
            last = merged[-1]
            end = max(last.span.end, one.span.end)
            merged[-1] = BusyCode(last.name, Span(last.span.start, end))
        elif one.span.start < one.span.end:
            merged.append(one)
    return merged


def _find_blocked(
    cpus: Sequence[StoppedCpu], code: Sequence[BusyCode]
) -> tuple[StoppedCpu, BusyCode] | None:
    for cpu in cpus:
        for one in code:
            if cpu.instruction_pointer in one.span:
                return cpu, one
        if (on_stack := _find_on_stack(cpu, code)) is not None:
            return cpu, on_stack
    return None


def _find_on_stack(cpu: StoppedCpu, code: Sequence[BusyCode]) -> BusyCode | None:
    """Every word of the stack counts as a possible return address, but none that
    is a function's first byte: no call stands in front of it, a pointer to the
    function is not a frame of it."""
    ranges = [(one.span.start + 1, one.span.end) for one in code]
    hit = core.scan_stack(cpu.stack, ranges)
    return code[hit[1]] if hit else None


def backtrace(cpu: StoppedCpu, names: Names) -> tuple[str, ...]:
    """Where a CPU is and, conservatively, came from: every word of its stack that
    points into code, innermost first."""
    frames = [names.describe(cpu.instruction_pointer)]
    text = [names.text, *(patch.text for patch in names.loaded)]
    for offset in range(0, len(cpu.stack) - 7, 8):
        word = int.from_bytes(cpu.stack[offset : offset + 8], "little")
        if any(span.start < word < span.end for span in text):
            frames.append(names.describe(word))
            if len(frames) > _BACKTRACE_MAX:
                break
    return tuple(frames)


def _busy(
    cpu: StoppedCpu, code: BusyCode, names: Names, timeout: timedelta
) -> BusyError:
    calls = " < ".join(backtrace(cpu, names))
    return BusyError(
        f"{code.name} was still in use by {cpu.name} after"
        f" {timeout.total_seconds():g} s: {calls}",
        cause="quiesce-timeout",
        errno=REFUSALS["quiesce-timeout"].errno,
        hint="try again with a longer timeout, or wait until the call has returned",
    )
