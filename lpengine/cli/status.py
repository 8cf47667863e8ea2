"""lpengine status"""

import click

from lpengine.api.hosts import Here
from lpengine.api.hosts import status as host_status
from lpengine.api.targets import status as target_status
from lpengine.cli import exits, host_verdicts
from lpengine.cli.host_options import here
from lpengine.cli.options import JSON, target_option
from lpengine.cli.remote import RemoteCommand
from lpengine.report import host_shapes, host_text, shapes, text
from lpengine.report.documents import to_json
from lpengine.report.table import show, show_table


@click.command("status", cls=RemoteCommand)
@target_option(required=False)
@here
@JSON
def command(target_uri: str | None, here: Here, as_json: bool) -> int:
    """Show how this host is: of each component what was booted, what is effective now,
    its stack, and whether memory and disk agree; the updates on it, and what is left
    to be done. Exit code 20: something is.

    With --target: what that one target booted, and its patch stack.
    """
    if target_uri is None:
        return of_host(here, as_json)
    return of_target(target_uri, as_json)


def of_host(here: Here, as_json: bool) -> int:
    status = host_status(here)
    document = host_shapes.status_document(status)
    if as_json:
        show([to_json(document)])
        return host_verdicts.of_status(status)
    show(host_text.status_lines(status))
    show_table(host_text.STATUS_HEADINGS, host_text.status_rows(document))
    show_table(host_text.UPDATE_HEADINGS, host_text.update_rows(document))
    show(host_text.status_end(status))
    return host_verdicts.of_status(status)


def of_target(target_uri: str, as_json: bool) -> int:
    status = target_status(target_uri)
    if as_json:
        show([to_json(shapes.status_document(status))])
        return exits.DONE
    show(text.status_lines(status))
    headings = ("PATCH", "STATE", "BUILD ID", "ON TOP OF", "FUNCTIONS", "METADATA")
    show_table(headings, text.stack_rows(status))
    return exits.DONE
