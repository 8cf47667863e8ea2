"""Progress on standard error while this host is being changed."""

import sys

from lpengine.installer.run import StepBegun, StepEnded
from lpengine.report.host_text import step_text


def notify(event: StepBegun | StepEnded) -> None:
    """One line an event; on a terminal only, so that pipes and logs stay quiet."""
    if sys.stderr.isatty():
        match event:
            case StepBegun(step):
                print(f"  {step_text(step)} ...", file=sys.stderr)
            case StepEnded(step, error):
                print(f"  {step_text(step)}: {error or 'done'}", file=sys.stderr)
