"""The order of hosts: a pool's coordinator first, then by name as people sort names."""

import re

from lpengine.planner.updates.state import HostState, PoolState, Role

_PIECE = re.compile(r"[0-9]+|[^0-9]")

NaturalKey = tuple[tuple[int, int, str], ...]


def natural(name: str) -> NaturalKey:
    """A key under which host9 comes before host10, whatever the case (XenCenter,
    StringUtility.NaturalCompare): a number of fewer digits is the smaller one."""
    return tuple(_rank(piece) for piece in _PIECE.findall(name.casefold()))


def _rank(piece: str) -> tuple[int, int, str]:
    if piece[0].isdigit():
        return 1, len(piece), piece
    return (2 if piece.isalpha() else 0), 0, piece


def name_key(name: str) -> tuple[NaturalKey, str]:
    """Names that differ only in their case keep one order."""
    return natural(name), name


def host_key(host: HostState) -> tuple[bool, bool, tuple[NaturalKey, str]]:
    """Coordinator, then the hosts that answer, then the others."""
    member = host.role is Role.MEMBER
    return member, not host.live, name_key(host.name)


def in_rolling_order(pool: PoolState) -> tuple[HostState, ...]:
    """The hosts of a pool, one after another: its coordinator has to run the newest
    version first."""
    return tuple(sorted(pool.hosts, key=host_key))


def pool_key(pool: PoolState) -> tuple[NaturalKey, str]:
    return name_key(pool.name)
