"""Carries out a plan, journals each step, backs out of a failure."""

from lpengine.engine.execute import execute, refused
from lpengine.engine.observe import observe
from lpengine.engine.outcome import (
    Event,
    Notify,
    Outcome,
    RunFinished,
    RunStarted,
    StepBegun,
    StepEnded,
    StepOutcome,
    Undoing,
)
from lpengine.engine.recover import has_booted_since, recover
from lpengine.engine.steps import describe

__all__ = [
    "Event",
    "Notify",
    "Outcome",
    "RunFinished",
    "RunStarted",
    "StepBegun",
    "StepEnded",
    "StepOutcome",
    "Undoing",
    "describe",
    "execute",
    "has_booted_since",
    "observe",
    "recover",
    "refused",
]
