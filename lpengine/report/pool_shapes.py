"""Plans, outcomes and states of pools to JSON documents."""

from collections.abc import Iterable

from lpengine.errors import LpengineError
from lpengine.package.model import Task
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.pending import shown
from lpengine.planner.updates.plan import (
    ComponentPlan,
    Fix,
    HostPlan,
    HostTask,
    PoolPlan,
    Precheck,
)
from lpengine.planner.updates.precedence import LEVELS
from lpengine.planner.updates.state import NOTHING_PENDING, HostState, Pending
from lpengine.pool.gather import Observed
from lpengine.pool.outcome import FleetOutcome, HostOutcome, PoolOutcome
from lpengine.report import pool_documents as d
from lpengine.report.documents import codes_of
from lpengine.report.shapes import finding_row
from lpengine.report.update_shapes import livepatch_row
from lpengine.report.values import FleetStatus, PlannedFleet, Verified
from lpengine.targets.host.builds import Build


def plan_document(planned: PlannedFleet) -> d.PoolPlanDocument:
    return d.PoolPlanDocument(
        schema="lpengine/pool-plan/1",
        verdict=verdict(planned),
        no_action_required=planned.plan.no_action_required,
        updates=[update_row(one) for one in planned.updates],
        pools=[pool_row(one) for one in planned.plan.pools],
        silent=dict(planned.silent),
        without_engine=list(planned.without_engine),
    )


def verdict(planned: PlannedFleet) -> str:
    """Pools go side by side: refused only where all of them are that had to go."""
    verdicts = {pool.verdict for pool in planned.plan.pools}
    if Verdict.READY in verdicts:
        return Verdict.READY
    return Verdict.REFUSED if Verdict.REFUSED in verdicts else Verdict.NOTHING


def update_row(verified: Verified) -> d.PlannedUpdateRow:
    update = verified.packed.update
    return d.PlannedUpdateRow(
        id=update.id,
        digest=verified.packed.digest,
        signed_by=verified.signer.principals,
        cves=list(update.cves),
    )


def pool_row(pool: PoolPlan) -> d.PoolPlanRow:
    return d.PoolPlanRow(
        pool=pool.pool,
        verdict=pool.verdict,
        automatic=pool.automatic,
        live_patching=pool.live_patching,
        licensed=pool.licensed,
        no_action_required=pool.no_action_required,
        prechecks=[precheck_row(one) for one in pool.prechecks],
        hosts=[host_row(one) for one in pool.hosts],
    )


def host_row(host: HostPlan) -> d.HostPlanRow:
    return d.HostPlanRow(
        host=host.host,
        role=host.role,
        verdict=host.verdict,
        livepatch_status=host.status,
        effective=host.effective,
        suppressed=host.suppressed,
        components=[component_row(one) for one in host.components],
        uncovered=list(host.uncovered),
        install=list(host.install),
        no_action_required=host.no_action_required,
        before=task_rows(host.before),
        after=task_rows(host.after),
        guidance={level.value: list(host.guidance[level]) for level in host.guidance},
        pending=pending_lists(host.pending),
        prechecks=[precheck_row(one) for one in host.prechecks],
        findings=[finding_row(one) for one in host.findings],
        updates_digest=host.updates_digest,
        state_digest=host.state_digest,
    )


def component_row(one: ComponentPlan) -> d.ComponentPlanRow:
    return d.ComponentPlanRow(
        component=one.component,
        coverage=one.coverage,
        livepatch=None if one.livepatch is None else livepatch_row(one.livepatch),
        source=one.source,
        covers=list(one.covers),
        misses=list(one.misses),
        findings=[finding_row(finding) for finding in one.findings],
    )


def task_rows(tasks: Iterable[HostTask]) -> list[d.HostTaskRow]:
    return [d.HostTaskRow(task=t.task, target=t.target, level=t.level) for t in tasks]


def precheck_row(check: Precheck) -> d.PrecheckRow:
    return d.PrecheckRow(
        group=check.group,
        subject=check.subject,
        status=check.status,
        text=check.text,
        code=check.code,
        cause=check.cause,
        remedy=check.remedy,
        fix=None if check.fix is None else fix_row(check.fix),
    )


def fix_row(fix: Fix) -> d.FixRow:
    return d.FixRow(
        do=fix.do,
        target=fix.target,
        host=fix.host,
        undo="" if fix.undo is None else fix.undo.do,
        choose=fix.choose,
    )


def pending_lists(pending: Pending) -> dict[str, list[str]]:
    return {level.value: [str(one) for one in pending.at(level)] for level in LEVELS}


def install_document(
    planned: PlannedFleet, outcome: FleetOutcome
) -> d.PoolInstallDocument:
    return d.PoolInstallDocument(
        schema="lpengine/pool-install/1",
        run=outcome.run,
        open=outcome.open,
        plan=plan_document(planned),
        pools=[pool_outcome_row(one) for one in outcome.pools],
    )


def abandon_document(outcomes: Iterable[FleetOutcome]) -> d.PoolAbandonDocument:
    return d.PoolAbandonDocument(
        schema="lpengine/pool-abandon/1",
        runs=[
            d.AbandonedRow(
                run=one.run,
                open=one.open,
                pools=[pool_outcome_row(pool) for pool in one.pools],
            )
            for one in outcomes
        ],
    )


def pool_outcome_row(pool: PoolOutcome) -> d.PoolOutcomeRow:
    return d.PoolOutcomeRow(
        pool=pool.pool,
        status=pool.status,
        hosts=[host_outcome_row(one) for one in pool.hosts],
        outstanding=[fix_row(one) for one in pool.outstanding],
        error=message_of(pool.error),
        codes=codes_of(pool.error) if pool.error else [],
        hint=pool.error.hint if pool.error else "",
    )


def host_outcome_row(host: HostOutcome) -> d.HostOutcomeRow:
    return d.HostOutcomeRow(
        host=host.host,
        status=host.status,
        left=task_rows(host.left),
        failed=list(host.failed),
        closed=host.closed,
        error=message_of(host.error),
        hint=host.error.hint if host.error else "",
    )


def message_of(error: LpengineError | None) -> str:
    return error.message if error else ""


def status_document(status: FleetStatus) -> d.PoolStatusDocument:
    return d.PoolStatusDocument(
        schema="lpengine/pool-status/1",
        pools=[status_row(status, one) for one in status.observed],
    )


def status_row(status: FleetStatus, observed: Observed) -> d.PoolStatusRow:
    return d.PoolStatusRow(
        pool=observed.config.name,
        live_patching=observed.state.live_patching,
        toolstack="xapi" if observed.managed else "none",
        unfinished=status.unfinished.get(observed.config.name, ""),
        hosts=[host_status_row(observed, host) for host in status.of(observed)],
    )


def host_status_row(observed: Observed, host: HostState) -> d.HostStatusRow:
    seen = observed.seen.get(host.name)
    silent = observed.silent.get(host.name)
    return d.HostStatusRow(
        host=host.name,
        role=host.role,
        address=observed.config.host(host.name).address,
        system=seen.system if seen else "",
        enabled=host.enabled,
        boot_id=host.boot_id,
        components=[running_row(one, host) for one in (seen.builds if seen else ())],
        updates=sorted(host.installed_updates),
        left=task_rows(left_on(observed, host)),
        pending=pending_lists(host.pending),
        failed=sorted(host.failed),
        silent=message_of(silent),
    )


def left_on(observed: Observed, host: HostState) -> tuple[HostTask, ...]:
    """What its own lpengine says, which knows what its updates are about, and what a
    toolstack remembers; where it has no lpengine, all that anybody does."""
    seen = observed.seen.get(host.name)
    pending, found = host.pending, []
    if seen is not None and seen.left is not None:
        found = [*seen.left]
        known = observed.managed.host(seen.uuid) if observed.managed else None
        pending = known.pending if known else NOTHING_PENDING
    elif host.updates_requiring_reboot:
        found = [HostTask(Task.REBOOT_HOST)]
    remembered = shown(pending)
    found += [
        HostTask(task, "", level) for level in LEVELS for task in remembered.at(level)
    ]
    return tuple({(one.task, one.target): one for one in reversed(found)}.values())


def running_row(build: Build, host: HostState) -> d.RunningRow:
    running = next(
        (one for one in host.running if one.component == build.component), None
    )
    half = running is None or running.half_known
    to = running.to if running else None
    booted = running.booted if running else None
    if build.applied is None:
        memory = "unknown"
    else:
        memory = "applied" if build.applied else "as-booted"
    return d.RunningRow(
        component=build.component,
        build_id=build.build_id,
        booted=str(booted or build.version),
        effective="" if half else str(to or booted or build.version),
        applied=None if build.applied is None else list(build.applied),
        memory=memory,
    )
