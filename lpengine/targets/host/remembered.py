"""What lpengine's own records on a host add to what the host shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lpengine.package.model import Version
from lpengine.planner.updates.state import NOTHING_PENDING, Crash, Pending


@dataclass(frozen=True)
class Remembered:
    """`versions` tells what live patches bring a component to, by component and the
    name they are loaded under: for names that do not tell themselves. The rest as in
    `HostState`."""

    versions: Mapping[tuple[str, str], Version] = field(default_factory=dict)
    installed_updates: frozenset[str] = frozenset()
    pending: Pending = NOTHING_PENDING
    updates_requiring_reboot: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    crashed: tuple[Crash, ...] = ()
    operations: tuple[str, ...] = ()
    held: str = ""
    pinned: frozenset[str] = frozenset()
    closed_until: str = ""


NOTHING_REMEMBERED = Remembered()
