"""A run that died is finished or undone by the next command."""

from pathlib import Path

import pytest

from lpengine.engine import (
    execute,
    recover,
)
from lpengine.engine.stack import Stack
from lpengine.engine.steps import act
from lpengine.errors import StalePlanError, StuckError
from lpengine.journal import Journal, RunStatus, StepState
from lpengine.planner.plan import (
    Apply,
    Revert,
    Step,
)
from lpengine.targets.base import DEFAULT_TIMEOUT
from tests.engine_cases import (
    EVERY_STEP,
    PATCHES,
    PLANS,
    TWO,
    busy,
    load,
    plan_of,
    prepared,
    standing,
    unload,
)
from tests.fake_target import FakeTarget


@pytest.fixture
def target(tmp_path: Path) -> FakeTarget:
    return prepared(tmp_path)


def open_run(target: FakeTarget, *steps: Step, done: int) -> Journal:
    """A run that died after `done` of its steps had acted and the next had begun."""
    journal = Journal(target.state_directory)
    facts = target.facts()
    kept = {patch.name: target.module(patch.name).raw for patch in facts.loaded}
    plan = plan_of(target, *steps)
    start = Stack.of(facts)
    run = journal.begin_run(plan, start.build_id, start.to_json(), kept)
    for step in steps[:done]:
        index = journal.begin_step(run, step)
        act(step, target, PATCHES, DEFAULT_TIMEOUT)
        journal.end_step(run, index, StepState.DONE)
    for step in steps[done : done + 1]:
        journal.begin_step(run, step)
    return journal


@pytest.mark.parametrize(("name", "index"), EVERY_STEP)
def test_a_run_that_died_is_undone(target: FakeTarget, name: str, index: int) -> None:
    before = standing(target)
    with open_run(target, *PLANS[name], done=index) as journal:
        outcome = recover(target, journal)
        assert outcome is not None
        assert outcome.status == "recovered", outcome
        assert standing(target) == before
        entry = journal.entries(1)[0]
        assert entry.status is RunStatus.RECOVERED
        assert "interrupted" in entry.error
        assert {s.state for s in entry.steps} <= {StepState.DONE, StepState.UNDONE}
        assert recover(target, journal) is None


def test_a_new_image_has_undone_everything(target: FakeTarget) -> None:
    with open_run(target, *PLANS["unload"], done=2) as journal:
        booted = {"image": "11" * 20, "modules": {}, "applied": [], "reverted": []}
        target.write(booted)
        outcome = recover(target, journal)
        assert outcome is not None
        assert outcome.status == "recovered"
        assert "booted" in outcome.error
        assert target.read() == booted


def test_recovery_leaves_what_others_did_alone(target: FakeTarget) -> None:
    with open_run(target, load("all"), unload("other"), done=1) as journal:
        target.load(TWO)
        outcome = recover(target, journal)
        assert outcome is not None
        assert outcome.status == "recovered"
        names = {patch.name for patch in target.facts().loaded}
        assert names == {"one", "data", "other", "two"}


def test_a_run_in_the_way_is_recovered_before_the_next(target: FakeTarget) -> None:
    plan = plan_of(target, Revert("data"), Revert("one"))
    with open_run(target, load("all"), unload("other"), done=1) as journal:
        assert execute(plan, target, journal, PATCHES).status == "done"
        assert [entry.status for entry in journal.entries(2)] == [
            RunStatus.DONE,
            RunStatus.RECOVERED,
        ]


def test_what_was_seen_before_a_recovery_does_not_count(target: FakeTarget) -> None:
    """The plan is for what the run that died has left, and that is undone first."""
    with open_run(target, load("all"), unload("other"), done=1) as journal:
        plan, seen = plan_of(target, Revert("data")), target.facts()
        with pytest.raises(StalePlanError, match="has changed"):
            execute(plan, target, journal, PATCHES, seen=seen)
        assert "data" in target.facts().applied


def test_a_run_in_the_way_that_is_stuck_stops_the_next(target: FakeTarget) -> None:
    plan = plan_of(target, Revert("data"))
    with open_run(target, load("all"), Apply("all", nodeps=True), done=2) as journal:
        journal.begin_undoing(journal.entries(1)[0].id, "it failed")
        target.trouble = dict.fromkeys(range(20), busy)
        with pytest.raises(StuckError, match="it failed") as caught:
            execute(plan, target, journal, PATCHES)
        assert caught.value.left[0].startswith("all is applied, was not loaded")


def test_a_run_that_leads_nowhere_else_is_not_taken_for_done(
    target: FakeTarget,
) -> None:
    """Its end state is its start state; the journal knows it had hardly begun."""
    with open_run(target, unload("other"), load("other"), done=0) as journal:
        outcome = recover(target, journal)
        assert outcome is not None
        assert outcome.status == "recovered"
