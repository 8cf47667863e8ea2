"""lpengine needs-reboot"""

import click

from lpengine.api import hosts as api
from lpengine.cli.host_options import here
from lpengine.cli.options import JSON
from lpengine.cli.remote import RemoteCommand
from lpengine.report import host_shapes as shapes
from lpengine.report.documents import to_json
from lpengine.report.table import show


@click.command("needs-reboot", cls=RemoteCommand)
@here
@JSON
def command(here: api.Here, as_json: bool) -> int:
    """Say whether updates on this host wait for a reboot, and which. Exit code 1: yes;
    0: no (as `needs-restarting -r`)."""
    status = api.status(here)
    if as_json:
        show([to_json(shapes.reboot_document(status))])
    else:
        reasons = ", ".join(status.reboot_reasons)
        show([f"yes: {reasons}" if status.needs_reboot else "no"])
    return int(status.needs_reboot)
