"""Plans for a fake target: one patch and one with data above it are applied, a
third that depends on something else is only loaded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.engine import Outcome, execute
from lpengine.errors import BusyError, TargetError
from lpengine.journal import Journal
from lpengine.planner import state_digest
from lpengine.planner.plan import (
    Apply,
    Load,
    Plan,
    Replace,
    Revert,
    Step,
    Unload,
    Verdict,
)
from tests.fake_target import FakeTarget, make_patch

ONE = make_patch("one")
TWO = make_patch("two", ONE.build_id)
DATA = make_patch("data", ONE.build_id, data=True)
CUMULATIVE = make_patch("all")
OTHER = make_patch("other", "ff" * 20)
PATCHES = {p.name: p for p in (ONE, TWO, DATA, CUMULATIVE, OTHER)}


def load(name: str) -> Load:
    return Load(name, PATCHES[name].sha256)


def unload(name: str) -> Unload:
    return Unload(name, PATCHES[name].sha256)


def plan_of(target: FakeTarget, *steps: Step, action: str = "apply") -> Plan:
    digest = state_digest(target.facts())
    return Plan(target.name, action, Verdict.READY, steps, (), (), digest)


def carry_out(target: FakeTarget, *steps: Step, **options: object) -> Outcome:
    with Journal(target.state_directory) as journal:
        plan = plan_of(target, *steps)
        return execute(plan, target, journal, PATCHES, **options)  # type: ignore[arg-type]


def fail(cause: str = "out-of-memory") -> Callable[[], None]:
    def raising() -> None:
        raise TargetError(f"refused: {cause}", cause=cause)

    return raising


def busy() -> None:
    raise BusyError("cpu0 is in do_thing", cause="quiesce-timeout", errno="EBUSY")


def standing(target: FakeTarget) -> tuple[object, ...]:
    """What a rollback has to restore: modules, the stack, what may be reapplied."""
    facts = target.facts()
    usable = {p.name for p in facts.loaded if p.safe_to_reapply or not p.reverted}
    usable |= set(facts.applied)
    return {p.name: (p.sha256, p.state) for p in facts.loaded}, facts.applied, usable


PLANS: dict[str, tuple[Step, ...]] = {
    "apply": (unload("other"), load("other"), Apply("other", nodeps=True)),
    "stack": (load("all"), Apply("all", nodeps=True), Apply("other", nodeps=True)),
    "revert": (Revert("data"), Revert("one")),
    "unload": (Revert("data"), unload("data"), Revert("one"), unload("one")),
    "replace": (load("all"), Replace("all", ("one", "data")), unload("other")),
    "replace-unload": (
        load("all"),
        Replace("all", ("one", "data")),
        unload("data"),
        unload("one"),
    ),
    "exchange": (Revert("data"), unload("data"), load("two"), Apply("two")),
}


EVERY_STEP = [
    pytest.param(name, index, id=f"{name}-{index}")
    for name, steps in PLANS.items()
    for index in range(len(steps))
]


def prepared(directory: Path) -> FakeTarget:
    """The target that the plans are for, in a new directory."""
    target = FakeTarget(directory)
    steps = (load("one"), Apply("one"), load("data"), Apply("data"), load("other"))
    assert carry_out(target, *steps).status == "done"
    return FakeTarget(directory)
