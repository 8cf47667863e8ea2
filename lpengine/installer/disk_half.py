"""The disk half of updates: files and packages put on, and taken off again."""

from collections.abc import Sequence

from lpengine.engine.run import line
from lpengine.errors import LpengineError, StuckError
from lpengine.installer.run import HostRun
from lpengine.installer.site import Site
from lpengine.journal.host_entries import Deed, HostStep
from lpengine.package.bundle import Bundle


def put_on(run: HostRun, bundle: Bundle) -> None:
    """The files first: they go back by themselves if the packages fail."""
    update, site = bundle.update, run.site
    if update.files:
        settled = run.take(
            HostStep(Deed.FILES, update.id),
            lambda: site.disk.install(
                update.id, bundle.digest, update.files, bundle.stream
            ),
        )
        run.warnings += settled.left if settled else ()
    if update.packages:
        run.take(
            HostStep(Deed.PACKAGES, update.id),
            lambda: site.packages.install(
                update.id, bundle.digest, update.packages, bundle.stream
            ),
        )


def take_off(
    run: HostRun, update: str, *, undoing: bool = False, keep_changed: bool = False
) -> tuple[str, ...]:
    """What is there of it, the packages first, since it is they that may fail. Returns
    the files that stay as somebody has changed them."""
    site = run.site
    if site.packages.find(update):
        step = HostStep(Deed.PACKAGES, update)
        run.take(step, lambda: site.packages.uninstall(update), undoing=undoing)
    if not site.disk.find(update):
        return ()
    taken = run.take(
        HostStep(Deed.FILES, update),
        lambda: site.disk.uninstall(update, keep_changed=keep_changed),
        undoing=undoing,
    )
    run.warnings += taken.settled.left
    return tuple(str(one) for one in taken.kept)


def take_back(
    run: HostRun, updates: Sequence[str], present: Sequence[str]
) -> list[str]:
    """Undo the disk half of these, the last one first; not of those that were
    `present` before. Returns what is left, one sentence each."""
    left: list[str] = []
    for update in reversed(updates):
        if update in present:
            continue
        try:
            take_off(run, update, undoing=True)
        except StuckError as error:
            left += error.left
        except LpengineError as error:
            left.append(line(error))
    return left


def on_disk(site: Site) -> tuple[str, ...]:
    """The updates that have files or packages here."""
    files = (one.update for one in site.disk.installed())
    packages = (one.update for one in site.packages.installed())
    return tuple(dict.fromkeys((*files, *packages)))


def is_whole(site: Site, update: str, *, files: bool, packages: bool) -> bool:
    """Whether an update with files, with packages, has them here."""
    return (not files or site.disk.find(update) is not None) and (
        not packages or site.packages.find(update) is not None
    )
