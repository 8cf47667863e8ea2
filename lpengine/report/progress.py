"""Progress on standard error while a plan is carried out."""

import sys

from lpengine.engine import (
    Event,
    RunFinished,
    RunStarted,
    StepBegun,
    StepEnded,
    Undoing,
)
from lpengine.report.text import step_text


def notify(event: Event) -> None:
    """One line an event; on a terminal only, so that pipes and logs stay quiet."""
    if sys.stderr.isatty():
        print(progress_text(event), file=sys.stderr)


def progress_text(event: Event) -> str:
    match event:
        case RunStarted(run_id, steps):
            return f"run {run_id}: {len(steps)} steps"
        case StepBegun(step, undoing):
            return f"  {'undo: ' if undoing else ''}{step_text(step)} ..."
        case StepEnded(step, _, error):
            return f"  {step_text(step)}: {error or 'done'}"
        case Undoing(_, error):
            return f"undoing: {error}"
        case RunFinished(outcome):
            return f"run {outcome.run_id}: {outcome.status}"
