"""lpengine history"""

import click

from lpengine.api import hosts
from lpengine.api import targets as api
from lpengine.cli import exits
from lpengine.cli.host_options import here
from lpengine.cli.options import JSON, target_option
from lpengine.cli.remote import RemoteCommand
from lpengine.report import host_shapes, host_text, shapes, text
from lpengine.report.documents import to_json
from lpengine.report.table import show, show_table


@click.command("history", cls=RemoteCommand)
@target_option(required=False)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@here
@JSON
def command(target_uri: str | None, limit: int, here: hosts.Here, as_json: bool) -> int:
    """Show the runs on this host, newest first: updates installed and taken off, by
    whom and when. With --target: those on that one target, on which build id."""
    if target_uri is None:
        return of_host(here, limit, as_json)
    return of_target(target_uri, limit, as_json)


def of_host(here: hosts.Here, limit: int, as_json: bool) -> int:
    entries = hosts.history(here, limit)
    if as_json:
        show([to_json(host_shapes.history_document(entries, here.site.name))])
    else:
        show_table(host_text.HISTORY_HEADINGS, host_text.history_rows(entries))
    return exits.DONE


def of_target(target_uri: str, limit: int, as_json: bool) -> int:
    history = api.history(target_uri, limit)
    if as_json:
        show([to_json(shapes.history_document(history))])
        return exits.DONE
    headings = ("RUN", "STARTED", "ACTOR", "VERB", "STATUS", "BUILD ID", "STEPS")
    show_table(headings, text.history_rows(history))
    return exits.DONE
