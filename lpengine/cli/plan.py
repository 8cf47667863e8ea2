"""lpengine plan"""

from pathlib import Path

import click

from lpengine.api import targets as api
from lpengine.cli import verdicts
from lpengine.cli.options import JSON, LIVE_PATCHING, NODEPS, PAYLOADS, STRICT, TARGET
from lpengine.cli.remote import RemoteCommand
from lpengine.planner import Policy
from lpengine.report import shapes, text
from lpengine.report.documents import to_json
from lpengine.report.table import show


@click.command("plan", cls=RemoteCommand)
@PAYLOADS
@TARGET
@click.option("--replace", is_flag=True, help="Plan the verb `replace`, not `apply`.")
@NODEPS
@LIVE_PATCHING
@STRICT
@JSON
def command(
    payloads: tuple[Path, ...],
    target_uri: str,
    replace: bool,
    nodeps: bool,
    live_patching: bool,
    strict: bool,
    as_json: bool,
) -> int:
    """Say what applying MODULE... (in that order) to TARGET would do, and if it
    cannot be done, every reason why, each with evidence and the way out.

    Reads only. Exit code 0: can be done, or is done already; 10: refused; 13: a
    module breaks its format; 12: try again later.
    """
    policy = Policy(nodeps=nodeps, live_patching=live_patching)
    planned = api.plan(payloads, target_uri, policy, replace=replace)
    if as_json:
        show([to_json(shapes.plan_document(planned))])
    else:
        show(text.plan_lines(planned))
    return verdicts.of_plan(planned.plan, strict=strict)
