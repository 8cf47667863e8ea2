"""Plans, outcomes and the state of this host as lines and rows for people."""

from collections.abc import Iterable, Iterator

from lpengine.installer.request import HostOutcome, Installation, Prepared
from lpengine.installer.status import HostStatus
from lpengine.journal.host_entries import HostEntry, HostStep
from lpengine.planner.findings import Severity
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.plan import PoolPlan
from lpengine.report.host_documents import HostStatusDocument
from lpengine.report.pool_text import (
    asked_lines,
    finding_text,
    plan_rows,
    problems,
    task_text,
)
from lpengine.report.pool_text import headings as plan_headings
from lpengine.report.table import printable

STATUS_HEADINGS = (
    "TARGET",
    "BOOTED",
    "EFFECTIVE",
    "STACK",
    "MEMORY",
    "DISK",
    "PENDING",
)
UPDATE_HEADINGS = ("UPDATE", "SINCE", "SIGNED BY", "IN EFFECT", "DISK")
HISTORY_HEADINGS = ("RUN", "STARTED", "ACTOR", "VERB", "STATUS", "STEPS")
NO_ACTION = "No action required"


def as_pool(prepared: Prepared) -> PoolPlan:
    """A host by itself is a pool of one."""
    return PoolPlan(prepared.plan.pool, prepared.verdict, (prepared.plan,))


def above(prepared: Prepared) -> Iterator[str]:
    for one in prepared.asked:
        yield from asked_lines(one.update, one.signer)


def headings(prepared: Prepared) -> tuple[str, ...]:
    return plan_headings(as_pool(prepared))


def rows(prepared: Prepared) -> Iterator[tuple[str, ...]]:
    for row in plan_rows(as_pool(prepared), {}):
        if prepared.verdict is Verdict.REFUSED:
            yield (*row[:-1], "Not before what is said below is put right")
        else:
            yield row


def below(prepared: Prepared) -> Iterator[str]:
    """What has to be said about the plan, and its name."""
    yield from problems(as_pool(prepared), {})
    for finding in prepared.refusals:
        what, remedy = finding_text(finding)
        mark = "✗" if finding.severity is Severity.BLOCK else "!"
        yield printable(f"{mark} {what}")
        yield printable(f"       {remedy}")
    yield f"Plan {prepared.id}"


def outcome_lines(found: Installation, action: str = "install") -> Iterator[str]:
    for line in found.recovered:
        yield printable(f"Recovered  {line}")
    if found.outcome is not None:
        yield from host_outcome_lines(found.outcome, action)


def recovery_lines(found: Installation | None) -> Iterator[str]:
    if found is None:
        yield "Updates    nothing was broken off"
        return
    yield from outcome_lines(found, "recover")


def boot_lines(found: Installation) -> Iterator[str]:
    """What a boot log should show: nothing of a plan that is of no interest."""
    for line in found.recovered:
        yield printable(f"Recovered  {line}")
    for plan in found.prepared.plan.components:
        for finding in plan.findings:
            yield printable(finding_text(finding)[0])
    if found.outcome is not None:
        yield from host_outcome_lines(found.outcome, "boot")


def host_outcome_lines(outcome: HostOutcome, action: str) -> Iterator[str]:
    for entry in outcome.steps:
        error = f": {entry.error}" if entry.error else ""
        undoing = "undo: " if entry.undoing else ""
        yield printable(f"  {undoing}{step_text(entry.step)}: {entry.state}{error}")
    yield f"Outcome    {action}: {outcome.status}"
    if outcome.error:
        yield printable(f"    cause: {outcome.error}")
    for failure in outcome.failed:
        yield printable(
            f"Live patching failed for {failure.component} ({failure.name}): "
            f"{failure.error}"
        )
    for line in outcome.kept:
        yield printable(f"Kept       {line}")
    for line in outcome.warnings:
        yield printable(f"Warning    {line}")
    if outcome.disk_missing:
        yield "Disk       missing: the next boot undoes what memory has"
    done = ", ".join(task_text(task) for task in outcome.carried_out)
    if done:
        yield f"Done       {done}"
    yield f"Remains    {', then '.join(map(task_text, outcome.tasks)) or NO_ACTION}"


def step_text(step: HostStep) -> str:
    return " ".join(part for part in (step.deed, step.subject, step.detail) if part)


# Status.


def status_lines(status: HostStatus) -> Iterator[str]:
    system = status.observed.seen.system
    yield printable(
        f"Host       {status.site.name}" + (f"  ({system})" if system else "")
    )
    if status.busy is not None:
        yield printable(f"At work    {status.busy}")
    if status.interrupted is not None:
        run = status.interrupted
        yield printable(
            f"Broken off run {run.id} of {run.started}: {run.verb}; "
            "lpengine recover ends it"
        )
    for line in status.loose:
        yield printable(f"Half done  {line}; lpengine recover ends it")
    for one in status.failed:
        yield printable(f"Failed     {one.component}: {one.name}: {one.error}")
    for trial in status.crashed:
        yield printable(
            f"Crashed    {trial.component}: the host went down over {trial.name} at "
            f"{trial.since}; lpengine boot --retry-crashed tries it again"
        )


def status_rows(document: HostStatusDocument) -> Iterator[tuple[str, ...]]:
    for row in document.components:
        yield (
            row.component,
            printable(f"{row.booted}  {row.build_id[:7]}".strip()),
            printable(row.effective or "not known"),
            printable(" + ".join(row.applied or ()) or "-"),
            row.memory.replace("-", " "),
            row.disk.upper() if row.disk in ("missing", "changed") else row.disk or "-",
            ", ".join(row.pending) or "-",
        )


def update_rows(document: HostStatusDocument) -> Iterator[tuple[str, ...]]:
    effect = {True: "yes", False: "no", None: "-"}
    for row in document.updates:
        yield (
            row.id,
            row.since,
            printable(row.signer),
            effect[row.in_effect],
            row.disk,
        )


def status_end(status: HostStatus) -> Iterator[str]:
    for one in status.updates:
        for line in one.differs:
            yield printable(f"{one.kept.id}: {line}")
    tasks = ", then ".join(map(task_text, status.plan.after))
    yield f"Remains    {tasks or NO_ACTION}"
    if status.last is not None:
        last = status.last
        what = " ".join((last.verb, *last.updates))
        yield printable(f"Last change {last.started} {what} by {last.actor}")


def history_rows(entries: Iterable[HostEntry]) -> Iterator[tuple[str, ...]]:
    for entry in entries:
        steps = "; ".join(step_text(each.step) for each in entry.steps)
        yield (
            str(entry.id),
            entry.started,
            printable(entry.actor),
            " ".join((entry.verb, *entry.updates)),
            entry.status,
            printable(steps),
        )
