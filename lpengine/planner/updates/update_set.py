"""A set of updates, sorted and indexed once, to be held against thousands of hosts.

What is asked for each host is asked of sets of ids here, not of one update after
another: which of those that are outstanding fix a component, or ask for a reboot.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from lpengine.package.model import (
    Applicability,
    Inequality,
    Level,
    PackageFormat,
    Task,
    Update,
)
from lpengine.package.versions import ORDERS, Key
from lpengine.planner.findings import Finding
from lpengine.planner.updates.guidance import tasks_at
from lpengine.planner.updates.install_order import InstallOrder, install_order
from lpengine.planner.updates.livepatches import Offers, Seen, offers
from lpengine.planner.updates.metadata import about_metadata
from lpengine.planner.updates.state import RunningComponent
from lpengine.planner.updates.wire import encode, plain, settled

Ids = frozenset[str]


@dataclass(frozen=True)
class Condition:
    """One of an update's conditions: how the installed version of a package, keyed
    "name.arch" or "name." for any, compares with `key`."""

    package: str
    inequality: Inequality
    key: Key


@dataclass(frozen=True)
class Part:
    """What of an update is asked for again and again. `reach` has, for a component and
    build, the version that its live patches bring it to; with build "" the highest
    for any build. `doubtful` components have live patches that cannot be relied on.
    `packages` are those of the set's format."""

    update: Update
    components: tuple[str, ...]
    doubtful: Ids
    reach: Mapping[tuple[str, str], Key]
    packages: tuple[tuple[str, Key], ...]
    conditions: tuple[Condition, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class PackageLine:
    """The versions of one package that updates bring, oldest first."""

    rows: tuple[tuple[Key, str], ...]
    keys: tuple[Key, ...]
    updates: tuple[str, ...]


@dataclass(frozen=True)
class Reaches:
    """The updates with live patches for one component and build ("" for any), by how
    far they reach."""

    keys: tuple[Key, ...]
    updates: tuple[str, ...]


@dataclass(frozen=True)
class UpdateSet:
    """Updates for hosts with packages of one format. `packages` are those that updates
    bring, keyed "name.arch". The updates `by_id` have something else as well, which is
    on a host only where it says so; `foreign` ones have packages for another format
    and nothing else; `replaceable` ones nothing but packages. The installed versions
    of the packages in `places` matter, each in its place.

    `fixing` has the updates about each component, `asking` those with a task at a
    level, `conditional` those with guidance under conditions. `rebooting` ones ask for
    a reboot, at once or soon; no component is known of the `plain` ones. In `seen` is
    kept what was worked out for things that run (see coverage).
    """

    package_format: PackageFormat
    ids: Ids
    parts: Mapping[str, Part]
    offers: Offers
    reaches: Mapping[tuple[str, str], Reaches]
    packages: Mapping[str, PackageLine]
    by_id: Ids
    foreign: Ids
    replaceable: Ids
    places: Mapping[str, int]
    fixing: Mapping[str, Ids]
    asking: Mapping[Level, Mapping[Task, Ids]]
    conditional: Ids
    plain: Ids
    rebooting: Ids
    order: InstallOrder
    digest: str
    seen: dict[RunningComponent, Seen] = field(default_factory=dict, compare=False)

    def reached(self, component: str, build_id: str, key: Key) -> Ids:
        """The updates whose live patches bring the component no further than that."""
        found = self.reaches.get((component, build_id))
        if found is None:
            return frozenset()
        return frozenset(found.updates[: bisect_right(found.keys, key)])

    def asked(self, ids: Ids, level: Level) -> frozenset[Task]:
        """What these updates list at a level, all together."""
        asking = self.asking[level]
        return frozenset(task for task in asking if not asking[task].isdisjoint(ids))


def update_set(
    updates: Iterable[Update], package_format: PackageFormat = "rpm"
) -> UpdateSet:
    """Indexes `updates`; of two with one id the later counts."""
    by_id = {update.id: update for update in updates}
    ordered = [by_id[update_id] for update_id in sorted(by_id)]
    parts = {update.id: part(update, package_format) for update in ordered}
    packages = package_lines(parts.values())
    foreign = ids_where(parts, lambda one: is_foreign(one.update, package_format))
    replaceable = ids_where(parts, is_replaceable)
    asking = {level: asking_at(ordered, level) for level in Level}
    return UpdateSet(
        package_format=package_format,
        ids=frozenset(by_id),
        parts=MappingProxyType(parts),
        offers=offers((reliable(one) for one in parts.values()), package_format),
        reaches=MappingProxyType(reaches(parts)),
        packages=MappingProxyType(packages),
        by_id=frozenset(by_id) - replaceable - foreign,
        foreign=foreign,
        replaceable=replaceable,
        places=MappingProxyType(places(parts.values(), packages)),
        fixing=MappingProxyType(fixing(parts.values())),
        asking=MappingProxyType(asking),
        conditional=ids_where(parts, lambda one: bool(one.conditions)),
        plain=ids_where(parts, lambda one: not one.components),
        rebooting=ids_where(parts, asks_for_reboot),
        order=install_order(ordered),
        digest=updates_digest(ordered),
    )


def ids_where(parts: Mapping[str, Part], holds: Callable[[Part], bool]) -> Ids:
    return frozenset(one for one in parts if holds(parts[one]))


def part(update: Update, package_format: PackageFormat) -> Part:
    order = ORDERS[package_format]
    doubtful = frozenset(one.component for one in update.defects) - {""}
    components = {one.component for one in update.livepatches}
    return Part(
        update=update,
        components=tuple(sorted(components | doubtful | set(update.components))),
        doubtful=doubtful,
        reach=MappingProxyType(reach(update, doubtful, package_format)),
        packages=tuple(
            (f"{one.name}.{one.architecture}", order(one.version))
            for one in update.packages
            if one.format == package_format
        ),
        conditions=tuple(
            Condition(condition_key(one), one.inequality, order(one.version))
            for one in update.applicabilities
        ),
        findings=tuple(about_metadata(update)),
    )


def condition_key(one: Applicability) -> str:
    """As packages are keyed; "name." where any architecture will do."""
    return f"{one.name}.{one.architecture}"


def reach(
    update: Update, doubtful: Ids, package_format: PackageFormat
) -> dict[tuple[str, str], Key]:
    order = ORDERS[package_format]
    found: dict[tuple[str, str], Key] = {}
    for one in update.livepatches:
        if one.component in doubtful:
            continue
        key = order(one.to)
        for build_id in {one.base_build_id, ""}:
            at = (one.component, build_id)
            found[at] = max(found.get(at, key), key)
    return found


def reaches(parts: Mapping[str, Part]) -> dict[tuple[str, str], Reaches]:
    rows: dict[tuple[str, str], list[tuple[Key, str]]] = {}
    for update_id, one in parts.items():
        for at, key in one.reach.items():
            rows.setdefault(at, []).append((key, update_id))
    return {
        at: Reaches(*zip(*sorted(found), strict=True)) for at, found in rows.items()
    }


def reliable(one: Part) -> Update:
    """The update without live patches that its own metadata casts doubt on."""
    if not one.doubtful:
        return one.update
    kept = tuple(
        livepatch
        for livepatch in one.update.livepatches
        if livepatch.component not in one.doubtful
    )
    return replace(one.update, livepatches=kept)


def package_lines(parts: Iterable[Part]) -> dict[str, PackageLine]:
    rows: dict[str, list[tuple[Key, str]]] = {}
    for one in parts:
        for name, key in one.packages:
            rows.setdefault(name, []).append((key, one.update.id))
    return {
        name: PackageLine(tuple(line), *zip(*line, strict=True))
        for name, line in ((name, sorted(found)) for name, found in rows.items())
    }


def is_foreign(update: Update, package_format: PackageFormat) -> bool:
    """Whether all it has for the disk are packages of other formats."""
    formats = {package.format for package in update.packages}
    return bool(formats) and package_format not in formats and not update.files


def is_replaceable(one: Part) -> bool:
    """Whether newer packages make up for all it has for the disk."""
    return bool(one.packages) and not one.update.files


def asks_for_reboot(one: Part) -> bool:
    asked = tasks_at(one.update, Level.MANDATORY)
    return Task.REBOOT_HOST in asked | tasks_at(one.update, Level.RECOMMENDED)


def places(parts: Iterable[Part], packages: Iterable[str]) -> dict[str, int]:
    names = {condition.package for one in parts for condition in one.conditions}
    return {name: place for place, name in enumerate(sorted(names.union(packages)))}


def fixing(parts: Iterable[Part]) -> dict[str, Ids]:
    found: dict[str, set[str]] = {}
    for one in parts:
        for component in one.components:
            found.setdefault(component, set()).add(one.update.id)
    return {component: frozenset(ids) for component, ids in found.items()}


def asking_at(updates: Iterable[Update], level: Level) -> Mapping[Task, Ids]:
    found: dict[Task, set[str]] = {}
    for update in updates:
        for task in tasks_at(update, level):
            found.setdefault(task, set()).add(update.id)
    return MappingProxyType({task: frozenset(ids) for task, ids in found.items()})


def updates_digest(updates: Iterable[Update]) -> str:
    """SHA-256, as hex, over all that the updates say, in whatever order they come."""
    digest = hashlib.sha256()
    for update in sorted(updates, key=lambda one: one.id):
        digest.update(encode(settled(plain(update))) + b"\n")
    return digest.hexdigest()
