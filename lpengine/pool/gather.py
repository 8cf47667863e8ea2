"""The state of pools, observed on all their hosts at once."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from lpengine.errors import LpengineError
from lpengine.hosts import Host, open_host
from lpengine.planner.updates.state import (
    HostState,
    PoolState,
    Role,
)
from lpengine.pool.config import FEATURES, HostConfig, PoolConfig, ToolstackKind
from lpengine.targets.host.observe import Seen, look
from lpengine.targets.host.toolstack import ManagedPool, with_toolstack
from lpengine.targets.host.xapi import Xapi

# How many hosts are looked at at once: each has an ssh of its own here.
AT_ONCE = 32
NO_ENGINE = "LP-ENV-612"

Opener = Callable[[str], Host]


@dataclass(frozen=True)
class Observed:
    """A pool as it was observed. `silent` says of each host that could not be looked
    at why not; `managed` is None without a toolstack, and where that is `mute`, which
    says why it does not answer. `hosts` are open."""

    config: PoolConfig
    state: PoolState
    seen: Mapping[str, Seen] = field(default_factory=dict)
    silent: Mapping[str, LpengineError] = field(default_factory=dict)
    managed: ManagedPool | None = None
    mute: LpengineError | None = None
    hosts: Mapping[str, Host] = field(default_factory=dict)

    def lacks_engine(self, host: str) -> bool:
        """Whether it was seen to have no lpengine of its own."""
        seen = self.seen.get(host)
        return seen is not None and seen.left is None


# A host that could be opened, and what was seen or what went wrong.
Reached = tuple[Host | None, Seen | LpengineError]


def gather(
    pools: Sequence[PoolConfig],
    updates: Sequence[str] = (),
    *,
    opener: Opener = open_host,
    at_once: int = AT_ONCE,
) -> tuple[Observed, ...]:
    """Look at every host of the pools, and ask their toolstacks, about these updates
    too. Whatever goes wrong is about one host, and part of the answer."""
    with ThreadPoolExecutor(at_once, "lpengine-look") as workers:
        members = [(pool, host) for pool in pools for host in pool.hosts]
        found = workers.map(lambda each: reach(each[1], opener), members)
        reached: dict[str, dict[str, Reached]] = {}
        for (pool, host), answer in zip(members, found, strict=True):
            reached.setdefault(pool.name, {})[host.name] = answer
        return tuple(
            workers.map(lambda pool: observed(pool, reached[pool.name], updates), pools)
        )


def again(
    observed_before: Observed,
    name: str,
    updates: Sequence[str] = (),
    *,
    opener: Opener = open_host,
) -> Observed:
    """The same pool with one of its hosts looked at anew, and its toolstack."""
    before, config = observed_before, observed_before.config
    reached = {
        host.name: (
            before.hosts.get(host.name),
            before.silent.get(host.name) or before.seen[host.name],
        )
        for host in config.hosts
        if host.name != name
    }
    return observed(
        config, {**reached, name: reach(config.host(name), opener)}, updates
    )


def reach(config: HostConfig, opener: Opener) -> Reached:
    host: Host | None = None
    try:
        host = opener(config.address)
        return host, look(host, config.name, config.place)
    except LpengineError as error:
        return host, error


def observed(
    config: PoolConfig,
    reached: Mapping[str, Reached],
    updates: Sequence[str],
) -> Observed:
    hosts = {name: host for name, (host, _) in reached.items() if host is not None}
    looks = {name: found for name, (_, found) in reached.items()}
    seen = {name: one for name, one in looks.items() if isinstance(one, Seen)}
    silent = {n: one for n, one in looks.items() if isinstance(one, LpengineError)}
    managed: ManagedPool | None = None
    mute: LpengineError | None = None
    asked = toolstack_host(config, seen)
    if asked is not None:
        try:
            xapi = Xapi(hosts[asked], config.host(asked).root)
            managed = xapi.managed(updates)
        except LpengineError as error:
            # What it would have said is not known of any host; its own is to blame.
            mute, silent = error, {**silent, asked: error}
    state = pool_state(config, seen, silent, managed)
    return Observed(config, state, seen, silent, managed, mute, hosts)


def toolstack_host(config: PoolConfig, seen: Mapping[str, Seen]) -> str | None:
    """The host whose toolstack is asked: the coordinator, or one that can pass on."""
    if config.toolstack is ToolstackKind.NONE:
        return None
    candidates = [config.coordinator, *(host.name for host in config.hosts)]
    if config.toolstack is ToolstackKind.XAPI:
        return next((name for name in candidates if name in seen), None)
    return next((name for name in candidates if name in seen and seen[name].uuid), None)


def pool_state(
    config: PoolConfig,
    seen: Mapping[str, Seen],
    silent: Mapping[str, LpengineError],
    managed: ManagedPool | None,
) -> PoolState:
    coordinator = coordinator_of(config, seen, managed)
    hosts = tuple(
        host_state(
            config,
            host,
            coordinator,
            None if host.name in silent else seen.get(host.name),
            managed,
        )
        for host in config.hosts
    )
    state = PoolState(
        config.name,
        hosts,
        live_patching=config.live_patching,
        forbids_restarts=config.forbids_restarts,
    )
    if managed is None:
        return state
    return replace(
        state,
        live_patching=config.live_patching and managed.live_patching,
        ha_enabled=managed.ha_enabled,
        ha_storage=managed.ha_storage,
        ha_failures_to_tolerate=managed.ha_failures_to_tolerate,
        wlb_enabled=managed.wlb_enabled,
        mixed=managed.mixed,
        synchronised=managed.synchronised,
        forbids_restarts=config.forbids_restarts or managed.forbids_restarts,
    )


def coordinator_of(
    config: PoolConfig, seen: Mapping[str, Seen], managed: ManagedPool | None
) -> str:
    """The toolstack knows best; else pool.toml says it, or names it first."""
    if managed is not None:
        for name, one in seen.items():
            if one.uuid and one.uuid == managed.coordinator:
                return name
    return config.coordinator or config.hosts[0].name


def role_of(config: PoolConfig, name: str, coordinator: str) -> Role:
    if len(config.hosts) == 1:
        return Role.STANDALONE
    return Role.COORDINATOR if name == coordinator else Role.MEMBER


def host_state(
    config: PoolConfig,
    host: HostConfig,
    coordinator: str,
    seen: Seen | None,
    managed: ManagedPool | None,
) -> HostState:
    allowed = config.features
    state = replace(
        HostState(host.name, live=False) if seen is None else seen.state,
        role=role_of(config, host.name, coordinator),
        edition=config.edition,
        features={one: allowed is None or one in allowed for one in FEATURES},
        can_power_on="power_on" in config.commands,
    )
    known = managed.host(seen.uuid) if managed and seen and seen.uuid else None
    return state if known is None else with_toolstack(state, known)
