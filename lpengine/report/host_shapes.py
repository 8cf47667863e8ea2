"""Plans, outcomes and the state of this host to JSON documents."""

from collections.abc import Iterable

from lpengine.errors import LpengineError, RefusedError
from lpengine.installer.request import (
    Asked,
    HostOutcome,
    Installation,
    PatchFailure,
    Prepared,
)
from lpengine.installer.status import HostStatus, UpdateStatus
from lpengine.journal.host_entries import FailedPatch, HostEntry, HostStepEntry, Trial
from lpengine.package.model import Version
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.plan import ComponentPlan, Coverage
from lpengine.report import host_documents as d
from lpengine.report.pool_documents import PlannedUpdateRow
from lpengine.report.pool_shapes import (
    host_row,
    pending_lists,
    running_row,
    task_rows,
)
from lpengine.report.shapes import finding_row
from lpengine.targets.host.builds import Build
from lpengine.targets.host.remembered import Remembered


def install_document(
    found: Installation, host: str, action: str = "install"
) -> d.InstallDocument:
    prepared = found.prepared
    outcome = found.outcome or unattempted(prepared)
    return document_of(outcome, host, action, prepared, found.recovered)


def uninstall_document(outcome: HostOutcome, host: str) -> d.InstallDocument:
    return document_of(outcome, host, "uninstall")


def unattempted(prepared: Prepared) -> HostOutcome:
    if prepared.verdict is Verdict.REFUSED:
        return HostOutcome("refused", error="; ".join(prepared.reasons))
    return HostOutcome("", tasks=prepared.plan.after)


def document_of(
    outcome: HostOutcome,
    host: str,
    action: str,
    prepared: Prepared | None = None,
    recovered: Iterable[str] = (),
) -> d.InstallDocument:
    refused = prepared is not None and prepared.verdict is Verdict.REFUSED
    return d.InstallDocument(
        schema="lpengine/install/1",
        action=action,
        host=host,
        status=outcome.status,
        run=outcome.run_id,
        plan_id=prepared.id if prepared else "",
        updates=[update_asked(one) for one in prepared.asked] if prepared else [],
        plan=host_row(prepared.plan) if prepared else None,
        refusals=[finding_row(one) for one in prepared.refusals] if prepared else [],
        steps=[step_row(one) for one in outcome.steps],
        failed=[failure_row(one) for one in outcome.failed],
        tasks=task_rows(outcome.tasks),
        carried_out=task_rows(outcome.carried_out),
        kept=list(outcome.kept),
        warnings=list(outcome.warnings),
        disk_missing=outcome.disk_missing,
        recovered=list(recovered),
        message=outcome.error,
        hint=prepared.remedy if prepared and refused else hint_of(outcome),
        codes=list(prepared.codes) if prepared and refused else codes_of(outcome),
    )


def update_asked(one: Asked) -> PlannedUpdateRow:
    return PlannedUpdateRow(
        id=one.update.id,
        digest=one.digest,
        signed_by=one.signer,
        cves=list(one.update.cves),
    )


def hint_of(outcome: HostOutcome) -> str:
    cause = outcome.cause
    return cause.hint if isinstance(cause, LpengineError) else ""


def codes_of(outcome: HostOutcome) -> list[str]:
    cause = outcome.cause
    return list(cause.codes) if isinstance(cause, RefusedError) else []


def step_row(entry: HostStepEntry) -> d.HostStepRow:
    step = entry.step
    return d.HostStepRow(
        deed=step.deed,
        subject=step.subject,
        detail=step.detail,
        build_id=step.build_id,
        state=entry.state,
        undoing=entry.undoing,
        error=entry.error,
    )


def failure_row(one: PatchFailure | FailedPatch) -> d.PatchFailureRow:
    codes = list(one.codes) if isinstance(one, PatchFailure) else []
    return d.PatchFailureRow(
        component=one.component, name=one.name, error=one.error, codes=codes
    )


def crash_row(trial: Trial) -> d.PatchFailureRow:
    return d.PatchFailureRow(
        component=trial.component,
        name=trial.name,
        error=f"the host went down over it at {trial.since}",
        codes=["LP-ENV-607"],
    )


# Status.


def status_document(status: HostStatus) -> d.HostStatusDocument:
    seen = status.observed.seen
    return d.HostStatusDocument(
        schema="lpengine/host-status/1",
        host=status.site.name,
        boot_id=seen.state.boot_id,
        system=seen.system,
        components=[component_row(status, build) for build in seen.builds],
        updates=[update_row(one) for one in status.updates],
        tasks=task_rows(status.plan.after),
        needs_reboot=status.needs_reboot,
        failed=[failure_row(one) for one in status.failed],
        crashed=[crash_row(one) for one in status.crashed],
        interrupted=status.interrupted.verb if status.interrupted else "",
        busy=str(status.busy) if status.busy else "",
        loose=list(status.loose),
        remembered=remembered_row(status),
    )


def component_row(status: HostStatus, build: Build) -> d.HostComponentRow:
    running = running_row(build, status.observed.state)
    plans = [p for p in status.plan.components if p.component == build.component]
    pending = [*dict.fromkeys(t for plan in plans for t in pending_of(status, plan))]
    return d.HostComponentRow(
        component=build.component,
        target=status.site.targets.get(build.component, ""),
        build_id=running.build_id,
        booted=running.booted,
        effective=running.effective,
        applied=running.applied,
        memory=memory_of(status, build, running.memory),
        disk=disk_of(status, build.component),
        pending=pending,
    )


def pending_of(status: HostStatus, plan: ComponentPlan) -> list[str]:
    """What brings a component up to date that is not."""
    if plan.coverage is not Coverage.UNCOVERED:
        return []
    process = plan.component.startswith("process:")
    task = "restart_process" if process else "reboot_host"
    return [task] if any(one.task == task for one in status.plan.after) else []


def memory_of(status: HostStatus, build: Build, shown: str) -> str:
    component = build.component
    if shown == "unknown":
        return shown
    if any(one.component == component for one in status.crashed):
        return "crashed"
    if any(one.component == component for one in status.failed):
        return "failed"
    plans = [p for p in status.plan.components if p.component == component]
    behind = any(plan.coverage is Coverage.UNCOVERED for plan in plans)
    return "behind" if behind else shown


def disk_of(status: HostStatus, component: str) -> str:
    """The worst of what the updates have that are about the component."""
    updates = zip(status.updates, status.observed.updates, strict=True)
    found = {one.disk for one, update in updates if component in update.components}
    return next((w for w in ("missing", "changed", "matches") if w in found), "")


def update_row(one: UpdateStatus) -> d.HostUpdateRow:
    return d.HostUpdateRow(
        id=one.kept.id,
        title=one.title,
        digest=one.kept.digest,
        signer=one.kept.signer,
        since=one.kept.since,
        in_effect=one.in_effect,
        disk=one.disk,
        differs=list(one.differs),
    )


def remembered_row(status: HostStatus) -> d.RememberedRow:
    found: Remembered = status.observed.remembered
    return d.RememberedRow(
        versions=[
            version_row(component, name, to)
            for (component, name), to in sorted(found.versions.items())
        ],
        installed_updates=sorted(found.installed_updates),
        pending=pending_lists(found.pending),
        updates_requiring_reboot=sorted(found.updates_requiring_reboot),
        failed=sorted(found.failed),
        crashed=[version_row(one.component, "", one.to) for one in found.crashed],
        operations=[str(status.busy)] if status.busy else [],
        held=found.held,
        pinned=sorted(found.pinned),
        closed_until=found.closed_until,
    )


def version_row(component: str, name: str, to: Version | None) -> d.PatchVersionRow:
    version = None
    if to is not None:
        version = d.VersionRow(version=to.version, release=to.release, epoch=to.epoch)
    return d.PatchVersionRow(component=component, name=name, to=version)


def reboot_document(status: HostStatus) -> d.NeedsRebootDocument:
    return d.NeedsRebootDocument(
        schema="lpengine/needs-reboot/1",
        needs_reboot=status.needs_reboot,
        reasons=list(status.reboot_reasons),
    )


def effective_document(status: HostStatus) -> d.EffectiveDocument:
    rows = [component_row(status, build) for build in status.observed.seen.builds]
    return d.EffectiveDocument(
        schema="lpengine/uname/1",
        versions={row.component: row.effective for row in rows},
    )


# History.


def history_document(entries: Iterable[HostEntry], host: str) -> d.HostHistoryDocument:
    return d.HostHistoryDocument(
        schema="lpengine/host-history/1",
        host=host,
        runs=[run_row(entry) for entry in entries],
    )


def run_row(entry: HostEntry) -> d.HostRunRow:
    return d.HostRunRow(
        run=entry.id,
        started=entry.started,
        ended=entry.ended,
        actor=entry.actor,
        verb=entry.verb,
        updates=list(entry.updates),
        boot_id=entry.boot_id,
        status=entry.status,
        error=entry.error,
        left=list(entry.left),
        steps=[step_row(step) for step in entry.steps],
    )
