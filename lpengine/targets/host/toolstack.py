"""The seam to what manages hosts as a pool. It knows what no host can show alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from lpengine.package.model import Task
from lpengine.planner.updates.state import (
    NOTHING_PENDING,
    Guest,
    HostState,
    Pending,
    ServerPrecheck,
    Storage,
    Synchronisation,
)


@dataclass(frozen=True)
class ManagedHost:
    """One host as its toolstack knows it; see `HostState`. What the toolstack has no
    word for is None, and then the host's own word counts."""

    uuid: str
    name: str = ""
    live: bool = True
    enabled: bool = True
    edition: str = ""
    features: Mapping[str, bool] = field(default_factory=dict)
    pending: Pending = NOTHING_PENDING
    installed_updates: frozenset[str] = frozenset()
    updates_requiring_reboot: frozenset[str] | None = None
    guests: tuple[Guest, ...] | None = None
    storage: tuple[Storage, ...] = ()
    operations: tuple[str, ...] = ()
    prechecks: Mapping[str, ServerPrecheck] = field(default_factory=dict)
    can_power_on: bool = False


@dataclass(frozen=True)
class ManagedPool:
    """A pool as its toolstack knows it; see `PoolState`. `coordinator` is a uuid,
    `guests` has that of each guest by the name that it has here."""

    uuid: str
    name: str
    coordinator: str
    hosts: tuple[ManagedHost, ...]
    live_patching: bool = True
    ha_enabled: bool = False
    ha_storage: tuple[str, ...] = ()
    ha_failures_to_tolerate: int = 0
    wlb_enabled: bool = False
    mixed: bool = False
    synchronised: Synchronisation | None = None
    forbids_restarts: bool = False
    guests: Mapping[str, str] = field(default_factory=dict)

    def host(self, uuid: str) -> ManagedHost | None:
        return next((one for one in self.hosts if one.uuid == uuid), None)


class Toolstack(Protocol):
    """Whoever manages the pool. What it does is done by the commands of its kind
    (lpengine.pool.commands), as the operator has configured them."""

    def managed(self, updates: Sequence[str] = ()) -> ManagedPool:
        """All it knows, and what it answers for these updates. `InconclusiveError`
        where it does not answer."""
        ...


def with_toolstack(state: HostState, known: ManagedHost) -> HostState:
    """Both what the host shows and what its toolstack knows of it. The licence must
    allow what the operator says it does."""
    requiring = known.updates_requiring_reboot
    return replace(
        state,
        live=known.live,
        enabled=known.enabled,
        edition=known.edition or state.edition,
        features={
            one: allowed and known.features.get(one, False)
            for one, allowed in state.features.items()
        },
        pending=both(state.pending, known.pending),
        installed_updates=state.installed_updates | known.installed_updates,
        updates_requiring_reboot=(
            state.updates_requiring_reboot if requiring is None else requiring
        ),
        guests=known.guests,
        storage=known.storage,
        operations=(*state.operations, *known.operations),
        prechecks=known.prechecks,
        can_power_on=state.can_power_on or known.can_power_on,
    )


def both(one: Pending, other: Pending) -> Pending:
    return Pending(
        joined(one.mandatory, other.mandatory),
        joined(one.recommended, other.recommended),
        joined(one.full, other.full),
    )


def joined(one: Iterable[Task], other: Iterable[Task]) -> tuple[Task, ...]:
    return tuple(dict.fromkeys((*one, *other)))
