"""From what became of this host to the documented exit code."""

from lpengine.cli import exits
from lpengine.errors import LpengineError
from lpengine.installer.request import HostOutcome, Installation, Prepared
from lpengine.installer.status import HostStatus
from lpengine.planner.catalogue import CATALOGUE
from lpengine.planner.plan import Verdict


def of_installation(found: Installation) -> int:
    return (
        of_plan(found.prepared) if found.outcome is None else of_outcome(found.outcome)
    )


def of_plan(prepared: Prepared) -> int:
    """Refused for now only where time alone puts it right."""
    if prepared.verdict is not Verdict.REFUSED:
        return exits.DONE
    later = all(CATALOGUE[code].retryable for code in prepared.codes)
    return exits.TEMPORARY if later else exits.REFUSED


def of_outcome(outcome: HostOutcome) -> int:
    if outcome.status == "rolled-back":
        return of_cause(outcome.cause)
    if outcome.failed:
        return exits.MEMORY_FAILED
    if outcome.disk_missing:
        return exits.DISK_MISSING
    return exits.TASKS_PENDING if outcome.tasks else exits.DONE


def of_cause(cause: BaseException | None) -> int:
    if isinstance(cause, KeyboardInterrupt):
        return exits.INTERRUPTED
    return cause.exit_code if isinstance(cause, LpengineError) else exits.ROLLED_BACK


def of_status(status: HostStatus) -> int:
    return exits.DONE if status.plan.no_action_required else exits.TASKS_PENDING
