"""lpengine revert"""

from datetime import timedelta

import click

from lpengine.api import targets as api
from lpengine.cli.acting import show_action, show_dry_run
from lpengine.cli.names import EVERYTHING, check_names
from lpengine.cli.options import DRY_RUN, FORCE, JSON, NAMES, TARGET, TIMEOUT
from lpengine.cli.remote import RemoteCommand
from lpengine.planner import Policy
from lpengine.report.progress import notify


@click.command("revert", cls=RemoteCommand)
@NAMES
@EVERYTHING
@TARGET
@TIMEOUT
@FORCE
@DRY_RUN
@JSON
def command(
    names: tuple[str, ...],
    everything: bool,
    target_uri: str,
    timeout: timedelta | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Take back the applied patches NAME... of TARGET, newest first.

    Only the top of the stack can be taken back; name the patches above it too, or
    use --all. The patches stay loaded.
    """
    check_names(names, everything)
    policy = Policy(force=force)
    if dry_run:
        planned = api.plan_revert(names, target_uri, policy, everything=everything)
        return show_dry_run(planned, as_json)
    acted = api.revert(
        names,
        target_uri,
        policy,
        everything=everything,
        timeout=timeout,
        notify=notify,
    )
    return show_action(acted, as_json)
