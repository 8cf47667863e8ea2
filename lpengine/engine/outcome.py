"""What came of a plan, and what is told while it is carried out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lpengine.journal import StepState
from lpengine.planner.facts import Facts
from lpengine.planner.plan import Step

Status = Literal["done", "nothing", "rolled-back", "recovered", "stuck"]


@dataclass(frozen=True)
class StepOutcome:
    """One step taken. `undoing` says that it was taken to undo others; the steps
    that were undone have the state UNDONE."""

    step: Step
    state: StepState
    undoing: bool = False
    error: str = ""


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    "done": the target is as the plan promised. "nothing": there was nothing to do
    (`run_id` 0). "rolled-back" and "recovered" (after a crash): the target is as it
    was before the run. "stuck": neither; `left` says what differs from the start,
    one sentence each. `error` is the reason in one line, `cause` the exception it
    came from where there was one. `found` is the target as it was read back, where
    that was as promised; with code where the plan was made with it.
    """

    status: Status
    run_id: int = 0
    steps: tuple[StepOutcome, ...] = ()
    error: str = ""
    cause: BaseException | None = None
    left: tuple[str, ...] = ()
    found: Facts | None = None


@dataclass(frozen=True)
class RunStarted:
    run_id: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class StepBegun:
    """The step is in the journal and acts now."""

    step: Step
    undoing: bool


@dataclass(frozen=True)
class StepEnded:
    """`error` is "" where the step did what it should."""

    step: Step
    undoing: bool
    error: str


@dataclass(frozen=True)
class Undoing:
    """From here on everything goes back to the start, because of `error`."""

    run_id: int
    error: str


@dataclass(frozen=True)
class RunFinished:
    outcome: Outcome


Event = RunStarted | StepBegun | StepEnded | Undoing | RunFinished

# Called while the lock is held. One that raises stops the run: it is undone.
Notify = Callable[[Event], None]
