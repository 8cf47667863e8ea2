"""The verb that puts right what a power cut or a kill has left behind."""

from collections.abc import Sequence
from datetime import timedelta

from lpengine import engine
from lpengine.api.targets import Notify, opened, state_directory
from lpengine.journal import Journal, lock, lock_holder
from lpengine.report.values import Recovery
from lpengine.targets import HOST_TARGETS, Target


def recover(
    target: str | Target,
    *,
    timeout: timedelta | None = None,
    notify: Notify | None = None,
) -> Recovery:
    """Finish or undo the run on `target` that was broken off, if there is one: after
    that the target is as the run promised, or as it was before. `LockedError` where
    the run still goes on."""
    directory, name = state_directory(target), name_of(target)
    with Journal(directory) as journal:
        if journal.open_run() is None:
            return Recovery(name)
        with lock(directory, "recover"):
            broken_off = journal.open_run()
            if broken_off is None:
                return Recovery(name)
            there = opened(target)
            outcome = engine.recover(there, journal, timeout=timeout, notify=notify)
            return Recovery(name, broken_off, outcome, there.facts())


def recover_host(
    targets: Sequence[str] = HOST_TARGETS,
    *,
    timeout: timedelta | None = None,
    notify: Notify | None = None,
) -> tuple[Recovery, ...]:
    """The same for everything that this host is the target of. What another lpengine
    works on at this moment was not broken off."""
    return tuple(
        recover(target, timeout=timeout, notify=notify)
        for target in targets
        if lock_holder(state_directory(target)) is None
    )


def name_of(target: str | Target) -> str:
    return target if isinstance(target, str) else target.name
