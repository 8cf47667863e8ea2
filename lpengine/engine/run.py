"""A run under way: every step is journalled before it acts, and its end after."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

from lpengine.engine.interruptions import interruptions_held
from lpengine.engine.outcome import (
    Event,
    Notify,
    Outcome,
    RunFinished,
    Status,
    StepBegun,
    StepEnded,
    StepOutcome,
)
from lpengine.engine.steps import act
from lpengine.errors import LpengineError
from lpengine.journal import BROKEN_OFF, Journal, RunStatus, StepState
from lpengine.patch.model import Patch
from lpengine.planner.facts import Facts
from lpengine.planner.plan import Step
from lpengine.targets.base import Target

T = TypeVar("T")


@dataclass
class Run:
    """What the steps of one run share.

    `patches` are the modules that steps load, `kept` the modules of before the run
    that undoing may have to load again. `steps` collects what became of the steps,
    `trouble` what went wrong beside them while undoing.
    """

    id: int
    target: Target
    journal: Journal
    patches: Mapping[str, Patch]
    kept: Mapping[str, Patch]
    timeout: timedelta
    notify: Notify | None = None
    steps: list[StepOutcome] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    def tell(self, event: Event) -> None:
        if self.notify is not None:
            self.notify(event)

    def take(self, step: Step, *, last: bool) -> None:
        """One step of the plan. Raises what stopped it; interruptions arrive when it
        has ended, since a target cannot promise to have changed nothing if it is
        stopped between any two instructions. That the last one has ended is written
        with the end of the run."""
        with interruptions_held():
            index = self.journal.begin_step(self.id, step)
            self.steps.append(StepOutcome(step, StepState.BEGUN))
            try:
                self.tell(StepBegun(step, undoing=False))
                act(step, self.target, self.patches, self.timeout)
            except BaseException as error:
                failed = StepOutcome(step, StepState.FAILED, error=line(error))
                self._ended(index, failed)
                raise
            self.steps[-1] = StepOutcome(step, StepState.DONE)
            if not last:
                self.journal.end_step(self.id, index, StepState.DONE)
            self.tell(StepEnded(step, undoing=False, error=""))

    def take_back(self, step: Step, timeout: timedelta) -> BaseException | None:
        """One step of undoing. Returns what stopped it: nothing may stop the rest,
        neither a journal that cannot be written nor a progress report that fails.
        """
        index = self.quietly(
            lambda: self.journal.begin_step(self.id, step, undoing=True)
        )
        self.tell_quietly(StepBegun(step, undoing=True))
        self.steps.append(StepOutcome(step, StepState.BEGUN, undoing=True))
        failure: BaseException | None = None
        try:
            act(step, self.target, self.kept, timeout)
        except Exception as error:
            failure = error
        state = StepState.FAILED if failure else StepState.DONE
        reason = line(failure) if failure else ""
        self._ended(index, StepOutcome(step, state, undoing=True, error=reason))
        return failure

    def _ended(self, index: int | None, outcome: StepOutcome) -> None:
        self.steps[-1] = outcome
        if index is not None:
            state, error = outcome.state, outcome.error
            self.quietly(lambda: self.journal.end_step(self.id, index, state, error))
        self.tell_quietly(StepEnded(outcome.step, outcome.undoing, outcome.error))

    def quietly(self, write: Callable[[], T]) -> T | None:
        """Write to the journal if that is possible: what is undone is read off the
        target, so undoing is safe without, and more urgent."""
        try:
            return write()
        except LpengineError as error:
            self.trouble.append(f"the journal could not be written: {error}")
            return None

    def tell_quietly(self, event: Event) -> None:
        try:
            self.tell(event)
        except Exception as error:
            self.notify = None
            self.trouble.append(f"the progress report failed: {line(error)}")

    def finish(
        self,
        status: Status,
        error: str = "",
        cause: BaseException | None = None,
        left: tuple[str, ...] = (),
        found: Facts | None = None,
    ) -> Outcome:
        """Close the run in the journal. Where that fails the run stays open, and the
        next command finds out from the target how it ended."""
        self.quietly(lambda: self.journal.end_run(self.id, RunStatus(status), left))
        self.steps = [settled(step, status) for step in self.steps]
        reasons = "; ".join(
            dict.fromkeys(part for part in (error, *self.trouble) if part)
        )
        outcome = Outcome(
            status, self.id, tuple(self.steps), reasons, cause, left, found
        )
        self.tell_quietly(RunFinished(outcome))
        return outcome


def settled(step: StepOutcome, status: Status) -> StepOutcome:
    """What became of a step, now that it is known how the run ended; the journal
    says the same (Journal.end_run)."""
    if status == "done" and step.state is StepState.BEGUN:
        return replace(step, state=StepState.DONE)
    if status not in ("rolled-back", "recovered") or step.state is StepState.FAILED:
        return step
    if not step.undoing:
        return replace(step, state=StepState.UNDONE)
    if step.state is StepState.BEGUN:
        return replace(step, state=StepState.FAILED, error=BROKEN_OFF)
    return step


def line(error: BaseException) -> str:
    """An exception as one line; the name where it has no message of its own."""
    if isinstance(error, LpengineError):
        return error.message
    return ": ".join(part for part in (type(error).__name__, str(error)) if part)
