"""Values as lines for people: the same words on a terminal and in a pipe, with
tables drawn only where a terminal shows them."""

from collections.abc import Iterator, Sequence

from lpengine.journal import Entry, StepState
from lpengine.planner import Facts, Finding, Severity, Step, Verdict
from lpengine.planner.plan import Apply, Load, Replace, Revert, Unload
from lpengine.report import shapes
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

SHOWN_INSTRUCTIONS = 12


def plan_lines(planned: Planned) -> Iterator[str]:
    plan, image = planned.plan, planned.facts.image
    yield f"Target   {plan.target}"
    yield f"Image    {image.version or 'unknown version'}  build id {image.build_id}"
    for patch in planned.patches:
        yield f"Module   {patch.name}  build id {patch.build_id or 'none'}"
    for number, step in enumerate(plan.steps, 1):
        yield f"Step {number}   {step_text(step)}"
    yield from finding_lines(plan.findings)
    yield f"Verdict  {verdict_text(planned)}"


def verdict_text(planned: Planned) -> str:
    plan = planned.plan
    if plan.verdict is Verdict.REFUSED:
        codes = ", ".join(dict.fromkeys(f.code for f in plan.blocking))
        tasks = ", then ".join(str(task).replace("_", " ") for task in plan.tasks)
        return f"refused ({codes}); afterwards: {tasks or 'nothing was changed'}"
    tasks = ", ".join(map(str, plan.tasks)) or "No action required"
    word = "nothing to do" if plan.verdict is Verdict.NOTHING else "can be done"
    return f"{word}; afterwards: {tasks}"


def step_text(step: Step) -> str:
    match step:
        case Load(name, sha256):
            return f"load {name} (sha256 {sha256[:12]})"
        case Apply(name, nodeps, force):
            without = " without dependency check" if nodeps else ""
            return f"{forced(force)}apply {name}{without}"
        case Revert(name, force):
            return f"{forced(force)}revert {name}"
        case Replace(name, replaced, force):
            others = ", ".join(replaced) or "nothing"
            return f"{forced(force)}replace {others} by {name}"
        case Unload(name):
            return f"unload {name}"


def forced(force: bool) -> str:
    return "by force " if force else ""


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    marks = {Severity.BLOCK: "✗", Severity.WARN: "!", Severity.INFO: "·"}
    for finding in findings:
        errno = f" ({finding.errno})" if finding.errno else ""
        yield (
            f"{marks[finding.severity]} {finding.code} {finding.name}  "
            f"{finding.patch}: {finding.subject}{errno}"
        )
        yield f"    observed: {finding.observed}"
        yield f"    needed:   {finding.needed}"
        yield f"    remedy:   {finding.remedy}"


def action_lines(acted: Acted) -> Iterator[str]:
    if acted.recovered is not None:
        yield f"An earlier run was broken off: {acted.recovered.status}"
    yield from plan_lines(acted.planned)
    for change in acted.changes:
        yield from change_lines(change, acted)
    if acted.outcome is None:
        return
    yield f"Outcome  {acted.outcome.status}"
    if acted.outcome.error:
        yield f"    cause: {acted.outcome.error}"
    for line in acted.outcome.left:
        yield f"    left: {line}"


def change_lines(change: FunctionChange, acted: Acted) -> Iterator[str]:
    for title, facts in (("before", acted.planned.facts), ("after", acted.after)):
        if facts is None:
            continue
        yield f"{change.name}, {title}:"
        rows = shapes.change_rows(change, facts, title == "after")
        yield from (f"  {row}" for row in rows[:SHOWN_INSTRUCTIONS])
        if len(rows) > SHOWN_INSTRUCTIONS:
            yield f"  ... {len(rows) - SHOWN_INSTRUCTIONS} more instructions"


def call_lines(result: CallResult) -> Iterator[str]:
    if isinstance(result.value, int):
        yield f"{result.value} ({result.value:#x})"
    else:
        yield str(shapes.call_value(result))


def emulation_lines(emulated: Emulated) -> Iterator[str]:
    yield from action_lines(emulated.acted)
    for each in emulated.calls:
        yield f"{each.call}:"
        yield f"  before    {shapes.call_value(each.before)!r}"
        yield f"  patched   {shapes.call_value(each.patched)!r}"
        yield f"  reverted  {shapes.call_value(each.reverted)!r}"
    if emulated.restored:
        yield "Reverted and unloaded: every byte of the image is as it was"
    else:
        names = ", ".join(emulated.differing)
        yield f"Reverted and unloaded: what hooks wrote remains in {names}"


def status_lines(status: Status) -> Iterator[str]:
    facts = status.facts
    yield f"Target     {facts.target}"
    version = facts.image.version or "unknown version"
    yield f"Booted     {version}  build id {facts.image.build_id}"
    if facts.image.compiled:
        yield f"Compiled   {facts.image.compiled}"
    if facts.image.cpus:
        yield f"CPUs       {facts.image.cpus}"
    yield f"Effective  {stack_text(facts)}"
    if facts.in_progress:
        yield f"Under way  {facts.in_progress} is being changed at this moment"
    for fact in facts.busy:
        yield f"Busy       {fact.who} is in {fact.function}"
    if status.broken_off is not None:
        yield f"Broken off {broken_text(status.broken_off)}"
        yield f"    {broken_remedy(status.booted_since)}"


def broken_text(entry: Entry) -> str:
    """How far a run that never ended had come."""
    acted = [step for step in entry.steps if not step.undoing]
    done = sum(step.state is StepState.DONE for step in acted)
    began = f"{entry.verb} of {entry.started} by {entry.actor}"
    return f"run {entry.id}, {began}: {len(acted)} steps begun, {done} ended"


def broken_remedy(booted_since: bool) -> str:
    if booted_since:
        return "the target has booted since: nothing of it is left in memory"
    return "lpengine recover undoes it, and so does the next acting command"


def recovery_lines(recovery: Recovery) -> Iterator[str]:
    yield f"Target     {recovery.target}"
    if recovery.broken_off is None or recovery.outcome is None:
        yield "Outcome    nothing was broken off"
        return
    yield f"Broken off {broken_text(recovery.broken_off)}"
    yield f"Outcome    {recovery.outcome.status}"
    if recovery.outcome.error:
        yield f"    cause: {recovery.outcome.error}"
    for line in recovery.outcome.left:
        yield f"    left: {line}"
    if recovery.facts is not None:
        yield f"Effective  {stack_text(recovery.facts)}"


def stack_text(facts: Facts) -> str:
    stack = " + ".join(facts.applied) or "nothing applied"
    return f"{stack}  build id {shapes.effective_build_id(facts)}"


def history_rows(history: History) -> Iterator[tuple[str, ...]]:
    for entry in history.entries:
        steps = "; ".join(step_text(result.step) for result in entry.steps)
        yield (
            str(entry.id),
            entry.started,
            entry.actor,
            entry.verb,
            entry.status,
            entry.build_id[:12],
            steps,
        )


def stack_rows(status: Status) -> Iterator[tuple[str, ...]]:
    for patch in status.facts.loaded:
        yield (
            patch.name,
            patch.state.value + (", pinned" if patch.pinned else ""),
            patch.build_id[:12],
            patch.depends[:12],
            str(len(patch.functions)),
            ", ".join(f"{key}={value}" for key, value in patch.metadata),
        )
