"""Plans, outcomes and states of pools as lines and rows for people."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from lpengine.package.model import Level, Task, Update
from lpengine.planner.catalogue import CATALOGUE
from lpengine.planner.findings import Finding
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.plan import (
    CheckStatus,
    Coverage,
    Fix,
    FleetPlan,
    Group,
    HostPlan,
    HostTask,
    PoolPlan,
    Precheck,
)
from lpengine.planner.updates.update_mode import NO_ACTION, called, said
from lpengine.pool.gather import NO_ENGINE
from lpengine.pool.outcome import FleetOutcome, HostOutcome, PoolOutcome, Status
from lpengine.report.pool_documents import HostStatusRow, PoolStatusRow
from lpengine.report.table import counted, printable
from lpengine.report.values import PlannedFleet, Verified

_COVERAGE = {
    Coverage.APPLY: "can apply",
    Coverage.IN_EFFECT: "already on",
    Coverage.UNCOVERED: "not covered",
    Coverage.NOT_RUNNING: "-",
}
# Which components come first; the others follow by name.
_FIRST = ("xen", "kernel")

TABLE_END = ("DISK", "TASK AFTERWARDS")
STATUS_HEADINGS = (
    "SERVER",
    "TARGET",
    "BOOTED",
    "EFFECTIVE",
    "STACK",
    "MEMORY",
    "DISK",
    "PENDING",
)


def update_lines(updates: Sequence[Verified]) -> Iterator[str]:
    for one in updates:
        yield from asked_lines(one.packed.update, one.signer.principals)


def asked_lines(update: Update, signer: str) -> Iterator[str]:
    parts = [f"signed by {signer}"]
    if update.livepatches:
        parts.append(counted(len(update.livepatches), "module"))
    parts.append(f"disk: {disk_of(update)}")
    yield printable(f"Update     {update.id}  ({', '.join(parts)})")
    if update.cves:
        yield printable(f"Fixes      {', '.join(update.cves)}")


def disk_of(update: Update) -> str:
    found = []
    if update.packages:
        found.append(counted(len(update.packages), "package"))
    if update.files:
        found.append(counted(len(update.files), "file"))
    return ", ".join(found) or "nothing"


def pool_line(pool: PoolPlan) -> str:
    notes = []
    if not pool.live_patching:
        notes.append("live patching is off")
    if not pool.licensed:
        notes.append("not licensed for live patching")
    if not pool.automatic:
        notes.append("automatic restarts are forbidden")
    return f"Pool       {pool.pool}" + (f"  ({', '.join(notes)})" if notes else "")


def components_of(pool: PoolPlan) -> tuple[str, ...]:
    names = {one.component for host in pool.hosts for one in host.components}
    others = sorted(name for name in names if name not in _FIRST)
    return (*(name for name in _FIRST if name in names), *others)


def headings(pool: PoolPlan) -> tuple[str, ...]:
    return ("SERVER", *(name.upper() for name in components_of(pool)), *TABLE_END)


def plan_rows(pool: PoolPlan, silent: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    names = components_of(pool)
    for host in pool.hosts:
        server = called(host.host, host.role)
        if f"{pool.pool}/{host.host}" in silent:
            yield (server, *("?" for _ in (*names, "disk")), "not known: no answer")
            continue
        cells = (memory_cell(host, name) for name in names)
        yield (server, *cells, disk_cell(host), task_cell(host))


def memory_cell(host: HostPlan, component: str) -> str:
    for one in host.components:
        if one.component == component:
            covered = _COVERAGE[one.coverage]
            unused = one.coverage is Coverage.APPLY and one.livepatch not in host.apply
            return "not used" if unused else covered
    return "-"


def disk_cell(host: HostPlan) -> str:
    space = [check for check in host.prechecks if check.group is Group.DISK_SPACE]
    if any(check.blocks for check in space):
        return "no room"
    if not host.install:
        return "matches"
    on = any(one.coverage is Coverage.IN_EFFECT for one in host.components)
    return "missing" if on and not host.apply else "ok"


def task_cell(host: HostPlan) -> str:
    if host.verdict is Verdict.REFUSED:
        return "Not before what is said below is put right"
    if host.verdict is Verdict.NOTHING and host.no_action_required:
        return f"{NO_ACTION} (nothing to install)"
    return said(host)


def problem_lines(
    pool: PoolPlan, silent: Mapping[str, str], without_engine: Collection[str]
) -> Iterator[str]:
    """What is to be said below the table, each thing once, with whom it is about and
    its remedy."""
    about: dict[tuple[str, str], list[str]] = {}
    for check in pool.prechecks:
        if (said_of := check_text(pool.pool, check)) is not None:
            about.setdefault(said_of, []).append(pool.pool)
    for host in pool.hosts:
        place = f"{pool.pool}/{host.host}"
        why = silent.get(place)
        told = [*told_of(host)] if why is None else [(f"does not answer: {why}", "")]
        if why is None and place in without_engine:
            told += engine_missing(host)
        for each in told:
            about.setdefault(each, []).append(host.host)
    for (what, remedy), where in about.items():
        yield printable(f"{', '.join(where)}  {what}")
        if remedy:
            yield printable(f"       {remedy}")


def told_of(host: HostPlan) -> Iterator[tuple[str, str]]:
    for finding in findings_of(host):
        yield finding_text(finding)
    for check in host.prechecks:
        if (each := check_text(host.host, check)) is not None:
            yield each


def engine_missing(host: HostPlan) -> Iterator[tuple[str, str]]:
    if host.verdict is Verdict.READY:
        code = CATALOGUE[NO_ENGINE]
        what = f"{code.code} {code.name}   it can be planned for, but not updated"
        yield what, f"Remedy: {code.remedy}.   lpengine explain {code.code}"


def problems(
    pool: PoolPlan, silent: Mapping[str, str], without_engine: Collection[str] = ()
) -> list[str]:
    """The same with an empty line before, if there is anything."""
    lines = list(problem_lines(pool, silent, without_engine))
    return ["", *lines] if lines else []


def findings_of(host: HostPlan) -> list[Finding]:
    found = [*host.findings]
    for one in host.components:
        found += [finding for finding in one.findings if finding not in found]
    return found


def finding_text(finding: Finding) -> tuple[str, str]:
    subject = f"{finding.subject}: " if finding.subject else ""
    what = f"{finding.code} {finding.name}   {subject}{finding.observed}"
    return what, f"Remedy: {finding.remedy}.   lpengine explain {finding.code}"


def check_text(where: str, check: Precheck) -> tuple[str, str] | None:
    """None for one that is not worth a line: all is well, or it is a notice."""
    if check.status not in (CheckStatus.PROBLEM, CheckStatus.WARNING):
        return None
    subject = "" if check.subject == where else f"{check.subject}: "
    what = f"{check.code} {'✗' if check.blocks else '!'}   {subject}{check.text}"
    remedy = f"Remedy: {check.remedy}.   " if check.remedy else ""
    resolve = f"--resolve: {fix_text(check.fix)}.   " if check.fix else ""
    return what, f"{remedy}{resolve}lpengine explain {check.code}"


def fix_text(fix: Fix) -> str:
    undo = ", and back at the end" if fix.undo else ""
    return f"{words(fix.do)} {fix.target}{undo}"


def words(name: str) -> str:
    return name.replace("_", " ")


def verdict_line(planned: PlannedFleet) -> str:
    """How many servers need no reboot; one that does not answer is not counted."""
    silent = planned.silent
    hosts = [
        host
        for pool in planned.plan.pools
        for host in pool.hosts
        if f"{pool.pool}/{host.host}" not in silent
    ]
    spared = sum(not host.needs_reboot for host in hosts)
    verb = "needs" if spared == 1 else "need"
    line = f"{spared} of {counted(len(hosts), 'server')} {verb} no reboot."
    if silent:
        return f"{line} {len(silent)} did not answer."
    return f"{line} {NO_ACTION}." if is_without_tasks(planned.plan) else line


def is_without_tasks(plan: FleetPlan) -> bool:
    """Whether nothing remains, and nothing stands against it."""
    refused = any(pool.verdict is Verdict.REFUSED for pool in plan.pools)
    return plan.no_action_required and not refused


# What was done.


def outcome_rows(outcome: FleetOutcome) -> Iterator[tuple[str, ...]]:
    for pool in outcome.pools:
        for host in pool.hosts:
            yield pool.pool, host.host, host_status(host), left_text(host)


def host_status(host: HostOutcome) -> str:
    if host.failed:
        return f"done, {' and '.join(host.failed)} not live patched"
    return host.status


def left_text(host: HostOutcome) -> str:
    if host.error is not None:
        return printable(host.error.message)
    left = [task_text(task) for task in host.left]
    if host.closed:
        left.append("enable the server again")
    if host.status is Status.SKIPPED:
        return "not reached"
    return ", then ".join(left) or "No action required"


_TASKS = {
    Task.REBOOT_HOST: "reboot this server",
    Task.EVACUATE_HOST: "evacuate",
    Task.RESTART_TOOLSTACK: "restart the toolstack",
    Task.RESTART_DEVICE_MODEL: "restart the device model of",
    Task.RESTART_VM: "restart the guest",
    Task.RESTART_PROCESS: "restart the process",
}


def task_text(task: HostTask) -> str:
    text = _TASKS.get(task.task, words(task.task))
    level = " (mandatory)" if task.level is Level.MANDATORY else ""
    return f"{text} {task.target}".rstrip() + level


def outcome_lines(outcome: FleetOutcome) -> Iterator[str]:
    for pool in outcome.pools:
        yield from pool_outcome_lines(pool)
    if outcome.open:
        yield (
            f"Run {outcome.run} is not finished: the same command goes on with it, "
            "lpengine pool abandon gives it up."
        )


def pool_outcome_lines(pool: PoolOutcome) -> Iterator[str]:
    if pool.error is not None and pool.status is not Status.DONE:
        yield printable(f"{pool.pool}  {pool.status}: {pool.error.message}")
        if pool.error.hint:
            yield printable(f"       {pool.error.hint}")
    for host in pool.hosts:
        if host.failed:
            yield (
                f"{host.host}  live patching failed for {' and '.join(host.failed)}: "
                "put the server into maintenance mode and reboot it."
            )
    for fix in pool.outstanding:
        yield f"{pool.pool}  still to be taken back: {words(fix.do)} {fix.target}"


# What is.


def status_rows(pool: PoolStatusRow) -> Iterator[tuple[str, ...]]:
    for host in pool.hosts:
        label = host.host + (" (coordinator)" if host.role == "coordinator" else "")
        if host.silent:
            yield (label, *("?" for _ in STATUS_HEADINGS[2:]), "does not answer")
            continue
        for number, one in enumerate(host.components):
            yield (
                label if not number else "",
                one.component,
                f"{one.booted}  {one.build_id[:7]}".strip(),
                one.effective or "not known",
                " + ".join(one.applied or ()) or "-",
                one.memory.replace("-", " "),
                ", ".join(host.updates) or "-" if not number else "",
                pending_text(host) if not number else "",
            )


def pending_text(host: HostStatusRow) -> str:
    found = [f"{one.task} {one.target}".rstrip() for one in host.left]
    if not host.enabled:
        found.append("enable_host")
    return ", ".join(found) or "-"


def status_lines(pool: PoolStatusRow) -> Iterator[str]:
    switch = "on" if pool.live_patching else "off"
    stack = "" if pool.toolstack == "none" else f", {pool.toolstack.upper()}"
    yield f"Pool       {pool.pool}  (live patching {switch}{stack})"
    if pool.unfinished:
        yield f"           a run of {pool.unfinished} is not finished"


def silent_lines(pool: PoolStatusRow) -> Iterator[str]:
    for host in pool.hosts:
        if host.silent:
            yield printable(f"{host.host}  {host.silent}")


def abandon_lines(outcome: FleetOutcome) -> Iterator[str]:
    yield f"Run {outcome.run} {'is still open' if outcome.open else 'is given up'}."
    for pool in outcome.pools:
        yield from pool_outcome_lines(pool)
