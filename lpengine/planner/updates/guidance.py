"""What updates ask of a host, level by level, by XAPI's own rules
(repository_helpers.ml: eval_guidances, reduce_guidance).

XAPI takes an update as live patched as soon as one of its live patches applies, even
where another of its components is not fixed in memory. Our decision asks for every
component (see coverage); these functions are the rule as XAPI has it, for whoever
compares with it, and for all that the two have in common.
"""

from collections.abc import Collection, Iterable, Mapping

from lpengine.package.model import (
    Applicability,
    Level,
    PackageFormat,
    Task,
    Update,
    Version,
)
from lpengine.package.versions import ORDERS, matches
from lpengine.planner.updates.precedence import LEVELS, cascaded, reduced
from lpengine.planner.updates.state import PackageRow
from lpengine.planner.updates.words import published_all, stays

Guidance = Mapping[Level, frozenset[Task]]


def tasks_at(update: Update, level: Level) -> frozenset[Task]:
    """What the update lists at a level; for one that is live patched what stays of the
    recommended, too."""
    words = update.guidance.get(level, ())
    if level is Level.LIVEPATCH:
        words = (*words, *filter(stays, update.guidance.get(Level.RECOMMENDED, ())))
    return published_all(words)


def row_matches(
    applicability: Applicability, row: PackageRow, package_format: PackageFormat = "rpm"
) -> bool:
    """Whether the guidance counts for this package, as it is installed now. One that
    is not installed never matches."""
    same = row.name == applicability.name and applicability.architecture in (
        "",
        row.architecture,
    )
    return (
        same and row.old is not None and matches(applicability, row.old, package_format)
    )


def applies(
    update: Update, row: PackageRow, package_format: PackageFormat = "rpm"
) -> bool:
    """Whether an update's guidance counts for this package: without conditions always;
    with some, any of them will do."""
    return not update.applicabilities or any(
        row_matches(one, row, package_format) for one in update.applicabilities
    )


def contribution(
    update: Update | None,
    row: PackageRow,
    level: Level,
    livepatched: Collection[str] = (),
    package_format: PackageFormat = "rpm",
) -> frozenset[Task]:
    """What one package of an update adds at a level. `livepatched` has the ids of
    updates of which a live patch applies: for these the guidance for live patches
    takes the place of the recommended one. It is no level by itself. A package whose
    update is not known adds nothing."""
    if update is None or update.id != row.update or level is Level.LIVEPATCH:
        return frozenset()
    if not applies(update, row, package_format):
        return frozenset()
    if level is Level.RECOMMENDED and update.id in livepatched:
        level = Level.LIVEPATCH
    return tasks_at(update, level)


def evaluated(
    updates: Iterable[Update],
    rows: Iterable[PackageRow],
    level: Level,
    livepatched: Collection[str] = (),
    package_format: PackageFormat = "rpm",
) -> frozenset[Task]:
    """All that a level asks for, reduced. What live patches ask for counts even where
    the packages are installed: the last attempt may have failed."""
    known = {update.id: update for update in updates}
    wanted: frozenset[Task] = frozenset()
    for row in rows:
        update = known.get(row.update)
        wanted |= contribution(update, row, level, livepatched, package_format)
    if level is Level.RECOMMENDED:
        for update_id in livepatched:
            if update_id in known:
                wanted |= tasks_at(known[update_id], Level.LIVEPATCH)
    return reduced(wanted)


def merged(
    updates: Iterable[Update],
    rows: Iterable[PackageRow],
    livepatched: Collection[str] = (),
    package_format: PackageFormat = "rpm",
) -> Guidance:
    """The guidance of a host: every level by itself, then cascaded."""
    updates, rows = tuple(updates), tuple(rows)
    levels = (
        (level, evaluated(updates, rows, level, livepatched, package_format))
        for level in LEVELS
    )
    return dict(cascaded(levels))


def reboot_is_mandatory(
    updates: Iterable[Update],
    rows: Iterable[PackageRow],
    package_format: PackageFormat = "rpm",
) -> bool:
    """Whether no live patch is applied at all, since the boot brings everything. A
    recommended reboot does not keep anybody from live patching."""
    mandatory = evaluated(updates, rows, Level.MANDATORY, (), package_format)
    return Task.REBOOT_HOST in mandatory


def outstanding_rows(
    rows: Iterable[PackageRow],
    latest: Iterable[PackageRow],
    installed: Mapping[str, Version | None],
    package_format: PackageFormat = "rpm",
) -> tuple[PackageRow, ...]:
    """Of all that updates bring, what this host does not have: newer than what is
    installed, not newer than the latest one offered, and offered at all. `installed`
    is keyed "name.arch"."""
    order = ORDERS[package_format]
    newest = {package_key(row): order(row.new) for row in latest}
    result = []
    for row in rows:
        key, at = package_key(row), order(row.new)
        old = installed.get(key)
        if key in newest and at <= newest[key] and (old is None or at > order(old)):
            result.append(row)
    return tuple(result)


def package_key(row: PackageRow) -> str:
    return f"{row.name}.{row.architecture}"
