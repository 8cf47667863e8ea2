"""What XAPI itself says of a host's updates (repository_helpers.ml,
consolidate_updates_of_host): its rules put together as it does, for whoever compares.
Plans are made by decide, which looks at every component."""

from collections.abc import Iterable
from dataclasses import dataclass

from lpengine.package.model import LivePatch, PackageFormat, Update
from lpengine.planner.updates.guidance import Guidance, merged, reboot_is_mandatory
from lpengine.planner.updates.livepatches import offers, select_from
from lpengine.planner.updates.state import PackageRow, RunningComponent


@dataclass(frozen=True)
class HostUpdates:
    """`updates` are the outstanding ones and those that live patches hold."""

    guidance: Guidance
    updates: tuple[str, ...]
    livepatches: tuple[LivePatch, ...]


def consolidated(
    updates: Iterable[Update],
    rows: Iterable[PackageRow],
    running: Iterable[RunningComponent],
    package_format: PackageFormat = "rpm",
) -> HostUpdates:
    """Guidance, updates and live patches of a host by XAPI's own rules: an update with
    any live patch that applies counts as live patched, and a mandatory reboot
    suppresses them all."""
    updates, rows = tuple(updates), tuple(rows)
    all_offers = offers(updates, package_format)
    selections = [select_from(all_offers, one) for one in running]
    if reboot_is_mandatory(updates, rows, package_format):
        selections = []
    held = {offer.update for one in selections for offer in one.accumulative}
    chosen = [one.chosen.livepatch for one in selections if one.chosen is not None]
    named = {row.update for row in rows if row.update}
    return HostUpdates(
        guidance=merged(updates, rows, held, package_format),
        updates=tuple(sorted(named | held)),
        livepatches=tuple(chosen),
    )
