"""lpengine uninstall"""

import click

from lpengine.api import hosts as api
from lpengine.cli import host_verdicts
from lpengine.cli.host_options import MODE, here
from lpengine.cli.options import JSON
from lpengine.cli.remote import RemoteCommand
from lpengine.installer.request import Request
from lpengine.planner.updates.state import LivePatching, Mode
from lpengine.report import host_shapes as shapes
from lpengine.report import host_text as text
from lpengine.report.documents import to_json
from lpengine.report.host_progress import notify
from lpengine.report.table import show


@click.command("uninstall", cls=RemoteCommand)
@click.argument("update")
@click.option(
    "--keep-changed",
    is_flag=True,
    help="Leave files as they are that somebody has changed; without, it is refused.",
)
@MODE
@click.option("--no-memory", is_flag=True, help="Leave the live patch on.")
@here
@JSON
def command(
    update: str,
    keep_changed: bool,
    mode: str,
    no_memory: bool,
    here: api.Here,
    as_json: bool,
) -> int:
    """Take UPDATE off this host: what was on the disk before it comes back, its live
    patch comes off where it is on top, and live patches of the updates that stay go
    on again where theirs was replaced.

    Refused where a later update builds on it, or somebody has changed its files.
    Exit codes as those of `install`.
    """
    request = Request(
        mode=Mode(mode),
        live_patching=LivePatching.DISABLED if no_memory else None,
    )
    outcome = api.uninstall(
        update, here, request, keep_changed=keep_changed, notify=notify
    )
    if as_json:
        show([to_json(shapes.uninstall_document(outcome, here.site.name))])
    else:
        show(text.host_outcome_lines(outcome, "uninstall"))
    return host_verdicts.of_outcome(outcome)
