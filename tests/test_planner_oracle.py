"""The planner against the loader: what the plan names is what the target answers,
and what it calls ready is done without a word."""

from collections.abc import Iterator
from itertools import combinations
from struct import error as StructError

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lpengine.elf import Image
from lpengine.elf.constants import SHF_ALLOC, SHF_WRITE
from lpengine.errors import TargetError
from lpengine.machine import EmulatedMachine
from lpengine.patch.model import Patch
from lpengine.patch.xen.reader import read_payload
from lpengine.patch.xen.refusals import REFUSALS
from lpengine.patch.xen.spec import SectionSpec
from lpengine.planner import (
    Apply,
    Facts,
    Load,
    Plan,
    Replace,
    Revert,
    Unload,
    Verdict,
    plan_apply,
    plan_replace,
    plan_revert,
    plan_unload,
    state_digest,
)
from lpengine.targets.machine import MachineTarget
from tests.contract.subject import SHORTLY
from tests.loader_cases import make_patch
from tests.payloads import BROKEN, DEFECTIVE, good_payload
from tests.test_loader_refusals import image

__all__ = ["image"]


@pytest.fixture
def target(image: Image, tmp_path) -> MachineTarget:
    return MachineTarget(EmulatedMachine.from_image(image), "emulated:", tmp_path)


def planned(target: MachineTarget, patch: Patch) -> Plan:
    return plan_apply([patch], target.facts([patch]))


def answered(target: MachineTarget, patch: Patch) -> tuple[str, str]:
    """Cause and errno of what the target says to the module, ("", "") for yes."""
    try:
        target.load(patch)
    except TargetError as refused:
        return refused.cause, refused.errno
    target.unload(patch.name)
    return "", ""


def first_answer(plan: Plan) -> tuple[str, str]:
    """The first blocking finding that the target itself would answer with."""
    said = [(f.cause, f.errno) for f in plan.blocking if f.errno]
    return said[0] if said else ("", "")


def test_the_good_payload_is_ready(target: MachineTarget) -> None:
    plan = planned(target, read_payload(good_payload(), "a"))
    assert plan.blocking == ()
    assert plan.verdict is Verdict.READY


@pytest.mark.parametrize("cause", BROKEN)
def test_the_plan_names_what_the_target_refuses(
    target: MachineTarget, cause: str
) -> None:
    before = state_digest(target.facts())
    patch = read_payload(BROKEN[cause](good_payload()), "a")
    plan = planned(target, patch)
    assert plan.verdict is Verdict.REFUSED
    assert first_answer(plan) == (cause, REFUSALS[cause].errno)
    assert state_digest(target.facts()) == before


@pytest.mark.parametrize("cause", DEFECTIVE)
def test_the_plan_names_what_a_hypervisor_would_die_of(
    target: MachineTarget, cause: str
) -> None:
    plan = planned(target, read_payload(DEFECTIVE[cause](good_payload()), "a"))
    assert plan.verdict is Verdict.REFUSED
    assert cause in {f.cause for f in plan.blocking if not f.errno}


def broken_twice() -> Iterator[tuple[str, str, bytes]]:
    """Every two breaches that do not get in each other's way."""
    alone = {cause: change(good_payload()) for cause, change in BROKEN.items()}
    for first, second in combinations(BROKEN, 2):
        try:
            both = BROKEN[second](alone[first])
        except (KeyError, StructError, IndexError):
            continue
        if both not in alone.values():
            yield first, second, both


def test_of_two_breaches_the_plan_names_the_one_the_target_does(
    target: MachineTarget,
) -> None:
    wrong = []
    for first, second, raw in broken_twice():
        patch = read_payload(raw, "a")
        said, answer = first_answer(planned(target, patch)), answered(target, patch)
        if said != answer:
            wrong.append((first, second, said, answer))
    assert wrong == []


GOOD = good_payload()
EDITS = st.lists(
    st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(EDITS)
def test_nothing_that_the_target_refuses_is_ready(
    target: MachineTarget, edits: list[tuple[int, int]]
) -> None:
    """Nor does any damage make the planner stumble. It may be stricter."""
    raw = bytearray(GOOD)
    for place, byte in edits:
        raw[place] = byte
    patch = read_payload(bytes(raw), "a")
    plan = planned(target, patch)
    if answered(target, patch) != ("", ""):
        assert plan.verdict is Verdict.REFUSED


DATA = SectionSpec(".data", bytes(8), SHF_ALLOC | SHF_WRITE, alignment=8)


def chain(image: Image) -> tuple[Patch, ...]:
    """a <- b <- c on the image, b with data of its own; d replaces them all."""
    a = make_patch(image, "a", {"dispatch": 1, "factorial": 2})
    b = make_patch(image, "b", {"factorial": 3}, depends=a.build_id, sections=(DATA,))
    c = make_patch(image, "c", {"factorial": 4}, depends=b.build_id)
    d = make_patch(image, "d", {"factorial": 5})
    return a, b, c, d


NAMES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)
VERBS = st.lists(
    st.tuples(st.sampled_from(("apply", "replace", "revert", "unload")), NAMES),
    max_size=8,
)


def decided(verb: str, names: list[str], facts: Facts, known: dict[str, Patch]) -> Plan:
    if verb == "apply":
        return plan_apply([known[name] for name in names], facts)
    if verb == "replace":
        return plan_replace(known[names[0]], facts)
    return (plan_revert if verb == "revert" else plan_unload)(names, facts)


def carry_out(plan: Plan, target: MachineTarget, known: dict[str, Patch]) -> None:
    for step in plan.steps:
        match step:
            case Load(name):
                target.load(known[name])
            case Apply(name, nodeps):
                target.apply(name, SHORTLY, nodeps=nodeps)
            case Revert(name):
                target.revert(name, SHORTLY)
            case Replace(name, replaced):
                assert replaced == target.loader.applied
                target.replace(name, SHORTLY)
            case Unload(name):
                target.unload(name)


@settings(max_examples=40, deadline=None)
@given(VERBS)
def test_what_is_ready_is_done(
    hv: Image, tmp_path_factory: pytest.TempPathFactory, verbs: list
) -> None:
    """Whatever was done before. And a second plan for the same has no steps."""
    machine = EmulatedMachine.from_image(hv)
    target = MachineTarget(machine, "emulated:", tmp_path_factory.getbasetemp())
    known = {patch.name: patch for patch in chain(hv)}
    for verb, names in verbs:
        plan = decided(verb, names, target.facts(known.values()), known)
        carry_out(plan, target, known)
        if plan.verdict is Verdict.READY and verb != "unload":
            again = decided(verb, names, target.facts(known.values()), known)
            assert again.steps == ()
            assert again.verdict is Verdict.NOTHING
