"""One function a verb, each a straight line: read, observe, decide, act, show.
Read this first. Test harnesses call the same functions through `lpengine`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Unpack

from lpengine import planner
from lpengine.compile import DEFAULT_COMPILER
from lpengine.core import changed_chunks
from lpengine.elf import open_image, parse_image
from lpengine.elf.constants import SegmentType
from lpengine.engine import Event, Outcome, execute, recover
from lpengine.errors import ElfError, NotFoundError, StalePlanError, UsageError
from lpengine.journal import Journal, lock, lock_holder
from lpengine.machine import EmulatedMachine, open_machine
from lpengine.machine import create_machine as make_machine
from lpengine.patch import build
from lpengine.patch.built import Built
from lpengine.patch.model import Patch
from lpengine.patch.reader import load_patch
from lpengine.planner import Code, Facts, PatchState, Plan, Policy, Verdict
from lpengine.report.values import (
    Acted,
    CallComparison,
    CallResult,
    Emulated,
    FunctionChange,
    History,
    Inspection,
    Planned,
    Status,
)
from lpengine.targets import (
    MachineTarget,
    Target,
    open_target,
    state_directory_of,
)

Notify = Callable[[Event], None]
Decide = Callable[[Facts], Plan]

DEFAULT_POLICY = Policy()
WORD_SIZE = 8


def inspect(path: str | Path, *, name: str = "") -> Inspection:
    """What a patch module holds. Never refuses: violations are part of it."""
    patch = load_patch(Path(path), name)
    try:
        image = parse_image(patch.raw, str(path))
    except ElfError:
        image = None
    return Inspection(str(path), patch, image)


def plan(
    payloads: Sequence[str | Path],
    target: str | Target,
    policy: Policy = DEFAULT_POLICY,
    *,
    replace: bool = False,
) -> Planned:
    """What applying the modules in that order (or replacing everything by the one
    module) would do, and why not. Changes nothing."""
    patches = read(payloads)
    decide = replacing(patches, policy) if replace else applying(patches, policy)
    return observe_and_decide(opened(target), patches, decide)


def plan_revert(
    names: Sequence[str], target: str | Target, *, everything: bool = False
) -> Planned:
    """What taking the named patches back would do. Changes nothing."""
    return observe_and_decide(opened(target), (), reverting(names, everything))


def apply(
    payloads: Sequence[str | Path],
    target: str | Target,
    policy: Policy = DEFAULT_POLICY,
    *,
    timeout: timedelta | None = None,
    strict: bool = False,
    notify: Notify | None = None,
) -> Acted:
    """Load and apply the modules, in order: the plan, and one stage more."""
    patches = read(payloads)
    decide = applying(patches, policy)
    return act("apply", target, patches, decide, timeout, strict, notify)


def apply_plan(
    plan: Plan,
    payloads: Sequence[str | Path],
    target: str | Target,
    *,
    timeout: timedelta | None = None,
    notify: Notify | None = None,
) -> Acted:
    """Carry out a plan made earlier, with the modules it was made for.
    `StalePlanError` where the target or a module has changed since."""
    patches, name = read(payloads), target if isinstance(target, str) else target.name
    if name != plan.target:
        raise StalePlanError(
            f"the plan is for {plan.target}, not for {name}", hint="plan again"
        )
    return act(plan.action, target, patches, lambda _: plan, timeout, False, notify)


def replace(
    payload: str | Path,
    target: str | Target,
    policy: Policy = DEFAULT_POLICY,
    *,
    timeout: timedelta | None = None,
    strict: bool = False,
    notify: Notify | None = None,
) -> Acted:
    """Revert everything and apply the module, in one stop of the target."""
    patches = read([payload])
    decide = replacing(patches, policy)
    return act("replace", target, patches, decide, timeout, strict, notify)


def revert(
    names: Sequence[str],
    target: str | Target,
    *,
    everything: bool = False,
    timeout: timedelta | None = None,
    notify: Notify | None = None,
) -> Acted:
    """Take the named patches back, newest first; all of them with `everything`."""
    decide = reverting(names, everything)
    return act("revert", target, (), decide, timeout, False, notify)


def unload(
    names: Sequence[str],
    target: str | Target,
    *,
    everything: bool = False,
    notify: Notify | None = None,
) -> Acted:
    """Remove patches that are loaded and not applied."""

    def decide(facts: Facts) -> Plan:
        wanted = checked_names(facts) if everything else tuple(names)
        return planner.plan_unload(wanted, facts, DEFAULT_POLICY)

    return act("unload", target, (), decide, None, False, notify)


def status(target: str | Target) -> Status:
    """What runs now, observed on the target itself. A run that was broken off is
    named, one that goes on is not."""
    there = opened(target)
    facts = there.facts()
    with Journal(there.state_directory) as journal:
        broken = journal.open_run()
    if broken is None or lock_holder(there.state_directory) is not None:
        return Status(facts)
    return Status(facts, broken.verb)


def history(target: str | Target, limit: int = 50) -> History:
    """What was done to a target, newest first."""
    there = opened(target)
    with Journal(there.state_directory) as journal:
        return History(there.name, tuple(journal.entries(limit)))


def explain(code: str) -> Code:
    """The catalogue's entry for "LP-SHP-171" or "FUNCTION_TOO_SHORT"."""
    return planner.explain(code)


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


def build_c(
    source: str | Path,
    replacements: Mapping[str, str],
    image: str | Path,
    *,
    depends: str | Path | None = None,
    compiler: str = DEFAULT_COMPILER,
    **options: Unpack[build.More],
) -> Built:
    """Compile replacements (old function to new one) into a module for `image`, a
    hypervisor or a Linux kernel; `depends` is the module below it in the stack."""
    below = build_id_of(depends)
    chosen = build.Options(depends=below, **options).named(Path(source).stem)
    return build.build_c(
        Path(source), replacements, Path(image), chosen, compiler=compiler
    )


def build_asm(
    function: str,
    code: str,
    image: str | Path,
    *,
    depends: str | Path | None = None,
    **options: Unpack[build.More],
) -> Built:
    """Assemble `code` into a module that runs in the place of `function`."""
    plain = function.rpartition("#")[2].partition(",")[0]
    chosen = build.Options(depends=build_id_of(depends), **options).named(plain)
    return build.build_asm(function, code, Path(image), chosen)


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


# What the verbs share, in the order of the stages.


def read(payloads: Sequence[str | Path]) -> tuple[Patch, ...]:
    return tuple(load_patch(Path(path)) for path in payloads)


def opened(target: str | Target) -> Target:
    return open_target(target) if isinstance(target, str) else target


def state_directory(target: str | Target) -> Path:
    if isinstance(target, str):
        return state_directory_of(target)
    return target.state_directory


def applying(patches: Sequence[Patch], policy: Policy) -> Decide:
    return lambda facts: planner.plan_apply(patches, facts, policy)


def replacing(patches: Sequence[Patch], policy: Policy) -> Decide:
    if len(patches) != 1:
        raise UsageError("replace takes one module", hint="build a cumulative one")
    return lambda facts: planner.plan_replace(patches[0], facts, policy)


def reverting(names: Sequence[str], everything: bool) -> Decide:
    def decide(facts: Facts) -> Plan:
        wanted = tuple(reversed(facts.applied)) if everything else tuple(names)
        return planner.plan_revert(wanted, facts, DEFAULT_POLICY)

    return decide


def checked_names(facts: Facts) -> tuple[str, ...]:
    """The loaded patches that are not applied, newest first."""
    loaded = reversed(facts.loaded)
    return tuple(p.name for p in loaded if p.state is PatchState.CHECKED)


def observe(target: Target, patches: tuple[Patch, ...]) -> Facts:
    """Facts that cover the given patches and all that are on the target."""
    loaded = (at_hand(target, patch.name) for patch in target.facts().loaded)
    return target.facts((*patches, *(module for module in loaded if module)))


def at_hand(target: Target, name: str) -> Patch | None:
    """The module of a loaded patch; None where another program has loaded it and
    the target gives no bytes back."""
    try:
        return target.module(name)
    except NotFoundError:
        return None


def observe_and_decide(
    target: Target, patches: tuple[Patch, ...], decide: Decide
) -> Planned:
    facts = observe(target, patches)
    return Planned(decide(facts), patches, facts)


def act(
    verb: str,
    target: str | Target,
    patches: tuple[Patch, ...],
    decide: Decide,
    timeout: timedelta | None,
    strict: bool,
    notify: Notify | None,
) -> Acted:
    """Plan and carry out under the target's lock, first undoing what an earlier
    run left half done. The target is opened under the lock: what it was before may
    be what another process has changed since."""
    directory = state_directory(target)
    with lock(directory, verb), Journal(directory) as journal:
        there = opened(target)
        recovered = recover(there, journal)
        planned = observe_and_decide(there, patches, decide)
        if planned.plan.verdict is Verdict.REFUSED or (strict and warned(planned.plan)):
            return Acted(planned, None, recovered=recovered)
        outcome = carry_out(planned, there, journal, timeout, notify)
        after = observe(there, patches)
        return Acted(planned, outcome, changes(planned, after), recovered, after)


def carry_out(
    planned: Planned,
    target: Target,
    journal: Journal,
    timeout: timedelta | None,
    notify: Notify | None,
) -> Outcome:
    if timeout is None:
        timeout = timedelta(seconds=planned.facts.capabilities.patience)
    patches = {patch.name: patch for patch in planned.patches}
    return execute(
        planned.plan, target, journal, patches, timeout=timeout, notify=notify
    )


def warned(plan: Plan) -> bool:
    return any(f.severity is planner.Severity.WARN for f in plan.findings)


def changes(planned: Planned, after: Facts) -> tuple[FunctionChange, ...]:
    """The functions whose bytes differ between two observations. One that only
    either of them covers (its patch came or went) is compared with the file."""
    both = {**after.code, **planned.facts.code}
    return tuple(
        FunctionChange(fact.symbol, address, was, now)
        for address, fact in sorted(both.items())
        if (was := live_bytes(planned.facts, address, fact.shipped))
        != (now := live_bytes(after, address, fact.shipped))
    )


def live_bytes(facts: Facts, address: int, otherwise: bytes) -> bytes:
    fact = facts.code.get(address)
    return fact.live if fact else otherwise


def build_id_of(payload: str | Path | None) -> str:
    if payload is None:
        return ""
    patch = load_patch(Path(payload))
    if not patch.build_id:
        raise NotFoundError(
            f"{payload}: no build id to depend on",
            hint="name a patch module that has a .note.gnu.build-id",
        )
    return patch.build_id


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
