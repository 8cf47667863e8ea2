"""policy.toml: maintenance windows, holds and pins."""

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from lpengine.errors import InputError
from lpengine.installer.settings import Part, load
from lpengine.package.model import Update
from lpengine.planner.updates.host_policy import (
    DAY,
    EVERY_DAY,
    Candidate,
    Day,
    HostPolicy,
    Restrictions,
    Window,
    restrictions,
)
from lpengine.planner.updates.state import LivePatching

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_DURATION = re.compile(r"(\d{1,4})(min|h|d)")
_UNITS = {"min": 1, "h": 60, "d": DAY}

DayName = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class WindowPart(Part, kw_only=True):
    days: tuple[DayName, ...] = ()
    start: str = "00:00"
    end: str = "00:00"


class PolicyFile(Part, kw_only=True):
    """policy.toml. `utc`: windows are in UTC, not in the host's own time."""

    live_patching: LivePatching = LivePatching.AUTOMATIC
    delay: str = "0d"
    hold: tuple[str, ...] = ()
    held: str = ""
    pinned: tuple[str, ...] = ()
    utc: bool = False
    windows: tuple[WindowPart, ...] = ()


def load_policy(path: Path) -> tuple[HostPolicy, bool]:
    """(policy, whether its times are UTC). `InputError` for what makes no sense."""
    file = load(path, PolicyFile)
    delay = _DURATION.fullmatch(file.delay)
    if delay is None:
        raise InputError(f"{path}: delay: {file.delay!r} is not a time like 7d or 12h")
    policy = HostPolicy(
        live_patching=file.live_patching,
        windows=tuple(window_of(path, each) for each in file.windows),
        delay=int(delay[1]) * _UNITS[delay[2]],
        hold=frozenset(file.hold),
        held=file.held,
        pinned=frozenset(file.pinned),
    )
    return policy, file.utc


def window_of(path: Path, part: WindowPart) -> Window:
    days = frozenset(Day[day.upper()] for day in part.days) or EVERY_DAY
    return Window(days, minute_of(path, part.start), minute_of(path, part.end))


def minute_of(path: Path, text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise InputError(f"{path}: windows: {text!r} is not a time like 22:30")
    return int(found[1]) * 60 + int(found[2])


def restricted(
    policy: HostPolicy, updates: Iterable[Update], now: datetime, *, utc: bool
) -> Restrictions:
    """What the policy says about these updates at this moment."""
    offset = 0 if utc else time.localtime(now.timestamp()).tm_gmtoff // 60
    candidates = [
        Candidate(update.id, issued_minute(update, offset)) for update in updates
    ]
    return restrictions(policy, candidates, minutes(now) + offset)


def issued_minute(update: Update, offset: int) -> int | None:
    if not update.issued:
        return None
    return minutes(datetime.fromisoformat(update.issued)) + offset


def minutes(moment: datetime) -> int:
    return int(moment.timestamp()) // 60


def opens_at(found: Restrictions, now: datetime) -> str:
    """When the updates may come, as RFC 3339 in UTC; "" if that is now."""
    if not found.wait:
        return ""
    moment = now.astimezone(UTC).replace(second=0) + timedelta(minutes=found.wait)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
