"""The words in which guidance is published, and the tasks they stand for."""

from collections.abc import Iterable
from functools import cache

from lpengine.package.model import FAILURES, XAPI_WORDS, Task

# What a hotfix of the second generation asks for (pool_update); live patching makes
# none of these needless but the first.
_RESTART_HOST = {"restartHost": Task.REBOOT_HOST}
_RESTART_OTHERS = {
    "restartXAPI": Task.RESTART_TOOLSTACK,
    "restartHVM": Task.RESTART_VM,
    "restartPV": Task.RESTART_VM,
}
_OURS = {"RestartProcess": Task.RESTART_PROCESS, **{str(task): task for task in Task}}
# Nobody publishes failures.
_KNOWN = {
    word: task
    for words in (_OURS, XAPI_WORDS, _RESTART_HOST, _RESTART_OTHERS)
    for word, task in words.items()
    if task not in FAILURES
}


def is_known(word: str) -> bool:
    return word in _KNOWN


def published(word: str) -> Task:
    """The task that a published word stands for. One that nobody knows is a reboot:
    it asks for something, and a reboot covers all there is."""
    return _KNOWN.get(word, Task.REBOOT_HOST)


def stays(word: str) -> bool:
    """Whether an update asks for this even where it is live patched."""
    return word in _RESTART_OTHERS


def published_all(words: Iterable[str]) -> frozenset[Task]:
    return frozenset(published(word) for word in words)


def in_order(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Each once, in the order of the enumeration: the widest first."""
    return _ordered(frozenset(tasks))


@cache
def _ordered(wanted: frozenset[Task]) -> tuple[Task, ...]:
    return tuple(task for task in Task if task in wanted)
