"""Whether guests can leave a host, asked only where the host has to be empty: for a
reboot, or because the update says so (XenCenter, AssertCanEvacuateCheck.cs)."""

from collections.abc import Collection, Iterator

from lpengine.planner.updates.case import is_licensed
from lpengine.planner.updates.plan import Deed, Fix, Group, Precheck
from lpengine.planner.updates.prechecks.rows import (
    by_subject,
    fine,
    problem,
    skipped,
    warning,
)
from lpengine.planner.updates.state import (
    MIGRATION,
    Guest,
    Hindrance,
    HostState,
    Media,
    PoolState,
)

_WHY = {
    Hindrance.REQUIRES_ISO: "it has an image in its drive that other hosts do not see",
    Hindrance.REQUIRES_LOCAL_SR: "its disk is on storage of this host",
    Hindrance.NO_PV_DRIVERS: "it has no drivers for being moved",
    Hindrance.OLD_PV_DRIVERS: "its drivers for being moved are too old",
    Hindrance.LACKS_FEATURE: "it cannot be moved",
    Hindrance.LACKS_FEATURE_SUSPEND: "it cannot be suspended",
    Hindrance.HAS_PCI: "a PCI device is attached to it",
    Hindrance.REQUIRES_GPU: "no other host has a suitable GPU",
    Hindrance.OPERATION_IN_PROGRESS: "another operation on it is under way",
    Hindrance.HAS_VGPU: "it has a virtual GPU",
    Hindrance.REQUIRES_NETWORK: "it uses a network that other hosts do not see",
    Hindrance.NOT_ENOUGH_MEMORY: "the other hosts have too little memory",
    Hindrance.NO_HOSTS: "there is no other host to take it",
    Hindrance.UNKNOWN: "it cannot leave, for a reason that is not known",
}

# What XAPI calls them (xapi-consts/api_errors.ml).
_CODES = {str(one).upper(): one for one in Hindrance}


def hindrance_of(
    code: str, *, storage_is_iso: bool = False, storage_is_shared: bool = False
) -> Hindrance:
    """What a code of get_vms_which_prevent_evacuation means; where it is about storage
    it depends on which."""
    if code == "VM_REQUIRES_SR":
        if storage_is_iso:
            return Hindrance.REQUIRES_ISO
        if storage_is_shared:
            return Hindrance.REQUIRES_SHARED_SR
        return Hindrance.REQUIRES_LOCAL_SR
    return _CODES.get(code, Hindrance.UNKNOWN)


def can_evacuate(
    host: HostState,
    pool: PoolState,
    *,
    movable: bool | None = None,
    eject_shared_images: bool = False,
) -> tuple[Precheck, ...]:
    """One row for each guest that cannot leave; the first thing that is found counts.
    With HA or load balancing on nobody can tell. `movable` says whether the licence
    of all hosts lets guests move, where that is known already."""
    if pool.ha_enabled or pool.wlb_enabled:
        cause = "ha-enabled" if pool.ha_enabled else "wlb-enabled"
        text = "check skipped: high availability or load balancing is on"
        return (warning(Group.EVACUATION, host.name, cause, text),)
    if host.guests is None:
        why = "the host's guests are not known"
        return (skipped(Group.EVACUATION, host.name, why),)
    if movable is None:
        movable = is_licensed(pool.hosts, MIGRATION)
    ejected = {Media.LOCAL_ISO, *([Media.SHARED_ISO] if eject_shared_images else [])}
    found = by_subject(
        one
        for guest in host.guests
        if guest.movable
        for one in hindrances(guest, host, pool, movable, ejected)
    )
    return found or (fine(Group.EVACUATION, host.name, "all guests can leave"),)


def hindrances(
    guest: Guest,
    host: HostState,
    pool: PoolState,
    movable: bool,
    ejected: Collection[Media],
) -> Iterator[Precheck]:
    """What keeps one guest, if anything. Without the licence to move guests the server
    is not even asked."""
    if guest.auto_power_on:
        yield stuck(guest, "auto-power-on", "it is started by itself", auto_off(guest))
    elif guest.media is Media.TOOLS:
        text = "the image with the guest tools is in its drive"
        yield stuck(guest, "media-tools", text, eject(guest, host))
    elif guest.media in ejected:
        yield stuck(
            guest, "media-iso", _WHY[Hindrance.REQUIRES_ISO], eject(guest, host)
        )
    elif not movable:
        text = "the licence does not include moving guests"
        yield stuck(guest, "migration-not-licensed", text, put_away(guest, host))
    elif guest.hindrance not in (None, Hindrance.REQUIRES_SHARED_SR):
        yield as_the_server_says(guest, host, pool)


def as_the_server_says(guest: Guest, host: HostState, pool: PoolState) -> Precheck:
    hindrance = guest.hindrance or Hindrance.UNKNOWN
    if hindrance is Hindrance.NOT_ENOUGH_MEMORY and len(pool.hosts) == 1:
        hindrance = Hindrance.NO_HOSTS
    text = _WHY[hindrance] + (f" ({guest.detail})" if guest.detail else "")
    return stuck(guest, "guest-hindered", text, way_out(hindrance, guest, host))


def way_out(hindrance: Hindrance, guest: Guest, host: HostState) -> Fix | None:
    """Nobody but the guest's own administrator can install drivers in it."""
    if hindrance in (Hindrance.NO_PV_DRIVERS, Hindrance.OLD_PV_DRIVERS):
        return None
    if hindrance is Hindrance.REQUIRES_ISO:
        return eject(guest, host)
    return put_away(guest, host, choose=hindrance is Hindrance.NOT_ENOUGH_MEMORY)


def stuck(guest: Guest, cause: str, text: str, fix: Fix | None) -> Precheck:
    remedy = "" if fix else "install current guest tools in it, or shut it down"
    return problem(Group.EVACUATION, guest.name, cause, text, remedy=remedy, fix=fix)


def auto_off(guest: Guest) -> Fix:
    undo = Fix(Deed.SET_AUTO_POWER_ON, guest.name)
    return Fix(Deed.CLEAR_AUTO_POWER_ON, guest.name, undo=undo)


def eject(guest: Guest, host: HostState) -> Fix:
    return Fix(Deed.EJECT_MEDIA, guest.name, host.name)


def put_away(guest: Guest, host: HostState, choose: bool = False) -> Fix:
    """Suspended where that is possible, else shut down the hard way; back on the same
    host afterwards. With `choose` the operator says which guests."""
    deed, back = Deed.SHUT_DOWN_GUEST, Deed.START_GUEST
    if guest.can_suspend and guest.hindrance is not Hindrance.LACKS_FEATURE_SUSPEND:
        deed, back = Deed.SUSPEND_GUEST, Deed.RESUME_GUEST
    undo = Fix(back, guest.name, host.name)
    return Fix(deed, guest.name, host.name, undo=undo, choose=choose)
