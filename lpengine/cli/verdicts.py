"""From a plan or an outcome to the documented exit code."""

from lpengine.cli.exits import (
    DONE,
    INTERRUPTED,
    NOT_FOUND,
    NOT_PERMITTED,
    REFUSED,
    REJECTED,
    ROLLED_BACK,
    STUCK,
    TASKS_PENDING,
    TEMPORARY,
    WARNINGS,
)
from lpengine.errors import BusyError
from lpengine.planner import Finding, Plan, Severity, Verdict
from lpengine.report.values import Acted

# A module that is wrong by itself, or not signed as it must be.
REJECTING_CODES = ("LP-MOD-", "LP-POL-403", "LP-POL-404")


def of_plan(plan: Plan, *, strict: bool = False) -> int:
    if plan.verdict is Verdict.REFUSED:
        return of_refusal(plan.blocking)
    warned = any(f.severity is Severity.WARN for f in plan.findings)
    return WARNINGS if strict and warned else DONE


def of_refusal(blocking: tuple[Finding, ...]) -> int:
    """The most telling reason decides: a wrong module before a wrong target."""
    if any(f.code.startswith(REJECTING_CODES) for f in blocking):
        return REJECTED
    if any(f.cause == "not-found" for f in blocking):
        return NOT_FOUND
    if any(f.code == "LP-ENV-606" for f in blocking):
        return NOT_PERMITTED
    if all(f.retryable for f in blocking):
        return TEMPORARY
    return REFUSED


def of_action(acted: Acted, *, strict: bool = False) -> int:
    outcome = acted.outcome
    if outcome is None:
        return of_plan(acted.planned.plan, strict=strict)
    if outcome.status == "stuck":
        return STUCK
    if outcome.status in ("rolled-back", "recovered"):
        return of_cause(outcome.cause)
    return TASKS_PENDING if acted.planned.plan.tasks else DONE


def of_cause(cause: BaseException | None) -> int:
    if isinstance(cause, KeyboardInterrupt):
        return INTERRUPTED
    return TEMPORARY if isinstance(cause, BusyError) else ROLLED_BACK
