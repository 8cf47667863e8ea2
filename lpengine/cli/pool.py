"""lpengine pool: plan, install, status, set, abandon"""

import sys
from pathlib import Path

import click

from lpengine.api import pools as api
from lpengine.cli import exits, pool_verdicts
from lpengine.cli.options import JSON, parse_pairs
from lpengine.cli.pool_options import (
    BUNDLES,
    PATH,
    policy,
    wanted,
    wanted_and_signers,
)
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.state import Mode, UpdatePolicy
from lpengine.pool.rollout import SIDE_BY_SIDE
from lpengine.pool.saved import SavedPlan
from lpengine.report import pool_shapes as shapes
from lpengine.report import pool_text as text
from lpengine.report.documents import to_json
from lpengine.report.files import write_whole
from lpengine.report.pool_documents import PoolSettingsDocument
from lpengine.report.pool_progress import STYLES, progress
from lpengine.report.table import show, show_table
from lpengine.report.values import PlannedFleet


@click.group("pool")
def command() -> None:
    """Update the hosts of pools: the coordinator first, the others one after
    another, pools side by side.

    Pools are in /etc/lpengine/pool.toml (see docs/pools.md); a server by itself is a
    pool of one. Hosts are looked at from outside; to be updated they need lpengine.
    """


@command.command("plan")
@BUNDLES
@wanted_and_signers
@policy
@click.option(
    "--state",
    "states",
    type=PATH,
    help="Plan for the pools in this file instead of asking any host.",
)
@click.option("--observed", "keep", type=PATH, help="Write what was observed there.")
@click.option("--out", type=PATH, help="Write the plan there, for `install --plan`.")
@click.option(
    "--state-schema", is_flag=True, help="Print the JSON Schema of --state's file."
)
@JSON
def plan(
    bundles: tuple[Path, ...],
    wanted: api.Wanted,
    policy: UpdatePolicy,
    states: Path | None,
    keep: Path | None,
    out: Path | None,
    state_schema: bool,
    as_json: bool,
) -> int:
    """Say for each server what BUNDLE... would do to it, and what has to be done
    afterwards: nothing, restart the toolstack, reboot; and why. Changes nothing.

    Exit code 0: can be done, or is done already; 10: a pool is refused; 13: a bundle
    is damaged, or signed by nobody who is trusted; 31: hosts do not answer.
    """
    if state_schema:
        show([schema_text()])
        return exits.DONE
    if not bundles:
        raise click.UsageError("give BUNDLE...")
    draft = api.plan_pools(bundles, wanted, policy, states=states, keep=keep)
    document = to_json(shapes.plan_document(draft.planned))
    if out is not None:
        write_whole(out, f"{document}\n".encode())
    if as_json:
        show([document])
    else:
        show_plan(draft.planned)
        show(next_lines(draft.planned, out))
    return pool_verdicts.of_plan(draft.planned.plan)


@command.command("install")
@BUNDLES
@wanted_and_signers
@policy
@click.option(
    "--mode",
    type=click.Choice([each.value for each in Mode]),
    help="Who carries out the tasks that remain: lpengine (automatic), or you; by "
    "default what pool.toml says.",
)
@click.option(
    "--resolve",
    is_flag=True,
    help="Do what can be done about problems (HA, guests, storage), if that is enough; "
    "it is taken back at the end.",
)
@click.option(
    "--put-away",
    multiple=True,
    metavar="GUEST",
    help="With --resolve: suspend or shut down this guest too, where memory is short; "
    "may be repeated.",
)
@click.option("--plan", "saved", type=PATH, help="Only where it is as in this plan.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--side-by-side",
    type=click.IntRange(1, 256),
    default=SIDE_BY_SIDE,
    show_default=True,
    help="How many pools at once.",
)
@click.option(
    "--progress",
    "style",
    type=click.Choice(STYLES),
    default="auto",
    show_default=True,
    help="On standard error; auto is a table on a terminal, else lines.",
)
@JSON
def install(
    bundles: tuple[Path, ...],
    wanted: api.Wanted,
    policy: UpdatePolicy,
    mode: str | None,
    resolve: bool,
    put_away: tuple[str, ...],
    saved: Path | None,
    yes: bool,
    side_by_side: int,
    style: str,
    as_json: bool,
) -> int:
    """Install BUNDLE... on all servers of the pools: disk first, then memory, then
    read back; and carry out the tasks that remain, or list them.

    The first failure stops its pool and no other. The same command goes on where a
    run has stopped, whatever stopped it; `lpengine pool abandon` gives it up.

    Exit code 0: done, nothing remains; 20: tasks remain; 22: a live patch failed, its
    server waits for a reboot; 30: a pool stopped at a failure; 31: at a server that
    does not answer; 10: refused; 12: something changed since the plan; 13: a bundle
    is damaged or not trusted.
    """
    if not bundles:
        raise click.UsageError("give BUNDLE...")
    chosen = Mode(mode) if mode else None
    kept = SavedPlan.read(saved) if saved else None
    draft = api.plan_pools(bundles, wanted, policy, mode=chosen)
    if not as_json:
        show_plan(draft.planned)
    if not (yes or confirmed(draft.planned)):
        return exits.NOT_CONFIRMED
    servers = [(p.pool, h.host) for p in draft.planned.plan.pools for h in p.hosts]
    with progress(style, servers) as notify:
        outcome = api.install_pools(
            draft,
            saved=kept,
            resolve=resolve,
            put_away=put_away,
            notify=notify,
            side_by_side=side_by_side,
        )
    if as_json:
        show([to_json(shapes.install_document(draft.planned, outcome))])
    else:
        show([""])
        show_table(
            ("POOL", "SERVER", "OUTCOME", "WHAT REMAINS"), text.outcome_rows(outcome)
        )
        show(text.outcome_lines(outcome))
    return pool_verdicts.of_outcome(outcome)


@command.command("status")
@wanted
@JSON
def status(wanted: api.Wanted, as_json: bool) -> int:
    """Show for each server what was booted, what is in effect now, what is on its disk
    and what is left to be done.

    Exit code 0: nothing is left; 20: tasks are; 31: servers do not answer.
    """
    document = shapes.status_document(api.pool_status(wanted))
    if as_json:
        show([to_json(document)])
        return pool_verdicts.of_status(document)
    for number, pool in enumerate(document.pools):
        show([""] if number else [])
        show(text.status_lines(pool))
        show_table(text.STATUS_HEADINGS, text.status_rows(pool))
        show(text.silent_lines(pool))
    return pool_verdicts.of_status(document)


@command.command("set")
@click.argument("pool")
@click.argument("settings", nargs=-1, required=True, metavar="SETTING=VALUE...")
@click.option("--pools", "pools_file", type=PATH, envvar="LPENGINE_POOLS")
@JSON
def set_settings(
    pool: str, settings: tuple[str, ...], pools_file: Path | None, as_json: bool
) -> int:
    """Change settings of POOL in pool.toml; what else is written there stays.

    \b
      live_patching=on|off      apply live patches, or update by reboot
      mode=automatic|manual     who carries out the tasks that remain
      forbid_restarts=on|off    nobody but you restarts its servers
      coordinator=HOST, edition=NAME
    """
    values = dict(parse_pairs(settings, "SETTING=VALUE"))
    path = api.set_pool(pool, values, pools_file)
    if as_json:
        document = PoolSettingsDocument(
            schema="lpengine/pool-settings/1",
            path=str(path),
            pool=pool,
            settings=values,
        )
        show([to_json(document)])
    else:
        show(f"{path}: {pool}: {name} = {value}" for name, value in values.items())
    return exits.DONE


@command.command("abandon")
@wanted
@JSON
def abandon(wanted: api.Wanted, as_json: bool) -> int:
    """Give up a run that was stopped: servers take guests again, and what `--resolve`
    has switched off is on again. What was installed stays.
    """
    with progress("none" if as_json else "lines", ()) as notify:
        outcomes = api.abandon_runs(wanted, notify)
    if as_json:
        show([to_json(shapes.abandon_document(outcomes))])
    elif not outcomes:
        show(["There is no run to give up."])
    for outcome in outcomes:
        if not as_json:
            show(text.abandon_lines(outcome))
    return pool_verdicts.of_abandoned(outcomes)


def show_plan(planned: PlannedFleet) -> None:
    show(text.update_lines(planned.updates))
    for pool in planned.plan.pools:
        show(["", text.pool_line(pool)])
        rows = text.plan_rows(pool, planned.silent)
        show_table(text.headings(pool), rows)
        show(text.problems(pool, planned.silent, planned.without_engine))
    show(["", text.verdict_line(planned)])


def next_lines(planned: PlannedFleet, out: Path | None) -> list[str]:
    verdict = shapes.verdict(planned)
    if out is None or verdict != Verdict.READY:
        return []
    return [f"Plan saved. Next: lpengine pool install --plan {out} BUNDLE..."]


def confirmed(planned: PlannedFleet) -> bool:
    """Asks where there is somebody to ask; a plan to do nothing needs nobody."""
    if shapes.verdict(planned) != Verdict.READY:
        return True
    if not sys.stdin.isatty():
        click.echo("lpengine: not confirmed: add --yes", err=True)
        return False
    return click.confirm("Go ahead?", err=True)


def schema_text() -> str:
    import json

    from lpengine.pool.states import json_schema

    return json.dumps(json_schema(), indent=1)
