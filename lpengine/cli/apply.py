"""lpengine apply"""

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
    NODEPS,
    PAYLOADS,
    STRICT,
    TARGET,
    TIMEOUT,
)
from lpengine.cli.remote import RemoteCommand
from lpengine.planner import Policy
from lpengine.report.progress import notify
from lpengine.report.saved import load_plan


@click.command("apply", cls=RemoteCommand)
@PAYLOADS
@TARGET
@NODEPS
@LIVE_PATCHING
@TIMEOUT
@FORCE
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    help="Carry out this plan (from `lpengine plan --json`); a stale one is refused.",
)
@DRY_RUN
@STRICT
@JSON
def command(
    payloads: tuple[Path, ...],
    target_uri: str,
    nodeps: bool,
    live_patching: bool,
    timeout: timedelta | None,
    force: bool,
    plan_file: Path | None,
    dry_run: bool,
    strict: bool,
    as_json: bool,
) -> int:
    """Load and apply MODULE... to TARGET, in that order, and show each redirected
    function before and after.

    All or nothing: a step that fails undoes the steps before it. Applying what is
    applied already does nothing and succeeds.
    """
    if plan_file is not None:
        plan = load_plan(plan_file)
        acted = api.apply_plan(
            plan, payloads, target_uri, timeout=timeout, notify=notify
        )
        return show_action(acted, as_json, strict)
    policy = Policy(nodeps=nodeps, live_patching=live_patching, force=force)
    if dry_run:
        return show_dry_run(api.plan(payloads, target_uri, policy), as_json, strict)
    acted = api.apply(
        payloads, target_uri, policy, timeout=timeout, strict=strict, notify=notify
    )
    return show_action(acted, as_json, strict)
