"""lpengine recover"""

from datetime import timedelta

import click

from lpengine.api import hosts
from lpengine.api import recovery as api
from lpengine.cli import exits, host_verdicts
from lpengine.cli.host_options import here
from lpengine.cli.options import JSON, TIMEOUT, target_option
from lpengine.cli.remote import RemoteCommand
from lpengine.installer.request import Installation
from lpengine.report import host_progress, host_shapes, host_text, shapes, text
from lpengine.report.documents import to_json
from lpengine.report.progress import notify
from lpengine.report.table import show
from lpengine.report.values import Recovery


@click.command("recover", cls=RemoteCommand)
@target_option(required=False)
@TIMEOUT
@here
@JSON
def command(
    target_uri: str | None,
    timeout: timedelta | None,
    here: hosts.Here,
    as_json: bool,
) -> int:
    """Finish or undo what was broken off: the power failed, or lpengine was killed.

    Without --target everything on this host. Files of an update are wholly the old or
    the new ones afterwards, packages as far as their package manager lets them be, and
    a run whose disk half is done goes on in memory. After a boot nothing of a live
    patch is left in memory; else a target is brought back to where its run began,
    unless all was done and only the last word missing. Running it again does no harm.

    Exit code 24: something is left, and is named; else as `install`.
    """
    if target_uri is not None:
        only = api.recover(target_uri, timeout=timeout, notify=notify)
        return deliver((only,), None, here, as_json)
    targets = tuple(here.site.targets.values())
    recoveries = api.recover_host(targets, timeout=timeout, notify=notify)
    if any(map(is_stuck, recoveries)):
        return deliver(recoveries, None, here, as_json)
    host = hosts.recover(here, notify=host_progress.notify)
    return deliver(recoveries, host, here, as_json)


def deliver(
    recoveries: tuple[Recovery, ...],
    host: Installation | None,
    here: hosts.Here,
    as_json: bool,
) -> int:
    if as_json:
        name = here.site.name
        ended = None
        if host is not None:
            ended = host_shapes.install_document(host, name, "recover")
        show([to_json(shapes.recovery_document(recoveries, ended))])
    else:
        show(line for each in recoveries for line in text.recovery_lines(each))
        show(host_text.recovery_lines(host))
    if any(map(is_stuck, recoveries)):
        return exits.STUCK
    return exits.DONE if host is None else host_verdicts.of_installation(host)


def is_stuck(recovery: Recovery) -> bool:
    return recovery.outcome is not None and recovery.outcome.status == "stuck"
