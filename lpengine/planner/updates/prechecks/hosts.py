"""Prechecks of one host."""

from collections.abc import Collection, Iterator, Mapping

from lpengine.package.model import Update
from lpengine.planner.updates.answers import problem_of
from lpengine.planner.updates.install_order import InstallOrder, conflicting, missing
from lpengine.planner.updates.plan import Deed, Fix, Group, Precheck
from lpengine.planner.updates.prechecks.rows import (
    by_subject,
    fine,
    information,
    problem,
    skipped,
    warning,
)
from lpengine.planner.updates.state import (
    BATCH,
    HOTFIXES,
    UPDATES,
    HostState,
    LivepatchStatus,
    UpdatePolicy,
)
from lpengine.planner.updates.words import in_order

_FEATURES = (UPDATES, HOTFIXES)


def selection(
    host: HostState, policy: UpdatePolicy, install: Collection[str] = ()
) -> Iterator[Precheck]:
    """Whether this host may be updated at all, and now. `install` are the updates that
    it would get; several at once may take a licence of their own."""
    wanted = (*_FEATURES, *([BATCH] if len(install) > 1 else []))
    for feature in wanted:
        if host.features.get(feature) is False:
            text = f"the licence does not include this ({feature})"
            yield problem(Group.SELECTION, host.name, "updates-not-licensed", text)
    if host.held:
        text = f"held: {host.held}"
        yield problem(Group.SELECTION, host.name, "host-held", text)
    if host.closed_until and not policy.any_time:
        text = f"the maintenance window opens {host.closed_until}"
        yield problem(Group.SELECTION, host.name, "outside-window", text)


def liveness(host: HostState) -> tuple[Precheck, ...]:
    """Whether the host answers, and if not whether it can be powered on from here."""
    if host.live:
        return (fine(Group.LIVENESS, host.name, "the host answers"),)
    fix = Fix(Deed.POWER_ON, host.name, host.name) if host.can_power_on else None
    text = "the host does not answer"
    return (problem(Group.LIVENESS, host.name, "host-unreachable", text, fix=fix),)


def pending_tasks(host: HostState) -> Iterator[Precheck]:
    """Mandatory tasks of earlier updates, and whatever else is under way."""
    group = Group.PENDING_TASKS
    if host.pending.mandatory:
        text = (
            f"mandatory tasks are left: {', '.join(in_order(host.pending.mandatory))}"
        )
        yield problem(group, host.name, "mandatory-pending", text)
    if host.operations:
        text = f"under way: {', '.join(sorted(host.operations))}"
        yield problem(group, host.name, "operation-in-progress", text)
    if not host.pending.mandatory and not host.operations:
        yield fine(group, host.name, "no mandatory task is left")


def storage(host: HostState) -> tuple[Precheck, ...]:
    """Whether the host sees every storage with a disk of a guest that runs somewhere
    in the pool, if it is shared or belongs to this host."""
    found = by_subject(
        problem(
            Group.STORAGE,
            one.name,
            "storage-disconnected",
            f"{host.name} does not see it",
            fix=Fix(Deed.REPAIR_STORAGE, one.name, host.name),
        )
        for one in host.storage
        if one.used and not one.connected
    )
    return found or (fine(Group.STORAGE, host.name, "all storage is connected"),)


def disk_space(host: HostState, required: int) -> Precheck:
    """Whether there is room for `required` bytes: all that goes onto the disk."""
    group, free = Group.DISK_SPACE, host.free_disk
    if free is None:
        if not required:
            return fine(group, host.name, "no space is needed")
        text = f"free space is not known, {required} bytes are needed"
        return warning(group, host.name, "disk-space-unknown", text)
    text = f"{free} bytes are free, {required} needed"
    if free >= required:
        return fine(group, host.name, text)
    enough = free + host.reclaimable_disk >= required
    fix = Fix(Deed.CLEAN_UP, host.name, host.name) if enough else None
    return problem(group, host.name, "disk-space", text, fix=fix)


def required_space(update: Update) -> int:
    """What it says itself, and no less than it consists of: new files are laid beside
    the old ones."""
    files = sum(one.content.size for one in update.files)
    packages = sum(one.content.size for one in update.packages)
    return max(update.installation_size, files + packages)


def server_status(
    host: HostState,
    updates: Mapping[str, Update],
    order: InstallOrder,
    superseded: Collection[str] = (),
) -> tuple[Precheck, ...]:
    """What the host says of each update that is to be installed, and whether they fit
    together and to what is there. What `superseded` ones bring comes with them."""
    present = host.installed_updates.union(updates, superseded)
    found: list[Precheck] = []
    for update_id, update in updates.items():
        if update.requires or update.conflicts:
            found += dependencies(host, update, present)
        answer = host.prechecks.get(update_id)
        if answer is not None and answer.error:
            found.append(problem_of(host.name, answer))
        if update_id in order.circle:
            circle = ", ".join(order.circle)
            text = f"require one another: {circle}"
            found.append(problem(Group.SERVER_STATUS, host.name, "update-cycle", text))
    text = "nothing stands against the update"
    return tuple(found) or (fine(Group.SERVER_STATUS, host.name, text),)


def dependencies(
    host: HostState, update: Update, present: Collection[str]
) -> Iterator[Precheck]:
    group = Group.SERVER_STATUS
    if left := missing(update, present):
        text = f"{update.id} requires {', '.join(left)}"
        yield problem(group, host.name, "update-missing", text)
    if against := conflicting(update, present):
        text = f"{update.id} stands against {', '.join(against)}"
        yield problem(group, host.name, "update-conflict", text)


def already_there(host: HostState) -> Precheck:
    """The host is left out: it has everything."""
    text = "nothing is left to install, the host is skipped"
    return warning(Group.SERVER_STATUS, host.name, "update-installed", text)


_AFTER_LIVENESS = (
    Group.PENDING_TASKS,
    Group.STORAGE,
    Group.DISK_SPACE,
    Group.SERVER_STATUS,
    Group.REBOOT,
)


def unreachable(host: HostState) -> tuple[Precheck, ...]:
    """What cannot be looked at on a host that does not answer."""
    why = "the host does not answer"
    return tuple(skipped(group, host.name, why) for group in _AFTER_LIVENESS)


_NOTICES = {
    "not-licensed": "has to be rebooted: it is not licensed for live patching",
    "live-patching-disabled": "has to be rebooted: live patching is switched off",
    "mandatory-reboot": "has to be rebooted: an update demands it",
}


def reboot_notice(
    host: HostState,
    reboots: bool,
    effective: LivepatchStatus,
    suppressed: str,
    enforced: bool,
) -> Precheck:
    """Said beforehand and blocking nothing, unless the policy is to update only where
    no reboot remains."""
    group = Group.REBOOT
    if not reboots:
        live = effective is LivepatchStatus.COMPLETE
        text = "no reboot: live patching is used" if live else "no reboot"
        return fine(group, host.name, text)
    cause, text = suppressed or "reboot-needed", "has to be rebooted after the update"
    if suppressed:
        text = _NOTICES[suppressed]
    elif effective is LivepatchStatus.INCOMPLETE:
        cause, text = (
            "coverage-incomplete",
            f"{text}: live patches cover only part of it",
        )
    if enforced:
        return problem(group, host.name, "enforced", text)
    return information(group, host.name, cause, text)
