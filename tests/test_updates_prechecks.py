"""The prechecks: their groups, what blocks, and what can be done about it."""

from dataclasses import replace
from typing import Any

import pytest

from lpengine.package.model import Task
from lpengine.planner import CATALOGUE
from lpengine.planner.plan import Verdict
from lpengine.planner.updates import (
    DEFAULT_POLICY,
    CheckStatus,
    Deed,
    Group,
    Guest,
    Hindrance,
    HostState,
    LivePatching,
    LivepatchStatus,
    Media,
    Mode,
    Pending,
    PoolState,
    PowerState,
    Precheck,
    ServerPrecheck,
    Storage,
    Synchronisation,
    decide_host,
    decide_pool,
)
from lpengine.planner.updates.prechecks.guests import can_evacuate, hindrance_of
from lpengine.planner.updates.prechecks.pools import (
    coordinator_restart,
    ha_and_wlb,
    server_selection,
    synchronisation,
)
from tests.fleet_cases import (
    LICENSED,
    NEW,
    TOOLSTACK,
    asking,
    disk_file,
    host,
    livepatch,
    pool,
    runs,
    update,
)

PATCHED = update(1, livepatch(6))
OK, WARNING, PROBLEM = CheckStatus.OK, CheckStatus.WARNING, CheckStatus.PROBLEM
INFORMATION, SKIPPED = CheckStatus.INFORMATION, CheckStatus.SKIPPED


def of_group(checks: tuple[Precheck, ...], group: Group) -> list[Precheck]:
    return [one for one in checks if one.group is group]


def found(state: HostState, *updates: Any, **policy: Any) -> dict[str, CheckStatus]:
    """The causes of a host's rows that are not fine."""
    chosen = replace(DEFAULT_POLICY, **policy)
    plan = decide_host(updates or (PATCHED,), state, policy=chosen)
    blocks = any(one.blocks for one in plan.prechecks)
    assert (plan.verdict is Verdict.REFUSED) is blocks
    return {one.cause: one.status for one in plan.prechecks if one.status is not OK}


def test_groups_come_in_their_order_and_all_is_well() -> None:
    plan = decide_host([PATCHED], host(runs()))
    groups = [one.group for one in plan.prechecks]
    assert groups == sorted(groups, key=list(Group).index)
    assert {one.status for one in plan.prechecks} == {OK}
    assert Group.EVACUATION not in groups


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"pending": Pending((TOOLSTACK,))}, "mandatory-pending"),
        ({"operations": ("reboot",)}, "operation-in-progress"),
        ({"storage": (Storage("sr", True, False),)}, "storage-disconnected"),
        ({"held": "by ana"}, "host-held"),
        ({"closed_until": "2026-12-01T02:00:00Z"}, "outside-window"),
        ({"features": {**LICENSED, "updates": False}}, "updates-not-licensed"),
        ({"features": {**LICENSED, "hotfix_apply": False}}, "updates-not-licensed"),
    ],
)
def test_what_blocks_a_host(changes: dict[str, Any], cause: str) -> None:
    assert found(host(runs(), **changes)) == {cause: PROBLEM}


@pytest.mark.parametrize(
    "changes",
    [
        {"pending": Pending((), (TOOLSTACK,), (TOOLSTACK,))},
        {"storage": (Storage("sr", True, False, used=False),)},
        {"storage": (Storage("sr", True, True),)},
        {"features": {"live_patching": True}},
    ],
)
def test_what_does_not_block_a_host(changes: dict[str, Any]) -> None:
    assert found(host(runs(), **changes)) == {}


def test_several_updates_at_once_may_take_a_licence_of_their_own() -> None:
    single = host(features={**LICENSED, "batch_hotfix_apply": False})
    two = [update(number, guidance={}) for number in (1, 2)]
    assert found(single, two[0]) == {}
    assert found(single, *two) == {"updates-not-licensed": PROBLEM}


def test_the_window_may_be_ignored() -> None:
    closed = host(runs(), closed_until="2026-12-01T02:00:00Z")
    assert found(closed, any_time=True) == {}


def test_a_host_that_does_not_answer_is_not_looked_at_further() -> None:
    silent = host(runs(), live=False, free_disk=0, can_power_on=True)
    plan = decide_host([PATCHED], silent)
    check, *others = plan.prechecks
    assert check.fix is not None
    assert (check.fix.do, check.fix.undo) == (Deed.POWER_ON, None)
    assert {one.status for one in others} == {SKIPPED}
    assert plan.verdict is Verdict.REFUSED


def test_a_host_that_has_everything_is_skipped() -> None:
    done = host(runs(to=6), installed_updates=frozenset({"U1"}), free_disk=0)
    assert found(done) == {"update-installed": WARNING}


@pytest.mark.parametrize(
    ("free", "reclaimable", "status", "deed"),
    [
        (1000, 0, OK, None),
        (999, 0, PROBLEM, None),
        (900, 100, PROBLEM, Deed.CLEAN_UP),
        (None, 0, WARNING, None),
    ],
)
def test_disk_space(
    free: int | None, reclaimable: int, status: CheckStatus, deed: Deed | None
) -> None:
    state = host(free_disk=free, reclaimable_disk=reclaimable)
    files = update(1, files=(disk_file(),), guidance={})
    (check,) = of_group(decide_host([files], state).prechecks, Group.DISK_SPACE)
    assert check.status is status
    assert (check.fix.do if check.fix else None) is deed


def test_an_update_says_itself_how_much_it_needs() -> None:
    state = host(free_disk=1500)
    two = [update(n, guidance={}, installation_size=800) for n in (1, 2)]
    assert found(state, *two) == {"disk-space": PROBLEM}


def test_an_update_needs_no_less_than_what_it_consists_of() -> None:
    modest = update(1, guidance={}, installation_size=1, files=(disk_file(),))
    assert found(host(free_disk=999), modest) == {"disk-space": PROBLEM}
    assert found(host(free_disk=1000), modest) == {}


def test_prerequisites_are_installed_or_about_to_be() -> None:
    needs = update(2, requires=("U1",), guidance={})
    assert found(host(), needs) == {"update-missing": PROBLEM}
    assert found(host(installed_updates=frozenset({"U1"})), needs) == {}
    both = decide_host([needs, update(1, guidance={}, issued="2027")], host())
    assert both.install == ("U1", "U2")
    assert both.verdict is Verdict.READY


def test_updates_that_stand_against_one_another_are_refused() -> None:
    against = update(2, conflicts=("U1",), guidance={})
    assert found(host(), against) == {}
    assert found(host(), against, update(1, guidance={})) == {
        "update-conflict": PROBLEM
    }


def test_a_circle_of_updates_is_refused() -> None:
    circle = [
        update(1, requires=("U2",), guidance={}),
        update(2, requires=("U1",), guidance={}),
    ]
    assert found(host(), *circle) == {"update-cycle": PROBLEM}


def test_older_updates_come_first_where_nothing_else_decides() -> None:
    updates = [
        update(1, guidance={}, issued="2026-02-01T00:00:00Z"),
        update(2, guidance={}, issued="2026-01-01T00:00:00Z"),
    ]
    assert decide_host(updates, host()).install == ("U2", "U1")


@pytest.mark.parametrize(
    ("state", "policy", "cause", "words"),
    [
        (host(runs()), {}, "", "live patching is used"),
        (host(runs(build_id=NEW)), {}, "reboot-needed", "after the update"),
        (host(runs(), features={}), {}, "not-licensed", "not licensed"),
        (
            host(runs()),
            {"live_patching": LivePatching.DISABLED},
            "live-patching-disabled",
            "switched off",
        ),
    ],
)
def test_the_reboot_is_said_beforehand_and_why(
    state: HostState, policy: dict[str, Any], cause: str, words: str
) -> None:
    plan = decide_host([PATCHED], state, policy=replace(DEFAULT_POLICY, **policy))
    (check,) = of_group(plan.prechecks, Group.REBOOT)
    assert check.cause == cause
    assert words in check.text
    assert not check.blocks


def test_partial_coverage_is_said_too() -> None:
    both = update(2, livepatch(6), livepatch(6, "kernel"))
    state = host(runs(), runs("kernel", NEW))
    assert found(state, both) == {"coverage-incomplete": INFORMATION}


def test_a_policy_may_refuse_where_a_reboot_remains() -> None:
    enforce = {"live_patching": LivePatching.ENFORCE}
    assert found(host(runs()), **enforce) == {}
    assert found(host(runs(build_id=NEW)), **enforce) == {"enforced": PROBLEM}


# Guests.

STUCK = {
    "auto": Guest("a", auto_power_on=True, media=Media.TOOLS),
    "tools": Guest("a", media=Media.TOOLS, hindrance=Hindrance.HAS_PCI),
    "iso": Guest("a", media=Media.LOCAL_ISO, hindrance=Hindrance.HAS_PCI),
    "shared": Guest("a", media=Media.SHARED_ISO),
    "pci": Guest("a", hindrance=Hindrance.HAS_PCI),
    "rigid": Guest("a", hindrance=Hindrance.HAS_PCI, can_suspend=False),
    "sleepless": Guest("a", hindrance=Hindrance.LACKS_FEATURE_SUSPEND),
    "drivers": Guest("a", hindrance=Hindrance.OLD_PV_DRIVERS),
    "image": Guest("a", hindrance=Hindrance.REQUIRES_ISO),
    "broken": Guest("a", hindrance=Hindrance.REQUIRES_SHARED_SR),
    "memory": Guest("a", hindrance=Hindrance.NOT_ENOUGH_MEMORY),
    "free": Guest("a"),
}


@pytest.mark.parametrize(
    ("name", "cause", "deed", "undo"),
    [
        ("auto", "auto-power-on", Deed.CLEAR_AUTO_POWER_ON, Deed.SET_AUTO_POWER_ON),
        ("tools", "media-tools", Deed.EJECT_MEDIA, None),
        ("iso", "media-iso", Deed.EJECT_MEDIA, None),
        ("pci", "guest-hindered", Deed.SUSPEND_GUEST, Deed.RESUME_GUEST),
        ("rigid", "guest-hindered", Deed.SHUT_DOWN_GUEST, Deed.START_GUEST),
        ("sleepless", "guest-hindered", Deed.SHUT_DOWN_GUEST, Deed.START_GUEST),
        ("drivers", "guest-hindered", None, None),
        ("image", "guest-hindered", Deed.EJECT_MEDIA, None),
        ("shared", "", None, None),
        ("broken", "", None, None),
        ("free", "", None, None),
    ],
)
def test_the_first_thing_that_keeps_a_guest_counts(
    name: str, cause: str, deed: Deed | None, undo: Deed | None
) -> None:
    state = host(guests=(STUCK[name],))
    (check,) = can_evacuate(state, pool(state, host()))
    assert check.cause == cause
    assert check.blocks is bool(cause)
    fix = check.fix
    assert (fix.do if fix else None) is deed
    assert (fix.undo.do if fix and fix.undo else None) is undo


def test_images_on_shared_storage_may_be_ejected_too() -> None:
    state = host(guests=(STUCK["shared"],))
    (check,) = can_evacuate(state, pool(state), eject_shared_images=True)
    assert check.cause == "media-iso"


def test_too_little_memory_is_a_choice_of_guests_except_for_a_host_alone() -> None:
    state = host(guests=(STUCK["memory"],))
    (check,) = can_evacuate(state, pool(state, host()))
    assert check.fix is not None
    assert check.fix.choose
    (alone,) = can_evacuate(state, pool(state))
    assert alone.fix is not None
    assert not alone.fix.choose
    assert "no other host" in alone.text


def test_without_the_licence_to_move_guests_nobody_is_asked() -> None:
    state = host(guests=(STUCK["drivers"],), features={"live_patching": True})
    (check,) = can_evacuate(state, pool(state))
    assert check.cause == "migration-not-licensed"
    assert check.fix is not None
    assert check.fix.do is Deed.SUSPEND_GUEST


@pytest.mark.parametrize("setting", ["ha_enabled", "wlb_enabled"])
def test_with_ha_or_load_balancing_on_nobody_can_tell(setting: str) -> None:
    state = host(guests=(STUCK["pci"],))
    (check,) = can_evacuate(state, pool(state, **{setting: True}))
    assert check.status is WARNING


@pytest.mark.parametrize("power", [PowerState.HALTED, PowerState.SUSPENDED])
def test_guests_that_are_not_on_the_host_need_not_leave(power: PowerState) -> None:
    away = host(guests=(replace(STUCK["auto"], power=power),))
    assert [one.status for one in can_evacuate(away, pool(away))] == [OK]
    paused = host(guests=(replace(STUCK["auto"], power=PowerState.PAUSED),))
    assert [one.cause for one in can_evacuate(paused, pool(paused))] == [
        "auto-power-on"
    ]


def test_the_control_domain_stays_and_unknown_guests_are_not_guessed() -> None:
    stays = host(guests=(replace(STUCK["pci"], control_domain=True),))
    assert [one.status for one in can_evacuate(stays, pool(stays))] == [OK]
    unknown = host(guests=None)
    assert [one.status for one in can_evacuate(unknown, pool(unknown))] == [SKIPPED]


@pytest.mark.parametrize(
    ("code", "storage", "hindrance"),
    [
        ("VM_HAS_VGPU", {}, Hindrance.HAS_VGPU),
        ("NO_HOSTS_AVAILABLE", {}, Hindrance.NO_HOSTS),
        ("VM_REQUIRES_SR", {"storage_is_iso": True}, Hindrance.REQUIRES_ISO),
        ("VM_REQUIRES_SR", {"storage_is_shared": True}, Hindrance.REQUIRES_SHARED_SR),
        ("VM_REQUIRES_SR", {}, Hindrance.REQUIRES_LOCAL_SR),
        ("SOMETHING_NEW", {}, Hindrance.UNKNOWN),
    ],
)
def test_codes_of_the_server(
    code: str, storage: dict[str, bool], hindrance: Hindrance
) -> None:
    assert hindrance_of(code, **storage) is hindrance
    if hindrance is not Hindrance.UNKNOWN:
        assert hindrance.code == code


def test_evacuation_is_looked_at_only_where_the_host_has_to_be_empty() -> None:
    kept = (STUCK["pci"],)
    assert found(host(runs(), guests=kept)) == {}
    rebooted = found(host(runs(build_id=NEW), guests=kept))
    assert rebooted == {"reboot-needed": INFORMATION, "guest-hindered": PROBLEM}
    evacuated = update(1, guidance=asking("evacuate_host"))
    assert found(host(guests=kept), evacuated) == {"guest-hindered": PROBLEM}


# Pools.


@pytest.mark.parametrize(
    ("state", "cause", "fixable"),
    [
        (None, None, False),
        (Synchronisation(0), "", False),
        (Synchronisation(6), "", False),
        (Synchronisation(7), "synchronised-long-ago", True),
        (Synchronisation(None), "never-synchronised", True),
        (Synchronisation(None, running=True), "synchronising", False),
    ],
)
def test_the_last_synchronisation(
    state: Synchronisation | None, cause: str | None, fixable: bool
) -> None:
    checks = synchronisation(pool(host(), synchronised=state))
    assert [one.cause for one in checks] == ([] if cause is None else [cause])
    assert any(one.fix for one in checks) is fixable
    assert any(one.blocks for one in checks) is bool(cause)


def test_ha_and_load_balancing_are_switched_off_and_on_again() -> None:
    both = pool(
        host(),
        ha_enabled=True,
        ha_storage=("sr1", "sr2"),
        ha_failures_to_tolerate=2,
        wlb_enabled=True,
    )
    ha, wlb = ha_and_wlb(both)
    assert ha.fix
    assert ha.fix.undo
    assert wlb.fix
    assert wlb.fix.undo
    assert (ha.fix.do, ha.fix.undo.do) == (Deed.DISABLE_HA, Deed.ENABLE_HA)
    assert dict(ha.fix.undo.arguments) == {
        "heartbeat_storage": "sr1,sr2",
        "failures_to_tolerate": "2",
    }
    assert (wlb.fix.do, wlb.fix.undo.do) == (Deed.DISABLE_WLB, Deed.ENABLE_WLB)
    assert [one.status for one in ha_and_wlb(pool(host()))] == [OK]


WHOLE = update(1, homogeneous=True)


@pytest.mark.parametrize(
    ("homogeneous", "mixed", "selected", "installed", "status"),
    [
        (False, False, ["host1"], (), None),
        (True, False, ["host1", "host2"], (), OK),
        (True, False, ["host1"], (), PROBLEM),
        (True, False, ["host1"], ("U1",), OK),
        (True, True, ["host1"], (), WARNING),
    ],
)
def test_all_hosts_of_a_pool_or_none(
    homogeneous: bool,
    mixed: bool,
    selected: list[str],
    installed: tuple[str, ...],
    status: CheckStatus | None,
) -> None:
    both = pool(host(), host(installed_updates=frozenset(installed)), mixed=mixed)
    asks = replace(WHOLE, homogeneous=homogeneous)
    checks = server_selection(both, [asks], selected)
    assert [one.status for one in checks] == ([] if status is None else [status])


@pytest.mark.parametrize(
    ("changes", "update_id", "cause"),
    [
        ({}, "U1", ""),
        (
            {"updates_requiring_reboot": frozenset({"U1"})},
            "U1",
            "coordinator-reboot-pending",
        ),
        ({"updates_requiring_reboot": frozenset({"U9"})}, "U1", ""),
        (
            {"updates_requiring_reboot": frozenset({"U9"})},
            None,
            "coordinator-reboot-pending",
        ),
        ({"toolstack_restart_pending": True}, "U1", "coordinator-toolstack-pending"),
    ],
)
def test_the_coordinator_is_restarted_before_others_are_updated(
    changes: dict[str, Any], update_id: str | None, cause: str
) -> None:
    (check,) = coordinator_restart(pool(host(**changes), host()), update_id)
    assert check.cause == cause
    assert check.blocks is bool(cause)
    assert check.fix is None


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        ({}, Verdict.READY),
        ({"mode": Mode.MANUAL}, Verdict.REFUSED),
        ({"selected": frozenset({"host2"})}, Verdict.REFUSED),
    ],
)
def test_a_stopped_run_goes_on_with_the_coordinators_restart(
    policy: dict[str, Any], verdict: Verdict
) -> None:
    done = frozenset({"U1"})
    first = host(runs(), installed_updates=done, updates_requiring_reboot=done)
    chosen = replace(DEFAULT_POLICY, **policy)
    asks = update(1, guidance=asking("", "reboot_host"))
    assert decide_pool([asks], pool(first, host()), chosen).verdict is verdict


def test_a_member_may_wait_for_its_restart() -> None:
    waiting = host(updates_requiring_reboot=frozenset({"U1"}))
    (check,) = coordinator_restart(pool(host(), waiting))
    assert check.status is OK


def test_what_blocks_one_host_blocks_its_pool() -> None:
    plan = decide_pool([PATCHED], pool(host(runs()), host(runs(), live=False)))
    assert [one.verdict for one in plan.hosts] == [Verdict.READY, Verdict.REFUSED]
    assert plan.verdict is Verdict.REFUSED


def test_fixes_are_listed_once_and_in_order() -> None:
    lost = (Storage("sr", True, False),)
    stuck = pool(
        host(runs(), storage=lost), host(runs(), storage=lost), ha_enabled=True
    )
    fixes = decide_pool([PATCHED], stuck).fixes
    assert [(one.do, one.host) for one in fixes] == [
        (Deed.DISABLE_HA, ""),
        (Deed.REPAIR_STORAGE, "host1"),
        (Deed.REPAIR_STORAGE, "host2"),
    ]


def test_every_row_that_is_not_fine_has_a_code_and_a_remedy() -> None:
    trouble = host(
        runs(build_id=NEW),
        storage=(Storage("sr", True, False),),
        pending=Pending((TOOLSTACK,)),
        free_disk=None,
        guests=tuple(STUCK.values()),
        held="x",
        closed_until="y",
        prechecks={"U1": ServerPrecheck(error="UPDATE_PRECHECK_FAILED_X")},
    )
    stuck: PoolState = pool(trouble, wlb_enabled=True, synchronised=Synchronisation(9))
    plan = decide_pool([replace(PATCHED, installation_size=1)], stuck)
    rows = [*plan.prechecks, *(c for one in plan.hosts for c in one.prechecks)]
    assert len(rows) > 10
    for one in rows:
        if one.status not in (OK, SKIPPED):
            assert one.code in CATALOGUE
            assert one.remedy


def test_a_reboot_task_is_what_the_notice_is_about() -> None:
    waiting = host(runs(), updates_requiring_reboot=frozenset({"U9"}))
    plan = decide_host([PATCHED], waiting)
    assert Task.REBOOT_HOST in {one.task for one in plan.after}
    (check,) = of_group(plan.prechecks, Group.REBOOT)
    assert check.status is INFORMATION
    assert plan.effective is LivepatchStatus.COMPLETE
