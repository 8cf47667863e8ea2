"""What a host's administrator has laid down: when it may be updated, and what is to
stay as it is. Times are minutes since the epoch, of the clock that windows are in."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from lpengine.planner.updates.state import LivePatching

DAY = 24 * 60
WEEK = 7 * DAY
# 1970-01-01 was a Thursday.
_FIRST_DAY = 3


class Day(IntEnum):
    MON = 0
    TUE = 1
    WED = 2
    THU = 3
    FRI = 4
    SAT = 5
    SUN = 6


EVERY_DAY = frozenset(Day)


@dataclass(frozen=True)
class Window:
    """Open on these days from `start` to `end`, minutes of the day, the end excluded.
    One that ends before it starts ends on the next day; one that ends when it starts
    lasts a day."""

    days: frozenset[Day] = EVERY_DAY
    start: int = 0
    end: int = 0

    @property
    def length(self) -> int:
        return (self.end - self.start) % DAY or DAY


@dataclass(frozen=True)
class HostPolicy:
    """`hold` names updates that are not to come, `held` says why none may, `pinned`
    names components that are not to be live patched. An update has to be `delay`
    minutes old. Without windows it is always time."""

    live_patching: LivePatching = LivePatching.AUTOMATIC
    windows: tuple[Window, ...] = ()
    delay: int = 0
    hold: frozenset[str] = frozenset()
    held: str = ""
    pinned: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Candidate:
    """An update that is to come; `issued` is None where it does not say when."""

    id: str
    issued: int | None = None


@dataclass(frozen=True)
class Restrictions:
    """`held` says why the updates may not come at all, "" if they may; `wait` is for
    how many minutes they may not come yet."""

    held: str = ""
    wait: int = 0


def restrictions(
    policy: HostPolicy, candidates: Iterable[Candidate], now: int
) -> Restrictions:
    coming = tuple(candidates)
    named = sorted(one.id for one in coming if one.id in policy.hold)
    held = policy.held or (f"{', '.join(named)} is on hold" if named else "")
    ripe = max((ripe_at(one, policy.delay) for one in coming), default=now)
    later = max(ripe, now)
    return Restrictions(held, later + until_open(policy.windows, later) - now)


def ripe_at(candidate: Candidate, delay: int) -> int:
    """When it has been out for long enough. One that does not say when it was issued
    may be of any age, and is let through: nobody could wait for it."""
    return 0 if candidate.issued is None else candidate.issued + delay


def until_open(windows: Iterable[Window], now: int) -> int:
    """In how many minutes the next window opens; 0 while one is open."""
    waits = [wait_for(window, now) for window in windows]
    return min(waits, default=0)


def wait_for(window: Window, now: int) -> int:
    today, minute = divmod(now, DAY)
    found = []
    for days in range(-1, 8):
        if Day((today + days + _FIRST_DAY) % 7) not in window.days:
            continue
        starts = days * DAY + window.start - minute
        if starts > 0:
            found.append(starts)
        elif -starts < window.length:
            return 0
    return min(found, default=WEEK)
