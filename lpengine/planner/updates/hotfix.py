"""The rules for hotfixes of the second generation (XenServer 7 to Citrix Hypervisor
8.2), where the host itself says for each update whether live patches apply."""

from collections.abc import Collection, Iterable
from enum import StrEnum

from lpengine.planner.updates.state import LivepatchStatus


class AfterApply(StrEnum):
    """What a hotfix asks for afterwards (pool_update.after_apply_guidance)."""

    RESTART_HOST = "restartHost"
    RESTART_TOOLSTACK = "restartXAPI"
    RESTART_PV = "restartPV"
    RESTART_HVM = "restartHVM"


def after_apply(text: str) -> tuple[AfterApply, ...]:
    """The tokens of update.xml, each once. One that is not known is a restart of the
    host; XAPI would forget all the others because of it."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = {str(one): one for one in AfterApply}
    return tuple(dict.fromkeys(known.get(w, AfterApply.RESTART_HOST) for w in words))


def reboot_required(
    guidance: Iterable[AfterApply], status: LivepatchStatus | None
) -> bool:
    """The central rule: only a complete live patch spares the host its restart; a
    status that is not known does not. Toolstack and guests are not affected."""
    wanted = AfterApply.RESTART_HOST in tuple(guidance)
    return wanted and status is not LivepatchStatus.COMPLETE


def effective_status(
    status: LivepatchStatus | None, *, licensed: bool, enabled: bool
) -> LivepatchStatus:
    """The one status that all else follows from: without licence, or with the pool's
    switch off, it is as if there were no live patch. Not known is none."""
    if status is None or not (licensed and enabled):
        return LivepatchStatus.NONE
    return status


def automatic_steps(
    guidance: Iterable[AfterApply], status: LivepatchStatus | None
) -> tuple[AfterApply, ...]:
    """What is carried out on a host once a single hotfix is on it, in this order. All
    that it asks for is done; a reboot does not spare the toolstack its restart."""
    wanted = tuple(guidance)
    order = (
        AfterApply.RESTART_HOST,
        AfterApply.RESTART_TOOLSTACK,
        AfterApply.RESTART_HVM,
        AfterApply.RESTART_PV,
    )
    needless = () if reboot_required(wanted, status) else (AfterApply.RESTART_HOST,)
    return tuple(one for one in order if one in wanted and one not in needless)


def automatic_allowed(
    *, forbidden: bool, may_restart: Iterable[bool], from_repository: bool = False
) -> bool:
    """Whether the tasks may be left to the client: not where some pool forbids
    automatic restarts and any host may have to be restarted (`may_restart`: for each
    thing that is asked for). Pools with a repository are not asked the second."""
    return not forbidden or not (from_repository or any(may_restart))


class Notice(StrEnum):
    """What the precheck "server needs reboot" says. All but the NO_... ones tell of a
    reboot; none of them blocks."""

    REBOOT = "needs_reboot"
    NOT_LICENSED = "needs_reboot_not_licensed"
    DISABLED = "needs_reboot_live_patching_disabled"
    NO_LIVE_PATCHED = "no_reboot_live_patching_is_used"
    NO_REBOOT = "no_reboot"


def reboot_notice(
    *,
    asks_for_restart: bool,
    status: LivepatchStatus | None = None,
    all_have_livepatch: bool = False,
    licensed: bool = True,
    enabled: bool = True,
    from_repository: bool = False,
) -> Notice:
    """Whether a reboot is needed and why, in XenCenter's own order of cases.
    `all_have_livepatch`: of several updates each that asks for a restart of the host
    has a live patch, and there is one. A pool with a repository (the third generation)
    has no status. The licence counts before the switch."""
    if from_repository and status is None:
        return Notice.REBOOT
    if status is LivepatchStatus.COMPLETE or all_have_livepatch:
        if not licensed:
            return Notice.NOT_LICENSED
        return Notice.NO_LIVE_PATCHED if enabled else Notice.DISABLED
    return Notice.REBOOT if asks_for_restart else Notice.NO_REBOOT


def needs_evacuation_check(
    with_livepatch: Iterable[bool], *, licensed: bool, enabled: bool
) -> bool:
    """Whether guests are looked at for a batch of updates: `with_livepatch` says of
    each that asks for a restart of the host whether it has a live patch."""
    patched = tuple(with_livepatch)
    return bool(patched) and not (all(patched) and licensed and enabled)


def livepatch_failed(
    status: LivepatchStatus | None, update: str, requiring_reboot: Collection[str]
) -> bool:
    """After the update is on: whether a live patch was promised and did not succeed.
    The host then counts the update among those that wait for a reboot. It is a
    warning; nobody reboots because of it without being asked."""
    return status is LivepatchStatus.COMPLETE and update in requiring_reboot
