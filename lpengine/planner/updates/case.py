"""Of all that is known of a host, exactly that on which it depends what live patches
and guidance mean for it. Hosts with equal cases get equal decisions, so that each is
made once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from lpengine.package.model import Task, Version
from lpengine.planner.updates.state import (
    LIVE_PATCHING,
    Crash,
    HostState,
    LivePatching,
    PackageRow,
    PoolState,
    RunningComponent,
    ServerPrecheck,
    UpdatePolicy,
)
from lpengine.planner.updates.update_set import UpdateSet


class Presence(Enum):
    """A package without a version to compare: not installed, or of a version that is
    not known."""

    ABSENT = 0
    UNKNOWN = 1


Installed = Version | Presence
# No live patch goes on where it waits for its host anyway.
MANDATORY_REBOOT = "mandatory-reboot"


@dataclass(frozen=True)
class Case:
    """`packages` are the installed versions that matter to the set, in its order, None
    where nothing is known. Of `installed`, `requiring` and `prechecks` only what
    is in the set matters. `refusal` is why no live patch may be applied, "" where they
    may."""

    running: frozenset[RunningComponent]
    not_running: frozenset[str]
    packages: tuple[Installed, ...] | None
    installed: frozenset[str]
    requiring: frozenset[str]
    rows: frozenset[PackageRow] | None
    crashed: frozenset[Crash]
    failed: frozenset[str]
    held: frozenset[str]
    prechecks: frozenset[tuple[str, ServerPrecheck]]
    refusal: str


def case_of(
    updates: UpdateSet,
    host: HostState,
    refusal: str = "",
    *,
    retry_crashed: bool = False,
) -> Case:
    """With `retry_crashed` it is forgotten what the host did not survive. A mandatory
    reboot that is left to be done outdoes every other refusal."""
    ids = updates.ids
    if Task.REBOOT_HOST in host.pending.mandatory:
        refusal = MANDATORY_REBOOT
    answers = ((one, host.prechecks[one]) for one in host.prechecks if one in ids)
    return Case(
        running=frozenset(host.running),
        not_running=host.not_running,
        packages=packages_of(updates, host.installed),
        installed=host.installed_updates & ids,
        requiring=host.updates_requiring_reboot & ids,
        rows=None if host.rows is None else frozenset(host.rows),
        crashed=frozenset(() if retry_crashed else host.crashed),
        failed=host.failed,
        held=host.pinned,
        prechecks=frozenset(answers),
        refusal=refusal,
    )


def packages_of(
    updates: UpdateSet, installed: Mapping[str, Version | None] | None
) -> tuple[Installed, ...] | None:
    if installed is None:
        return None
    return tuple(installed_version(one, installed) for one in updates.places)


def installed_version(key: str, installed: Mapping[str, Version | None]) -> Installed:
    """The version of "name.arch"; of "name." whatever its architecture."""
    if key.endswith("."):
        name = key[:-1]
        found = (one for one in sorted(installed) if one.rpartition(".")[0] == name)
        key = next(found, key)
    if key not in installed:
        return Presence.ABSENT
    return installed[key] or Presence.UNKNOWN


def is_licensed(hosts: Iterable[HostState], feature: str = LIVE_PATCHING) -> bool:
    """A pool has a feature that every one of its hosts has; one that is not mentioned
    is not licensed."""
    return all(host.features.get(feature, False) for host in hosts)


def feature_allowed(flags: Mapping[str, str], feature: str) -> bool:
    """Whether XAPI's licence flags allow a feature: only the word "false" lifts its
    restriction, and one that is missing is restricted."""
    return flags.get(f"restrict_{feature}") == "false"


def refusal_of(pool: PoolState, policy: UpdatePolicy) -> str:
    """Why no host of the pool is live patched, the licence first."""
    if not is_licensed(pool.hosts):
        return "not-licensed"
    if not pool.live_patching or policy.live_patching is LivePatching.DISABLED:
        return "live-patching-disabled"
    return ""
