"""kill -9 before any line of the engine and the journal: the next command finds the
start or the end state, or makes it, and works."""

import itertools
import shutil
from pathlib import Path

import pytest

from lpengine.engine import recover
from lpengine.engine.stack import Stack, differences
from lpengine.engine.steps import promise
from lpengine.journal import Journal, RunStatus, lock_holder
from lpengine.planner.plan import Step
from tests.dying import LPENGINE, count_lines, dies
from tests.engine_cases import PLANS, carry_out, fail, prepared, standing
from tests.fake_target import FakeTarget

SOURCES = (
    LPENGINE / "engine",
    LPENGINE / "journal",
    Path(__file__).with_name("fake_target.py"),
)

# Every so many lines in the fast run; coprime to the length of loops.
SAMPLE = 59


class Sweep:
    """One prepared target, copied for every death."""

    def __init__(self, directory: Path, trouble: int | None = None) -> None:
        self.pristine = directory / "pristine"
        self.pristine.mkdir()
        self.directory = directory / "state"
        self.start = standing(prepared(self.pristine))
        self.trouble = {} if trouble is None else {trouble: fail()}

    def fresh(self) -> FakeTarget:
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(self.pristine, self.directory)
        return FakeTarget(self.directory, self.trouble)

    def act(self, steps: tuple[Step, ...]) -> None:
        carry_out(FakeTarget(self.directory, self.trouble), *steps)

    def recover(self) -> None:
        with Journal(self.directory) as journal:
            recover(FakeTarget(self.directory), journal)

    def end(self, steps: tuple[Step, ...]) -> Stack:
        return promise(Stack.of(self.fresh().facts()), steps)

    def lines(self, steps: tuple[Step, ...]) -> int:
        self.fresh()
        return count_lines(lambda: self.act(steps), SOURCES)


def assert_sound(sweep: Sweep, steps: tuple[Step, ...], end: Stack | None) -> None:
    """After the death: recovered, whole, and fit for the next command."""
    target = FakeTarget(sweep.directory)
    assert lock_holder(sweep.directory) is None
    with Journal(sweep.directory) as journal:
        outcome = recover(target, journal)
        assert outcome is None or outcome.status in ("recovered", "done"), outcome
        assert journal.open_run() is None
        entries = journal.entries()
        assert not any(journal.modules(entry.id) for entry in entries)
        finished = entries[0].status is RunStatus.DONE and len(entries) > 1
    now = Stack.of(target.facts())
    if standing(target) == sweep.start and not finished:
        assert carry_out(target, *steps).status == "done"
    else:
        assert end is not None, "an undone run has to end at the start"
        assert differences(end, now) == {}
        assert finished, "the end state, and the journal does not know"
    assert carry_out(target).status == "nothing"


def deaths(lines: int, every: int, first: int = 0) -> list[int]:
    """Each once, and the last line always."""
    return sorted({*range(first, lines, every), lines - 1})


def sweep_plan(directory: Path, name: str, every: int, first: int = 0) -> None:
    sweep, steps = Sweep(directory), PLANS[name]
    end = sweep.end(steps)
    for line in deaths(sweep.lines(steps), every, first):
        sweep.fresh()
        assert dies(lambda: sweep.act(steps), SOURCES, line), line
        assert_sound(sweep, steps, end)


def sweep_undo(directory: Path, name: str, every: int, first: int = 0) -> None:
    """As above for a run whose last step fails: it always ends at the start."""
    steps = PLANS[name]
    sweep = Sweep(directory, len(steps) - 1)
    for line in deaths(sweep.lines(steps), every, first):
        sweep.fresh()
        assert dies(lambda: sweep.act(steps), SOURCES, line), line
        assert_sound(sweep, steps, None)


def sweep_recovery(directory: Path, name: str, every: int, first: int = 0) -> None:
    """Die within the run, then again within the recovery, twice."""
    sweep, steps = Sweep(directory), PLANS[name]
    end, lines = sweep.end(steps), sweep.lines(steps)
    for line in deaths(lines, every, first):
        for again in itertools.count(line % 7, every):
            sweep.fresh()
            assert dies(lambda: sweep.act(steps), SOURCES, line), line
            more = dies(sweep.recover, SOURCES, again)
            dies(sweep.recover, SOURCES, again // 2)
            assert_sound(sweep, steps, end)
            if not more:
                break


@pytest.mark.parametrize("name", ["stack", "unload", "replace-unload"])
def test_a_run_killed_anywhere(tmp_path: Path, name: str) -> None:
    sweep_plan(tmp_path, name, SAMPLE)


@pytest.mark.parametrize("name", ["exchange", "replace-unload"])
def test_an_undo_killed_anywhere(tmp_path: Path, name: str) -> None:
    sweep_undo(tmp_path, name, SAMPLE)


def test_a_recovery_killed_anywhere(tmp_path: Path) -> None:
    sweep_recovery(tmp_path, "replace-unload", 12 * SAMPLE)


def test_the_first_run_ever_killed_anywhere(tmp_path: Path) -> None:
    """Creating lock and journal included."""
    steps = PLANS["apply"][1:2]
    spared = tmp_path / "spared"
    spared.mkdir()
    lines = count_lines(lambda: carry_out(FakeTarget(spared), *steps), SOURCES)
    for line in deaths(lines, 11):
        directory = tmp_path / str(line)
        directory.mkdir()
        assert dies(lambda: carry_out(FakeTarget(directory), *steps), SOURCES, line)  # noqa: B023
        target = FakeTarget(directory)
        with Journal(directory) as journal:
            recover(target, journal)
            assert journal.open_run() is None
        if not target.facts().loaded:
            assert carry_out(target, *steps).status == "done"


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_every_single_line_of_a_run(tmp_path: Path, name: str) -> None:
    sweep_plan(tmp_path, name, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_every_single_line_of_an_undo(tmp_path: Path, name: str) -> None:
    sweep_undo(tmp_path, name, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_many_pairs_of_lines_of_a_run_and_its_recovery(
    tmp_path: Path, name: str
) -> None:
    sweep_recovery(tmp_path, name, 3 * SAMPLE)
