"""The planner against the loader: what the plan names is what the target answers."""

from collections.abc import Iterator
from itertools import permutations
from struct import error as StructError

import pytest

from lpengine.elf import Image
from lpengine.errors import TargetError
from lpengine.machine import EmulatedMachine
from lpengine.patch.model import Patch
from lpengine.patch.xen.reader import read_payload
from lpengine.patch.xen.refusals import REFUSALS
from lpengine.planner import Plan, Verdict, plan_apply, state_digest
from lpengine.targets.machine import MachineTarget
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
    for first, second in permutations(BROKEN, 2):
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
