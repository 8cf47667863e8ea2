"""lpengine recover"""

from datetime import timedelta

import click

from lpengine.api import recovery as api
from lpengine.cli import exits
from lpengine.cli.options import JSON, TIMEOUT, target_option
from lpengine.cli.remote import RemoteCommand
from lpengine.report import shapes, text
from lpengine.report.documents import to_json
from lpengine.report.progress import notify
from lpengine.report.table import show
from lpengine.report.values import Recovery


@click.command("recover", cls=RemoteCommand)
@target_option(required=False)
@TIMEOUT
@JSON
def command(target_uri: str | None, timeout: timedelta | None, as_json: bool) -> int:
    """Finish or undo what was broken off: the power failed, or lpengine was killed.

    Without --target everything on this host. After a boot nothing of a live patch
    is left in memory, and the run is closed as undone; else the target is brought
    back to where the run began, unless all was done and only the last word missing.
    Running it again does no harm. Exit code 24: something is left, and is named.
    """
    if target_uri is None:
        recoveries = api.recover_host(timeout=timeout, notify=notify)
    else:
        recoveries = (api.recover(target_uri, timeout=timeout, notify=notify),)
    if as_json:
        show([to_json(shapes.recovery_document(recoveries))])
    else:
        show(line for each in recoveries for line in text.recovery_lines(each))
    return exits.STUCK if any(map(is_stuck, recoveries)) else exits.DONE


def is_stuck(recovery: Recovery) -> bool:
    return recovery.outcome is not None and recovery.outcome.status == "stuck"
