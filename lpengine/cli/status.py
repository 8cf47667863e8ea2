"""lpengine status"""

import click

from lpengine.api import targets as api
from lpengine.cli.options import JSON, TARGET
from lpengine.cli.remote import RemoteCommand
from lpengine.report import shapes, text
from lpengine.report.documents import to_json
from lpengine.report.table import show, show_table


@click.command("status", cls=RemoteCommand)
@TARGET
@JSON
def command(target_uri: str, as_json: bool) -> int:
    """Show what TARGET booted, what is effective now, and the patch stack."""
    status = api.status(target_uri)
    if as_json:
        show([to_json(shapes.status_document(status))])
        return 0
    show(text.status_lines(status))
    headings = ("PATCH", "STATE", "BUILD ID", "ON TOP OF", "FUNCTIONS", "METADATA")
    show_table(headings, text.stack_rows(status))
    return 0
