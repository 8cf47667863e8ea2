"""Plans are carried out, or everything is as before, or the outcome says what is
left. On a target without code behind it, so that every failure can be had."""

import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lpengine.engine import (
    Event,
    Outcome,
    RunFinished,
    RunStarted,
    StepBegun,
    StepEnded,
    Undoing,
    describe,
    execute,
    recover,
)
from lpengine.errors import (
    LockedError,
    NotFoundError,
    RefusedError,
    StalePlanError,
    TargetError,
    UsageError,
)
from lpengine.journal import Journal, RunStatus, StepState
from lpengine.planner.findings import Finding, Severity
from lpengine.planner.plan import (
    Apply,
    Plan,
    Revert,
    Step,
    Unload,
    Verdict,
)
from tests.engine_cases import (
    EVERY_STEP,
    PATCHES,
    PLANS,
    busy,
    carry_out,
    fail,
    load,
    plan_of,
    prepared,
    standing,
    unload,
)
from tests.fake_target import FakeTarget, make_patch


@pytest.fixture
def target(tmp_path: Path) -> FakeTarget:
    return prepared(tmp_path)


@pytest.mark.parametrize("steps", PLANS.values(), ids=PLANS)
def test_a_plan_is_carried_out(target: FakeTarget, steps: tuple[Step, ...]) -> None:
    outcome = carry_out(target, *steps)
    assert (outcome.status, outcome.error, outcome.left) == ("done", "", ())
    assert [s.step for s in outcome.steps] == list(steps)
    assert {s.state for s in outcome.steps} == {StepState.DONE}
    with Journal(target.state_directory) as journal:
        newest, _ = journal.entries()
        assert newest.status is RunStatus.DONE
        assert [s.step for s in newest.steps] == list(steps)
        assert journal.open_run() is None
        assert journal.modules(newest.id) == {}


@pytest.mark.parametrize("error", [fail(), busy], ids=["refused", "busy"])
@pytest.mark.parametrize(("name", "index"), EVERY_STEP)
def test_a_failure_at_any_step_leaves_the_start(
    target: FakeTarget, name: str, index: int, error: Callable[[], None]
) -> None:
    before = standing(target)
    target.trouble = {index: error}
    outcome = carry_out(target, *PLANS[name])
    assert outcome.status == "rolled-back", outcome
    assert isinstance(outcome.cause, TargetError)
    assert outcome.error == outcome.cause.message
    assert standing(target) == before
    plan_steps = [s for s in outcome.steps if not s.undoing]
    assert [s.state for s in plan_steps] == [StepState.UNDONE] * index + [
        StepState.FAILED
    ]
    with Journal(target.state_directory) as journal:
        entry = journal.entries(1)[0]
        assert entry.status is RunStatus.ROLLED_BACK
        assert entry.error == outcome.error
        recorded = [(s.step, s.state, s.undoing, s.error) for s in entry.steps]
        assert recorded == [
            (s.step, s.state, s.undoing, s.error) for s in outcome.steps
        ]
    target.trouble = {}
    assert carry_out(target, *PLANS[name]).status == "done"


@pytest.mark.parametrize(("name", "index"), EVERY_STEP)
def test_success_with_nothing_done_is_noticed(
    target: FakeTarget, name: str, index: int
) -> None:
    """As Xen answers an action in the wrong state (facts of B11)."""
    before = standing(target)
    target.trouble = {index: lambda: None}
    outcome = carry_out(target, *PLANS[name])
    assert outcome.status == "rolled-back"
    assert standing(target) == before


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(28, "No space left"), SystemExit(1)]
)
def test_anything_raised_is_undone(target: FakeTarget, error: BaseException) -> None:
    def raising() -> None:
        raise error

    before = standing(target)
    target.trouble = {2: raising}
    outcome = carry_out(target, *PLANS["unload"])
    assert (outcome.status, outcome.cause) == ("rolled-back", error)
    assert type(error).__name__ in outcome.error
    assert standing(target) == before


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """As on a terminal: a shell starts what runs in the background deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_waits_for_the_step_to_end(target: FakeTarget) -> None:
    def notify(event: Event) -> None:
        if event == StepBegun(Revert("one"), undoing=False):
            signal.raise_signal(signal.SIGINT)

    before = standing(target)
    outcome = carry_out(target, *PLANS["unload"], notify=notify)
    assert isinstance(outcome.cause, KeyboardInterrupt)
    assert [s.state for s in outcome.steps if not s.undoing] == ["undone"] * 3
    assert standing(target) == before


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_undoing_waits(target: FakeTarget) -> None:
    """The undo is finished and written down; then the interruption arrives."""

    def notify(event: Event) -> None:
        if isinstance(event, Undoing):
            signal.raise_signal(signal.SIGINT)

    before = standing(target)
    target.trouble = {3: fail()}
    with pytest.raises(KeyboardInterrupt):
        carry_out(target, *PLANS["unload"], notify=notify)
    assert standing(target) == before
    with Journal(target.state_directory) as journal:
        assert journal.entries(1)[0].status is RunStatus.ROLLED_BACK


def test_an_undo_waits_for_a_busy_target(target: FakeTarget) -> None:
    before = standing(target)
    target.trouble = {1: fail(), 2: busy, 3: busy}
    outcome = carry_out(target, Revert("data"), Revert("one"))
    assert outcome.status == "rolled-back"
    assert standing(target) == before


def test_what_cannot_be_undone_is_named(target: FakeTarget) -> None:
    steps = (load("all"), Apply("all", nodeps=True), unload("other"))
    target.trouble = {2: fail(), **dict.fromkeys(range(3, 9), busy)}
    outcome = carry_out(target, *steps)
    assert outcome.status == "stuck"
    assert outcome.error == "refused: out-of-memory"
    assert outcome.left == (
        "all is applied, was not loaded (revert all: cpu0 is in do_thing)",
    )
    with Journal(target.state_directory) as journal:
        entry = journal.entries(1)[0]
        assert (entry.status, entry.left) == (RunStatus.STUCK, outcome.left)
        assert set(journal.modules(entry.id)) == {"other"}
        assert recover(target, journal) is None


def test_a_lower_patch_comes_back_though_a_higher_one_cannot(
    target: FakeTarget,
) -> None:
    """Its module is refused, so `data` stays out; `one` below it must not."""
    steps = (*PLANS["unload"], Revert("other"))
    # 4: the last step; 5, 6: load data and one again (data first, by its order)
    target.trouble = {4: fail("wrong-state"), 6: fail()}
    outcome = carry_out(target, *steps)
    assert outcome.status == "stuck"
    path = target.state_directory / "journal.sqlite"
    assert outcome.left == (
        "data is not loaded, was applied (load data: refused: out-of-memory);"
        f" its module is kept in {path}, run {outcome.run_id}",
    )
    assert target.facts().applied == ("one",)
    with Journal(target.state_directory) as journal:
        kept = journal.modules(outcome.run_id)
        assert kept["data"] == PATCHES["data"].raw


def test_a_patch_with_data_is_loaded_again_before_it_is_reapplied(
    target: FakeTarget,
) -> None:
    target.trouble = {1: fail()}
    outcome = carry_out(target, Revert("data"), Revert("one"))
    undoing = [describe(s.step) for s in outcome.steps if s.undoing]
    assert undoing == ["unload data", "load data", "apply data"]


def test_a_patch_that_does_not_tell_of_its_data_is_loaded_again_too(
    target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = standing(target)
    silent = FakeTarget.observed

    def observed(self: FakeTarget, name: str, state: dict[str, object]) -> object:
        return replace(silent(self, name, state), safe_to_reapply=True)

    target.trouble = {1: fail()}
    with monkeypatch.context() as patched:
        patched.setattr(FakeTarget, "observed", observed)
        outcome = carry_out(target, Revert("data"), Revert("one"))
    assert outcome.status == "rolled-back", outcome
    assert standing(target) == before


def test_a_loaded_patch_with_data_stays_fresh(tmp_path: Path) -> None:
    """Applied and taken back in an undo, it could not be applied ever again."""
    target = FakeTarget(tmp_path)
    carry_out(target, load("one"), Apply("one"), load("data"))
    target.trouble = {5: fail()}
    target.calls = 3
    outcome = carry_out(target, Apply("data"), load("other"), unload("other"))
    assert outcome.status == "rolled-back"
    assert carry_out(target, Apply("data")).status == "done"


def test_nodeps_comes_back_only_where_the_stack_demands_it(tmp_path: Path) -> None:
    target = FakeTarget(tmp_path)
    carry_out(target, load("one"), Apply("one"), load("other"))
    carry_out(target, Apply("other", nodeps=True))
    target.trouble = {target.calls + 2: fail()}
    outcome = carry_out(target, Revert("other"), Revert("one"), unload("one"))
    assert outcome.status == "rolled-back"
    undoing = [s.step for s in outcome.steps if s.undoing]
    assert undoing == [Apply("one"), Apply("other", nodeps=True)]


def test_nothing_to_do_touches_nothing(tmp_path: Path) -> None:
    target = FakeTarget(tmp_path)
    plan = Plan(target.name, "apply", Verdict.NOTHING, (), (), (), "")
    assert execute(plan, target, Journal(tmp_path), {}) == Outcome("nothing")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_plan_is_refused_with_its_codes(tmp_path: Path) -> None:
    target = FakeTarget(tmp_path)
    finding = Finding(
        code="LP-SHP-171",
        name="FUNCTION_TOO_SHORT",
        severity=Severity.BLOCK,
        cause="function-too-small",
        patch="one",
        subject="f",
        observed="3 bytes",
        needed="5 bytes",
        remedy="patch the caller",
    )
    plan = Plan(target.name, "apply", Verdict.REFUSED, (), (finding,), (), "")
    with pytest.raises(RefusedError, match="LP-SHP-171 f: 3 bytes") as caught:
        execute(plan, target, Journal(tmp_path), {})
    assert caught.value.codes == ("LP-SHP-171",)
    assert caught.value.hint == "patch the caller"


def test_a_stale_plan_is_refused(target: FakeTarget) -> None:
    plan = plan_of(target, Revert("data"))
    carry_out(target, Revert("data"))
    with Journal(target.state_directory) as journal:
        runs = len(journal.entries())
        with pytest.raises(StalePlanError, match="has changed"):
            execute(plan, target, journal, PATCHES)
        assert len(journal.entries()) == runs


def test_the_outcome_says_what_the_target_was_read_back_as(target: FakeTarget) -> None:
    done = carry_out(target, Revert("data"))
    assert done.found == target.facts()
    target.trouble = {target.calls: fail()}
    assert carry_out(target, Revert("one")).found is None


def test_what_was_seen_is_held_against_the_plan(target: FakeTarget) -> None:
    plan, before = plan_of(target, Revert("data")), target.facts()
    with Journal(target.state_directory) as journal:
        assert execute(plan, target, journal, PATCHES, seen=before).status == "done"
        with pytest.raises(StalePlanError, match="has changed"):
            execute(plan, target, journal, PATCHES, seen=target.facts())


def test_another_module_of_the_same_name_is_refused(target: FakeTarget) -> None:
    other = make_patch("all", text="different")
    plan = plan_of(target, load("all"))
    with (
        Journal(target.state_directory) as journal,
        pytest.raises(StalePlanError, match="all has changed"),
    ):
        execute(plan, target, journal, {"all": other})


def test_a_module_that_was_not_given_is_a_usage_error(target: FakeTarget) -> None:
    plan = plan_of(target, load("all"))
    with (
        Journal(target.state_directory) as journal,
        pytest.raises(UsageError, match="all"),
    ):
        execute(plan, target, journal, {})


def test_unloading_another_module_than_planned_is_refused(target: FakeTarget) -> None:
    with pytest.raises(StalePlanError, match="other is not the module"):
        carry_out(target, Unload("other", "0" * 64))


def test_a_module_that_must_be_kept_and_cannot_be_read_stops_the_run(
    target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def module(self: FakeTarget, name: str) -> object:
        raise NotFoundError(f"no module of {name}")

    monkeypatch.setattr(FakeTarget, "module", module)
    before = standing(target)
    with pytest.raises(NotFoundError):
        carry_out(target, unload("other"))
    assert standing(target) == before
    assert carry_out(target, Apply("other", nodeps=True)).status == "done"


def test_progress_is_told_in_order(target: FakeTarget) -> None:
    events: list[Event] = []
    target.trouble = {1: fail()}
    outcome = carry_out(target, Revert("data"), Revert("one"), notify=events.append)
    kinds = [type(event) for event in events]
    assert kinds == [
        RunStarted,
        *[StepBegun, StepEnded] * 2,
        Undoing,
        *[StepBegun, StepEnded] * 3,
        RunFinished,
    ]
    assert events[-1] == RunFinished(outcome)


@pytest.mark.parametrize("kind", [RunStarted, StepBegun, StepEnded])
def test_a_progress_report_that_raises_stops_the_run(
    target: FakeTarget, kind: type[Event]
) -> None:
    def notify(event: Event) -> None:
        if isinstance(event, kind):
            raise BrokenPipeError("nobody listens")

    before = standing(target)
    outcome = carry_out(target, *PLANS["replace"], notify=notify)
    assert outcome.status == "rolled-back"
    assert "nobody listens" in outcome.error
    assert standing(target) == before


def test_a_journal_that_fails_stops_the_run_and_not_the_undo(
    target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the third step on the disk is full."""
    before = standing(target)
    begin_step = Journal.begin_step

    def full(self: Journal, run: int, step: Step, *, undoing: bool = False) -> int:
        if undoing or step == Revert("one"):
            raise UsageError("database or disk is full")
        return begin_step(self, run, step, undoing=undoing)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "begin_step", full)
        outcome = carry_out(target, *PLANS["unload"])
    assert outcome.status == "rolled-back"
    assert "disk is full" in outcome.error
    assert standing(target) == before


def test_a_run_whose_end_could_not_be_written_is_recovered(
    target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Journal, *_: object) -> None:
        raise UsageError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "end_run", full)
        outcome = carry_out(target, *PLANS["replace"])
    assert outcome.status == "done"
    assert "disk is full" in outcome.error
    with Journal(target.state_directory) as journal:
        recovered = recover(target, journal)
        assert recovered is not None
        assert recovered.status == "done"
        assert journal.entries(1)[0].status is RunStatus.DONE
        assert recover(target, journal) is None


def test_a_held_lock_is_respected_and_named(target: FakeTarget) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with Journal(target.state_directory).lock("revert"):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    try:
        with pytest.raises(LockedError, match="lpengine revert, pid"):
            carry_out(target, Revert("data"))
    finally:
        leave.set()
        thread.join()
    assert target.facts().applied == ("one", "data")
