"""lpengine unload"""

import click

from lpengine.api import targets as api
from lpengine.cli.acting import show_action
from lpengine.cli.names import EVERYTHING, check_names
from lpengine.cli.options import JSON, NAMES, TARGET
from lpengine.cli.remote import RemoteCommand
from lpengine.report.progress import notify


@click.command("unload", cls=RemoteCommand)
@NAMES
@EVERYTHING
@TARGET
@JSON
def command(
    names: tuple[str, ...], everything: bool, target_uri: str, as_json: bool
) -> int:
    """Remove the loaded patches NAME... from TARGET; they must not be applied."""
    check_names(names, everything)
    acted = api.unload(names, target_uri, everything=everything, notify=notify)
    return show_action(acted, as_json)
