"""Live patches of an update that leaves, taken off."""

from collections.abc import Iterable, Iterator, Mapping

from lpengine.engine.run import line
from lpengine.errors import LpengineError, RefusedError
from lpengine.installer.intent import Reverting
from lpengine.installer.memory import take_off
from lpengine.installer.request import PatchFailure
from lpengine.installer.run import HostRun
from lpengine.journal.host_entries import Deed, HostStep
from lpengine.package.model import Update, Version
from lpengine.targets.host.builds import Build


def own_patches(
    update: Update,
    others: Iterable[Update],
    builds: Iterable[Build],
    versions: Mapping[tuple[str, str], Version],
) -> Iterator[Reverting]:
    """What is on top of a component, brings it to where the update does, and no update
    that stays does. `versions` as in Remembered."""
    mine, theirs = reached([update]), reached(others)
    for build in builds:
        top = build.applied[-1] if build.applied else ""
        to = versions.get((build.component, top))
        if to is not None and (build.component, to) in mine - theirs:
            yield Reverting(build.component, top, build.build_id)


def reached(updates: Iterable[Update]) -> set[tuple[str, Version]]:
    return {(one.component, one.to) for update in updates for one in update.livepatches}


def revert_all(run: HostRun, patches: Iterable[Reverting]) -> tuple[PatchFailure, ...]:
    """Nothing is done where one is not on any more, so that this may be done again."""
    found = (revert_one(run, one) for one in patches)
    return tuple(failure for failure in found if failure is not None)


def revert_one(run: HostRun, one: Reverting) -> PatchFailure | None:
    uri = run.site.targets.get(one.component, "")
    step = HostStep(Deed.REVERT, one.component, one.name, one.build_id)
    try:
        run.take(step, lambda: take_off(uri, one.name))
    except LpengineError as error:
        codes = error.codes if isinstance(error, RefusedError) else ()
        return PatchFailure(one.component, one.name, line(error), codes)
    return None
