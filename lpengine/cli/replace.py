"""lpengine replace"""

from datetime import timedelta
from pathlib import Path

import click

from lpengine.api import targets as api
from lpengine.cli.acting import show_action, show_dry_run
from lpengine.cli.options import (
    DRY_RUN,
    FORCE,
    JSON,
    LIVE_PATCHING,
    PAYLOAD,
    STRICT,
    TARGET,
    TIMEOUT,
)
from lpengine.cli.remote import RemoteCommand
from lpengine.planner import Policy
from lpengine.report.progress import notify


@click.command("replace", cls=RemoteCommand)
@PAYLOAD
@TARGET
@LIVE_PATCHING
@TIMEOUT
@FORCE
@DRY_RUN
@STRICT
@JSON
def command(
    payload: Path,
    target_uri: str,
    live_patching: bool,
    timeout: timedelta | None,
    force: bool,
    dry_run: bool,
    strict: bool,
    as_json: bool,
) -> int:
    """Load the cumulative MODULE and put it in the place of everything that is
    applied to TARGET, in one stop: never a moment without either."""
    policy = Policy(live_patching=live_patching, force=force)
    if dry_run:
        planned = api.plan([payload], target_uri, policy, replace=True)
        return show_dry_run(planned, as_json, strict)
    acted = api.replace(
        payload, target_uri, policy, timeout=timeout, strict=strict, notify=notify
    )
    return show_action(acted, as_json, strict)
