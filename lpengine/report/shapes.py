"""Plans, outcomes and states to JSON documents."""

from collections.abc import Sequence

from lpengine.engine import Outcome, StepOutcome
from lpengine.journal import StepEntry
from lpengine.planner import Facts, Finding, Load, Replace, Step, Unload
from lpengine.planner.plan import Apply, Revert
from lpengine.report import documents as d
from lpengine.report.disassembly import (
    known_names,
    memory_rows,
    redirected_rows,
)
from lpengine.report.document import FindingRow
from lpengine.report.host_documents import InstallDocument
from lpengine.report.values import (
    Acted,
    CallResult,
    Emulated,
    FunctionChange,
    History,
    Planned,
    Recovery,
    Status,
)


def plan_document(planned: Planned) -> d.PlanDocument:
    plan, image = planned.plan, planned.facts.image
    return d.PlanDocument(
        schema="lpengine/plan/1",
        target=plan.target,
        action=plan.action,
        verdict=plan.verdict,
        steps=[step_row(step) for step in plan.steps],
        findings=[finding_row(finding) for finding in plan.findings],
        tasks=[str(task) for task in plan.tasks],
        state_digest=plan.state_digest,
        build_id=image.build_id,
        version=image.version,
    )


def finding_row(finding: Finding) -> FindingRow:
    return FindingRow(
        code=finding.code,
        id=finding.name,
        severity=finding.severity,
        cause=finding.cause,
        errno=finding.errno,
        patch=finding.patch,
        subject=finding.subject,
        observed=finding.observed,
        needed=finding.needed,
        remedy=finding.remedy,
        guidance=finding.guidance,
        retryable=finding.retryable,
        evidence=finding.evidence,
    )


def step_row(step: Step) -> d.StepRow:
    return d.StepRow(
        do=type(step).__name__.lower(),
        patch=step.name,
        sha256=step.sha256 if isinstance(step, Load | Unload) else "",
        nodeps=isinstance(step, Apply) and step.nodeps,
        replaces=list(step.replaced) if isinstance(step, Replace) else [],
        force=isinstance(step, Apply | Revert | Replace) and step.force,
    )


def action_document(acted: Acted) -> d.ActionDocument:
    return d.ActionDocument(
        schema="lpengine/action/1",
        plan=plan_document(acted.planned),
        outcome=outcome_row(acted.outcome),
        recovered=outcome_row(acted.recovered),
        changes=[change_row(change, acted) for change in acted.changes],
    )


def outcome_row(outcome: Outcome | None) -> d.OutcomeRow | None:
    if outcome is None:
        return None
    return d.OutcomeRow(
        status=outcome.status,
        run=outcome.run_id,
        steps=[step_result(result) for result in outcome.steps],
        error=outcome.error,
        cause=getattr(outcome.cause, "cause", ""),
        left=list(outcome.left),
    )


def step_result(result: StepOutcome | StepEntry) -> d.StepResult:
    return d.StepResult(
        step=step_row(result.step),
        state=result.state,
        undoing=result.undoing,
        error=result.error,
    )


def change_row(change: FunctionChange, acted: Acted) -> d.ChangeRow:
    before = acted.planned.facts
    return d.ChangeRow(
        function=change.name,
        address=f"{change.address:#x}",
        before=change_rows(change, before, after=False),
        after=change_rows(change, acted.after or before, after=True),
    )


def change_rows(change: FunctionChange, facts: Facts, after: bool) -> list[str]:
    """One side of a change. Behind a redirection nothing is reached any more, so
    the rows end with its jump, which leads to the newest patch's code."""
    code = change.after if after else change.before
    names = known_names(facts)
    fact = facts.code.get(change.address)
    if fact is None or not fact.redirected_by:
        return memory_rows(code, change.address, names)
    newest = f"{change.name} of {fact.redirected_by[-1]}"
    return redirected_rows(code, change.address, names, newest, fact.unsure)


def call_document(result: CallResult) -> d.CallDocument:
    return d.CallDocument(
        schema="lpengine/call/1",
        function=result.function,
        arguments=list(result.arguments),
        returns=result.returns,
        value=call_value(result),
    )


def call_value(result: CallResult) -> int | str:
    return result.value.hex() if isinstance(result.value, bytes) else result.value


def emulation_document(emulated: Emulated) -> d.EmulationDocument:
    return d.EmulationDocument(
        schema="lpengine/emulation/1",
        action=action_document(emulated.acted),
        calls=[
            d.ComparisonRow(
                call=each.call,
                before=call_value(each.before),
                patched=call_value(each.patched),
                reverted=call_value(each.reverted),
            )
            for each in emulated.calls
        ],
        restored=emulated.restored,
        differing=list(emulated.differing),
    )


def status_document(status: Status) -> d.StatusDocument:
    facts = status.facts
    return d.StatusDocument(
        schema="lpengine/status/1",
        target=facts.target,
        booted_version=facts.image.version,
        booted_build_id=facts.image.build_id,
        compiled=facts.image.compiled,
        cpus=facts.image.cpus,
        effective_build_id=effective_build_id(facts),
        effective=list(facts.applied),
        patches=[
            d.LoadedRow(
                name=patch.name,
                state=patch.state,
                build_id=patch.build_id,
                depends=patch.depends,
                functions=[f"{span.start:#x}" for span in patch.functions],
                reverted=patch.reverted,
                pinned=patch.pinned,
                metadata=dict(patch.metadata),
            )
            for patch in facts.loaded
        ],
        busy=[f"{fact.who}: {fact.function}" for fact in facts.busy],
        in_progress=facts.in_progress,
        interrupted=status.broken_off.verb if status.broken_off else "",
        booted_since=status.booted_since,
    )


def recovery_document(
    recoveries: Sequence[Recovery], host: InstallDocument | None = None
) -> d.RecoveryDocument:
    return d.RecoveryDocument(
        schema="lpengine/recovery/1",
        targets=[recovery_row(recovery) for recovery in recoveries],
        host=host,
    )


def recovery_row(recovery: Recovery) -> d.RecoveryRow:
    broken, facts = recovery.broken_off, recovery.facts
    return d.RecoveryRow(
        target=recovery.target,
        interrupted=broken.verb if broken else "",
        started=broken.started if broken else "",
        outcome=outcome_row(recovery.outcome),
        effective=list(facts.applied) if facts else [],
    )


def effective_build_id(facts: Facts) -> str:
    """The build id of the top of the stack, which the next patch depends on."""
    ids = {patch.name: patch.build_id for patch in facts.loaded}
    return ids[facts.applied[-1]] if facts.applied else facts.image.build_id


def history_document(history: History) -> d.HistoryDocument:
    return d.HistoryDocument(
        schema="lpengine/history/1",
        target=history.target,
        runs=[
            d.HistoryRow(
                run=entry.id,
                started=entry.started,
                ended=entry.ended,
                actor=entry.actor,
                verb=entry.verb,
                status=entry.status,
                build_id=entry.build_id,
                error=entry.error,
                left=list(entry.left),
                steps=[step_result(result) for result in entry.steps],
            )
            for entry in history.entries
        ],
    )
