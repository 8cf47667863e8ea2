"""Progress on standard error while a plan is carried out."""

import sys

from lpengine.engine import Event
from lpengine.report.text import step_text


def notify(event: Event) -> None:
    """One line an event; on a terminal only, so that pipes and logs stay quiet."""
    if sys.stderr.isatty():
        print(progress_text(event), file=sys.stderr)


def progress_text(event: Event) -> str:
    step = getattr(event, "step", None)
    word = type(event).__name__
    return f"{word}: {step_text(step)}" if step is not None else word
