"""In which order updates are installed: what they require comes before them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lpengine.package.model import Update


@dataclass(frozen=True)
class InstallOrder:
    """`ranks` are the places of updates; `circle` those that require one another, or
    something that does, and have none."""

    ranks: Mapping[str, int]
    circle: tuple[str, ...] = ()

    def arrange(self, ids: Iterable[str]) -> tuple[str, ...]:
        last = len(self.ranks)
        return tuple(sorted(ids, key=lambda one: (self.ranks.get(one, last), one)))


def install_order(updates: Iterable[Update]) -> InstallOrder:
    """The order in which updates are installed: what they require before them, and the
    older one first wherever that leaves the choice."""
    waiting = {update.id: update for update in updates}
    ranks: dict[str, int] = {}
    while waiting:
        ready = [one for one in waiting.values() if not waits(one, waiting)]
        if not ready:
            break
        for update in sorted(ready, key=lambda one: (one.issued, one.id)):
            ranks[update.id] = len(ranks)
            del waiting[update.id]
    return InstallOrder(ranks, tuple(sorted(waiting)))


def waits(update: Update, waiting: Collection[str]) -> bool:
    return any(one in waiting and one != update.id for one in update.requires)


def missing(update: Update, present: Collection[str]) -> tuple[str, ...]:
    """What it requires and nobody has installed, nor is about to."""
    return tuple(sorted(set(update.requires) - set(present) - {update.id}))


def conflicting(update: Update, present: Collection[str]) -> tuple[str, ...]:
    """What stands against it among what is installed or is about to be."""
    return tuple(sorted(set(update.conflicts).intersection(present) - {update.id}))
