"""lpengine install"""

import sys
from pathlib import Path

import click

from lpengine.api import hosts as api
from lpengine.cli import exits, host_verdicts
from lpengine.cli.host_options import MODE, here, trust
from lpengine.cli.options import JSON
from lpengine.cli.pool_options import LEVELS
from lpengine.cli.remote import RemoteCommand
from lpengine.installer.request import Installation, Prepared, Request
from lpengine.package.model import Level
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.state import LivePatching, Mode
from lpengine.report import host_shapes as shapes
from lpengine.report import host_text as text
from lpengine.report.documents import to_json
from lpengine.report.host_progress import notify
from lpengine.report.table import show, show_table


@click.command("install", cls=RemoteCommand)
@click.argument(
    "bundles",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="BUNDLE...",
)
@MODE
@click.option(
    "--live-patching",
    type=click.Choice([each.value for each in LivePatching]),
    help="Never, where it is possible, or refuse where a reboot would remain; by "
    "default what policy.toml says.",
)
@click.option("--no-memory", is_flag=True, help="The same as --live-patching disabled.")
@click.option(
    "--no-disk",
    is_flag=True,
    help="Patch memory only, for a root that nobody can write to; exit code 21.",
)
@click.option(
    "--level",
    type=click.Choice([each.value for each in LEVELS]),
    default=Level.RECOMMENDED.value,
    show_default=True,
    help="The least binding tasks that count.",
)
@click.option(
    "--retry-crashed",
    is_flag=True,
    help="Try a live patch again that the host did not survive last time.",
)
@click.option("--any-time", is_flag=True, help="Do not wait for a maintenance window.")
@click.option(
    "--expect", default="", metavar="PLAN", help="Only where the plan has this name."
)
@click.option("--dry-run", is_flag=True, help="Show the plan; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@trust
@here
@JSON
def command(
    bundles: tuple[Path, ...],
    mode: str,
    live_patching: str | None,
    no_memory: bool,
    no_disk: bool,
    level: str,
    retry_crashed: bool,
    any_time: bool,
    expect: str,
    dry_run: bool,
    yes: bool,
    here: api.Here,
    trust: api.Trust,
    as_json: bool,
) -> int:
    """Install updates on this host: the files and packages of BUNDLE... onto the disk,
    all or none; then its live patches into memory, for the build that runs; and look
    whether they are there.

    A live patch that does not go on is no failure of the update: its files are in
    place, a reboot is then required, and the next run tries again. Installing again
    does nothing, or what is left to do.

    Exit code 0: done, no action required; 20: tasks remain; 21: in memory, not on the
    disk; 22: on the disk, a live patch failed; 23: failed, and all is as before; 24:
    something is left half done, and is named; 10: refused; 12: not now; 13: a bundle
    is damaged or not trusted.
    """
    if no_memory:
        live_patching = LivePatching.DISABLED.value
    request = Request(
        mode=Mode(mode),
        live_patching=LivePatching(live_patching) if live_patching else None,
        level=Level(level),
        disk=not no_disk,
        retry_crashed=retry_crashed,
        any_time=any_time,
        expect=expect,
    )
    if dry_run:
        prepared = api.plan_install(bundles, here, request, trust)
        return deliver(Installation(prepared, None), here, as_json)
    if not yes:
        prepared = api.plan_install(bundles, here, request, trust)
        if not confirmed(prepared, as_json):
            return exits.NOT_CONFIRMED
        request = request.bound_to(prepared)
    found = api.install(bundles, here, request, trust, notify=notify)
    return deliver(found, here, as_json, planned=yes)


def confirmed(prepared: Prepared, as_json: bool) -> bool:
    """Asks where there is somebody to ask, and something to be done."""
    asking = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    if not as_json:
        show_plan(prepared)
    if prepared.verdict is not Verdict.READY:
        return True
    if not asking:
        click.echo("lpengine: not confirmed\n  hint: give --yes", err=True)
        return False
    return click.confirm("Install?", default=False)


def deliver(
    found: Installation, here: api.Here, as_json: bool, *, planned: bool = True
) -> int:
    if as_json:
        show([to_json(shapes.install_document(found, here.site.name))])
    else:
        if planned:
            show_plan(found.prepared)
        show(text.outcome_lines(found))
    return host_verdicts.of_installation(found)


def show_plan(prepared: Prepared) -> None:
    show(text.above(prepared))
    show_table(text.headings(prepared), text.rows(prepared))
    show(text.below(prepared))
