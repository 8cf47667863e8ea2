"""Pending guidance as XAPI keeps it, of hosts and of guests."""

from collections.abc import Mapping

from lpengine.package.model import Task
from lpengine.planner.updates.state import Pending
from lpengine.targets.host.records import words


def pending(record: Mapping[str, str]) -> Pending:
    """The three lists. XAPI before XenServer 8 has none of them."""
    return Pending(
        tasks(record.get("pending-guidances", "")),
        tasks(record.get("pending-guidances-recommended", "")),
        tasks(record.get("pending-guidances-full", "")),
    )


def tasks(value: str) -> tuple[Task, ...]:
    """A word that is not known counts as a reboot, as XAPI has it."""
    return tuple(dict.fromkeys(map(task, words(value))))


def task(word: str) -> Task:
    try:
        return Task(word)
    except ValueError:
        return Task.REBOOT_HOST
