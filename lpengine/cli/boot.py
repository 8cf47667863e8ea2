"""lpengine boot"""

from pathlib import Path

import click

from lpengine.api import hosts as api
from lpengine.cli import exits, host_verdicts
from lpengine.cli.host_options import here
from lpengine.cli.options import JSON
from lpengine.cli.remote import RemoteCommand
from lpengine.report import host_shapes as shapes
from lpengine.report import host_text as text
from lpengine.report.documents import to_json
from lpengine.report.host_progress import notify
from lpengine.report.table import show


@click.command("boot", cls=RemoteCommand)
@click.option(
    "--retry-crashed",
    is_flag=True,
    help="Try a live patch again that the host did not survive last time.",
)
@click.option("--print-unit", is_flag=True, help="Print the systemd unit that runs it.")
@click.option(
    "--install-unit",
    is_flag=True,
    help="Put the unit into etc/systemd/system below the root, and enable it.",
)
@here
@JSON
def command(
    retry_crashed: bool,
    print_unit: bool,
    install_unit: bool,
    here: api.Here,
    as_json: bool,
) -> int:
    """Bring memory to where the updates on this host say it should be; for a boot unit.

    What a power cut broke off is ended, what a boot does is no longer left to be done,
    and where the old build was booted once more its live patches go on again. One over
    which the host went down is left off, and said (LP-ENV-607). With lpengine.enable=0
    on the kernel's command line no live patch goes on.
    """
    if print_unit:
        show([api.boot_unit().rstrip()])
        return exits.DONE
    if install_unit:
        path: Path = api.install_boot_unit(here)
        show([f"{path}: enabled"])
        return exits.DONE
    found = api.boot(here, retry_crashed=retry_crashed, notify=notify)
    if as_json:
        show([to_json(shapes.install_document(found, here.site.name, "boot"))])
    else:
        show(text.boot_lines(found))
    return host_verdicts.of_installation(found)
