"""Any plan, any failures: the outcome tells the truth about the target."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.engine import recover
from lpengine.engine.stack import Stack, differences, way_back
from lpengine.engine.steps import act, promise, touched
from lpengine.errors import LpengineError
from lpengine.journal import Journal, lock_holder
from lpengine.planner.plan import Apply, Load, Replace, Revert, Step, Unload
from lpengine.targets.base import DEFAULT_TIMEOUT
from tests.engine_cases import PATCHES, busy, carry_out, fail, prepared, standing
from tests.fake_target import FakeTarget


@contextmanager
def target_in_any_state(path: list[int]) -> Iterator[FakeTarget]:
    with tempfile.TemporaryDirectory() as directory:
        target = prepared(Path(directory))
        walk(target, path)
        yield target


def possible(target: FakeTarget) -> list[Step]:
    """The steps that a planner could begin with, in a fixed order."""
    facts = target.facts()
    loaded = {patch.name for patch in facts.loaded}
    steps: list[Step] = []
    for name, patch in PATCHES.items():
        if name not in loaded:
            steps.append(Load(name, patch.sha256))
        elif name not in facts.applied:
            steps += [Unload(name, patch.sha256), Apply(name, nodeps=True), Apply(name)]
            steps.append(Replace(name, facts.applied))
    return [*steps, *(Revert(name) for name in facts.applied[-1:])]


def walk(target: FakeTarget, choices: list[int]) -> list[Step]:
    """Take steps as chosen; those that were not refused."""
    taken = []
    for choice in choices:
        steps = possible(target)
        step = steps[choice % len(steps)]
        try:
            act(step, target, PATCHES, DEFAULT_TIMEOUT)
        except LpengineError:
            continue
        taken.append(step)
    return taken


def restored(before: tuple[object, ...], after: tuple[object, ...]) -> bool:
    """As before, or better: a spent patch may have become usable again."""
    *was, usable = before
    *present, usable_now = after
    return was == present and set(usable) <= set(usable_now)  # type: ignore[call-overload]


choices = st.lists(st.integers(0, 50), max_size=8)
troubles = st.dictionaries(
    st.integers(0, 12), st.sampled_from([fail(), busy, lambda: None]), max_size=5
)


def some_plan(target: FakeTarget, path: list[int]) -> list[Step]:
    """Steps that are possible from here, found out on the side."""
    state = target.read() if target.path.exists() else None
    steps = walk(target, path)
    if state:
        target.write(state)
    target.calls = 0
    return steps


@settings(max_examples=70, deadline=None)
@given(choices, choices, troubles)
def test_the_outcome_is_true(path, plan, trouble):
    with target_in_any_state(path) as target:
        before, steps = standing(target), some_plan(target, plan)
        promised = promise(Stack.of(target.facts()), steps)
        start = Stack.of(target.facts()).only(touched(steps))
        target.trouble = trouble
        outcome = carry_out(target, *steps)
        now = Stack.of(target.facts())
        assert lock_holder(target.state_directory) is None
        if outcome.status in ("done", "nothing"):
            assert differences(promised, now) == {}
            assert outcome.left == ()
        elif outcome.status == "rolled-back":
            assert outcome.error
            assert trouble or not steps
            assert restored(before, standing(target)), (before, standing(target))
        else:
            assert outcome.status == "stuck"
            found = differences(start, now.only(touched(steps))).values()
            assert len(outcome.left) == len(found)
            assert all(map(str.startswith, outcome.left, found))
        with Journal(target.state_directory) as journal:
            assert recover(target, journal) is None


@settings(max_examples=70, deadline=None)
@given(choices, choices)
def test_there_is_a_way_back_from_anywhere(path, onward):
    """No detour, and nothing to do when there already."""
    with target_in_any_state(path) as target:
        start = Stack.of(target.facts())
        before = standing(target)
        kept = {patch.name: target.module(patch.name) for patch in start.loaded}
        names = touched(walk(target, onward))
        steps = way_back(start, Stack.of(target.facts()), names)
        assert len(steps) == len(set(steps))
        for step in steps:
            act(step, target, kept, DEFAULT_TIMEOUT)
        assert restored(before, standing(target))
        assert way_back(start, Stack.of(target.facts()), names) == ()
