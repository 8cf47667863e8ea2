"""The verbs that need an emulated machine: create one, call, emulate."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from lpengine.api.targets import DEFAULT_POLICY, apply, revert, unload
from lpengine.core import changed_chunks
from lpengine.elf import open_image
from lpengine.elf.constants import SegmentType
from lpengine.errors import UsageError
from lpengine.journal import lock
from lpengine.machine import EmulatedMachine, open_machine
from lpengine.machine import create_machine as make_machine
from lpengine.planner import Policy
from lpengine.report.values import CallComparison, CallResult, Emulated
from lpengine.targets import state_directory_of
from lpengine.targets.machine import MachineTarget

WORD_SIZE = 8


def create_machine(
    directory: str | Path,
    image: str | Path,
    *,
    cpus: int = 1,
    features: Sequence[int] = (),
) -> EmulatedMachine:
    """Make an emulated machine that outlives the process, in a new directory."""
    return make_machine(Path(directory), Path(image), cpus=cpus, features=features)


def call(
    directory: str | Path,
    function: str,
    arguments: Sequence[str] = (),
    *,
    returns: str = "int",
    cpu: int = 0,
    budget: int = 10_000_000,
) -> CallResult:
    """Call a function of the machine in `directory`. Arguments that read as
    integers are integers, all others strings; `returns` is int, string or
    bytes:N. `FaultError` where it faults, and then nothing has changed."""
    with lock(state_directory_of(f"emulated:{directory}"), "machine call"):
        machine = open_machine(Path(directory))
        MachineTarget(machine, f"emulated:{directory}", Path(directory))
        return make_call(machine, function, arguments, returns, cpu, budget)


def emulate(
    payloads: Sequence[str | Path],
    image: str | Path,
    policy: Policy = DEFAULT_POLICY,
    *,
    cpus: int = 1,
    calls: Sequence[tuple[str, Sequence[str], str]] = (),
    timeout: timedelta | None = None,
    state_directory: str | Path,
) -> Emulated:
    """Apply to a throw-away machine made of `image`, make each call (function,
    arguments, returns) before, with and after the patch, and take it back. What a
    call changes in memory is forgotten, so that the calls compare."""
    machine = EmulatedMachine.from_image(open_image(Path(image)), cpus=cpus)
    target = MachineTarget(machine, f"emulated:{image}", Path(state_directory))
    pristine = image_memory(machine)
    before = [undone_call(machine, *each) for each in calls]
    acted = apply(payloads, target, policy, timeout=timeout)
    if acted.outcome is None or acted.outcome.status != "done":
        return Emulated(acted, (), differing_symbols(machine, pristine))
    patched = [undone_call(machine, *each) for each in calls]
    revert((), target, everything=True, timeout=timeout)
    unload((), target, everything=True)
    reverted = [undone_call(machine, *each) for each in calls]
    compared = tuple(
        CallComparison(" ".join([name, *arguments]), *results)
        for (name, arguments, _), *results in zip(
            calls, before, patched, reverted, strict=True
        )
    )
    return Emulated(acted, compared, differing_symbols(machine, pristine))


def image_memory(machine: EmulatedMachine) -> bytes:
    """Every byte of the image as it is in the machine's memory now."""
    start, end = image_span(machine)
    return machine.read(start, end - start)


def image_span(machine: EmulatedMachine) -> tuple[int, int]:
    loaded = [s for s in machine.image.image.segments if s.type == SegmentType.PT_LOAD]
    bias = machine.image.bias
    start = min(segment.virtual_address for segment in loaded)
    return start + bias, max(segment.end for segment in loaded) + bias


def differing_symbols(machine: EmulatedMachine, pristine: bytes) -> tuple[str, ...]:
    """The symbols whose bytes are not the pristine ones, in address order."""
    start, _ = image_span(machine)
    symbols, bias = machine.image.image.symbols, machine.image.bias
    names: dict[str, None] = {}
    for chunk in changed_chunks(pristine, image_memory(machine), WORD_SIZE):
        found = symbols.at(start + chunk * WORD_SIZE - bias)
        names[found[0].qualified_name if found else "?"] = None
    return tuple(names)


class _Undo(Exception):
    """Ends a transaction whose effects are not wanted."""


def undone_call(
    machine: EmulatedMachine, function: str, arguments: Sequence[str], returns: str
) -> CallResult:
    """A call whose effect on memory is forgotten, so that it can be compared with
    the same call at another time."""
    results = []
    with suppress(_Undo), machine.transaction():
        results.append(make_call(machine, function, arguments, returns))
        raise _Undo
    return results[0]


def make_call(
    machine: EmulatedMachine,
    function: str,
    arguments: Sequence[str],
    returns: str,
    cpu: int = 0,
    budget: int = 10_000_000,
) -> CallResult:
    shape, size = parse_returns(returns)
    values = [parse_argument(argument) for argument in arguments]
    result = machine.call_by_name(function, values, budget=budget, cpu=cpu)
    value: int | str | bytes = result
    if shape == "string":
        value = machine.read_string(result)
    elif shape == "bytes":
        value = machine.read(result, size)
    return CallResult(function, tuple(arguments), returns, value)


def parse_returns(returns: str) -> tuple[str, int]:
    shape, _, size = returns.partition(":")
    if shape in ("int", "string") and not size:
        return shape, 0
    if shape == "bytes" and size.isdecimal() and 0 < int(size) <= 1 << 20:
        return shape, int(size)
    raise UsageError(
        f"cannot return {returns!r}", hint="int, string or bytes:N with N up to 1 MiB"
    )


def parse_argument(text: str) -> int | str | bytes:
    """ "12", "-1" and "0xff" are integers, "hex:00ff" a buffer, else a string."""
    if text.startswith("hex:"):
        try:
            return bytes.fromhex(text[4:])
        except ValueError:
            raise UsageError(f"{text!r} is not hexadecimal") from None
    try:
        return int(text, 0)
    except ValueError:
        return text
