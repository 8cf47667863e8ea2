"""The words in which guidance is published, and the tasks they stand for."""

from collections.abc import Iterable

from lpengine.package.model import Task

# XAPI's updateinfo.xml and its pending forms, pool_update's tokens, and ours.
_KNOWN = {
    "RebootHost": Task.REBOOT_HOST,
    "EvacuateHost": Task.EVACUATE_HOST,
    "RestartToolstack": Task.RESTART_TOOLSTACK,
    "RestartDeviceModel": Task.RESTART_DEVICE_MODEL,
    "RestartVM": Task.RESTART_VM,
    "RestartProcess": Task.RESTART_PROCESS,
    "restartHost": Task.REBOOT_HOST,
    "restartXAPI": Task.RESTART_TOOLSTACK,
    "restartHVM": Task.RESTART_VM,
    "restartPV": Task.RESTART_VM,
}

# What the engine and XAPI remember when a live patch fails; nobody publishes these.
FAILURES = frozenset(
    {
        Task.REBOOT_ON_LIVEPATCH_FAILURE,
        Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE,
        Task.REBOOT_ON_KERNEL_LIVEPATCH_FAILURE,
    }
)

_KNOWN.update({str(task): task for task in Task if task not in FAILURES})


def is_known(word: str) -> bool:
    return word in _KNOWN


def published(word: str) -> Task:
    """The task that a published word stands for. One that nobody knows is a reboot:
    it asks for something, and a reboot covers all there is."""
    return _KNOWN.get(word, Task.REBOOT_HOST)


def published_all(words: Iterable[str]) -> frozenset[Task]:
    return frozenset(published(word) for word in words)


def in_order(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Each once, in the order of the enumeration: the widest first."""
    wanted = frozenset(tasks)
    return tuple(task for task in Task if task in wanted) if wanted else ()
