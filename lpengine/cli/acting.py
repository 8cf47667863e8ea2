"""What the acting verbs show at their end."""

from lpengine.cli import verdicts
from lpengine.report import shapes, text
from lpengine.report.documents import to_json
from lpengine.report.table import show
from lpengine.report.values import Acted, Planned


def show_action(acted: Acted, as_json: bool, strict: bool = False) -> int:
    """Show what was done; returns the exit code."""
    if as_json:
        show([to_json(shapes.action_document(acted))])
    else:
        show(text.action_lines(acted))
    return verdicts.of_action(acted, strict=strict)


def show_dry_run(planned: Planned, as_json: bool, strict: bool = False) -> int:
    """Show what would be done, in the shape of what was done."""
    return show_action(Acted(planned, None), as_json, strict)
