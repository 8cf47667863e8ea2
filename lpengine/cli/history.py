"""lpengine history"""

import click

from lpengine.api import targets as api
from lpengine.cli.options import JSON, TARGET
from lpengine.cli.remote import RemoteCommand
from lpengine.report import shapes, text
from lpengine.report.documents import to_json
from lpengine.report.table import show, show_table


@click.command("history", cls=RemoteCommand)
@TARGET
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@JSON
def command(target_uri: str, limit: int, as_json: bool) -> int:
    """Show the runs on TARGET, newest first: who, what, when, on which build id."""
    history = api.history(target_uri, limit)
    if as_json:
        show([to_json(shapes.history_document(history))])
        return 0
    headings = ("RUN", "STARTED", "ACTOR", "VERB", "STATUS", "BUILD ID", "STEPS")
    show_table(headings, text.history_rows(history))
    return 0
