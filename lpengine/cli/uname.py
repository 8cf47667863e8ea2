"""lpengine uname"""

import click

from lpengine.api import hosts as api
from lpengine.cli import exits
from lpengine.cli.host_options import here
from lpengine.cli.options import JSON
from lpengine.cli.remote import RemoteCommand
from lpengine.report import host_shapes as shapes
from lpengine.report.documents import to_json
from lpengine.report.table import printable, show


@click.command("uname", cls=RemoteCommand)
@click.argument("component", required=False)
@here
@JSON
def command(component: str | None, here: api.Here, as_json: bool) -> int:
    """Print what runs as if it had been booted: the version that COMPONENT (xen,
    kernel; by default all) amounts to with its live patches."""
    document = shapes.effective_document(api.status(here))
    if as_json:
        show([to_json(document)])
        return exits.DONE
    if component is None:
        show(printable(f"{n} {v or 'unknown'}") for n, v in document.versions.items())
        return exits.DONE
    if component not in document.versions:
        click.echo(f"lpengine: no component {component} runs here", err=True)
        return exits.NOT_FOUND
    show([printable(document.versions[component] or "unknown")])
    return exits.DONE
