"""What has to be done on hosts and guests, before and after; pools and their order."""

from dataclasses import replace

import pytest

from lpengine.package.model import Level, Task
from lpengine.planner.plan import Verdict
from lpengine.planner.updates import (
    DEFAULT_POLICY,
    Guest,
    HostPlan,
    HostState,
    Mode,
    Pending,
    PoolState,
    PowerState,
    Role,
    decide,
    decide_host,
    decide_pool,
)
from lpengine.planner.updates.order import in_rolling_order, natural
from tests.fleet_cases import (
    DEVICE_MODEL,
    EVACUATE,
    NEW,
    REBOOT,
    RESTART_VM,
    TOOLSTACK,
    asking,
    host,
    livepatch,
    pool,
    runs,
    tasks,
    update,
)

XEN_FAILED = Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE
EITHER_FAILED = Task.REBOOT_ON_LIVEPATCH_FAILURE
GUESTS = (
    Guest("dom0", control_domain=True),
    Guest("hvm"),
    Guest("pv", type="pv", device_model=False),
    Guest("asleep", power=PowerState.SUSPENDED),
    Guest("off", power=PowerState.HALTED),
)


def rows(plan: HostPlan) -> list[tuple[Task, str]]:
    return [(one.task, one.target) for one in plan.after]


def guided(*words: str, **fields: object) -> HostPlan:
    return decide_host(
        [update(1, guidance=asking(*words))], host(guests=GUESTS, **fields)
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("restart_toolstack", [(TOOLSTACK, "")]),
        ("reboot_host", [(REBOOT, "")]),
        ("restart_device_model", [(DEVICE_MODEL, "hvm")]),
        ("restart_vm", [(RESTART_VM, one) for one in ("asleep", "hvm", "pv")]),
        ("evacuate_host", []),
    ],
)
def test_each_task_finds_its_targets(
    word: str, expected: list[tuple[Task, str]]
) -> None:
    assert rows(guided("", word)) == expected


def test_a_task_without_a_target_is_none() -> None:
    alone = decide_host(
        [update(1, guidance=asking("", "restart_vm restart_device_model"))],
        host(guests=(Guest("off", power=PowerState.HALTED),)),
    )
    assert alone.no_action_required


def test_guests_that_are_not_known_are_a_task_of_the_host() -> None:
    plan = decide_host(
        [update(1, guidance=asking("", "restart_vm evacuate_host"))], host(guests=None)
    )
    assert rows(plan) == [(RESTART_VM, "")]
    assert [one.task for one in plan.before] == [EVACUATE]


def test_tasks_come_in_their_order_and_once() -> None:
    plan = guided("restart_toolstack", "restart_vm", pending=Pending((), (TOOLSTACK,)))
    assert rows(plan)[0] == (TOOLSTACK, "")
    assert len(set(rows(plan))) == len(rows(plan)) == 4


def test_a_reboot_covers_what_is_above_it_and_is_as_binding() -> None:
    plan = guided("restart_toolstack", "reboot_host")
    assert rows(plan) == [(REBOOT, "")]
    assert plan.after[0].level is Level.MANDATORY
    assert plan.guidance[Level.MANDATORY] == (TOOLSTACK,)


def test_a_full_task_is_left_to_those_who_ask_for_it() -> None:
    full = update(1, guidance=asking("", "", "reboot_host"))
    assert decide_host([full], host()).no_action_required
    policy = replace(DEFAULT_POLICY, level=Level.FULL)
    assert tasks(decide_host([full], host(), policy=policy)) == {REBOOT}


def test_what_is_recommended_is_told_of_even_where_it_is_not_carried_out() -> None:
    policy = replace(DEFAULT_POLICY, level=Level.MANDATORY)
    plan = decide_host([update(1)], host(), policy=policy)
    assert rows(plan) == [(REBOOT, "")]
    assert not policy.carries_out(plan.after[0].level)
    assert plan.before == ()
    binding = update(1, guidance=asking("restart_toolstack", "reboot_host"))
    both = decide_host([binding], host(), policy=policy)
    assert policy.carries_out(both.after[0].level)


@pytest.mark.parametrize(
    ("word", "guests", "evacuated"),
    [
        ("reboot_host", GUESTS, True),
        ("evacuate_host", GUESTS, True),
        ("restart_toolstack", GUESTS, False),
        ("reboot_host", GUESTS[:1] + GUESTS[3:], False),
        ("reboot_host", None, True),
    ],
)
def test_guests_leave_before_a_reboot(
    word: str, guests: tuple[Guest, ...] | None, evacuated: bool
) -> None:
    asks = update(1, guidance=asking("", word))
    plan = decide_host([asks], host(guests=guests))
    assert [one.task for one in plan.before] == [EVACUATE] * evacuated


def test_guests_that_leave_get_a_new_device_model_by_that() -> None:
    waiting = Guest("hvm", pending=Pending((DEVICE_MODEL,)))
    asks = update(1, guidance=asking("", "evacuate_host"))
    assert decide_host([asks], host(guests=(waiting,))).no_action_required


def test_what_earlier_updates_have_left_is_still_to_be_done() -> None:
    assert tasks(decide_host([], host(pending=Pending((), (REBOOT,))))) == {REBOOT}
    assert tasks(decide_host([], host(pending=Pending((), (), (REBOOT,))))) == set()
    stale = host(toolstack_restart_pending=True)
    assert tasks(decide_host([], stale)) == {TOOLSTACK}


def test_what_guests_were_left_is_theirs() -> None:
    waiting = Guest("a", pending=Pending((RESTART_VM,), (DEVICE_MODEL,)))
    plan = decide_host([], host(guests=(waiting, Guest("b"))))
    assert rows(plan) == [(RESTART_VM, "a")]
    assert plan.after[0].level is Level.MANDATORY


@pytest.mark.parametrize(
    ("left", "to", "reboots"),
    [
        (XEN_FAILED, 6, False),
        (EITHER_FAILED, 6, True),
        (Task.REBOOT_ON_KERNEL_LIVEPATCH_FAILURE, 6, True),
    ],
)
def test_a_failure_is_a_reboot_unless_made_up_for(
    left: Task, to: int, reboots: bool
) -> None:
    state = host(runs(), pending=Pending((), (left,)))
    plan = decide_host([update(1, livepatch(to))], state)
    assert plan.needs_reboot is reboots


def test_what_is_left_to_remember_is_raw_and_without_evacuation() -> None:
    before = Pending((), (TOOLSTACK,))
    plan = guided("evacuate_host", "reboot_host", pending=before)
    assert plan.pending == before
    assert plan.pending_after == Pending((), (REBOOT, TOOLSTACK))


# Pools.


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["host10", "host9", "host1"], ["host1", "host9", "host10"]),
        (["b", "A", "a1"], ["A", "a1", "b"]),
        (["x-2", "x2", "x 2"], ["x 2", "x-2", "x2"]),
    ],
)
def test_names_sort_as_people_sort_them(names: list[str], ordered: list[str]) -> None:
    assert sorted(names, key=natural) == ordered


def test_the_coordinator_comes_first_and_the_silent_last() -> None:
    def named(name: str, role: Role, live: bool = True) -> HostState:
        return host(name=name, role=role, live=live)

    states = (
        named("host1", Role.MEMBER, live=False),
        named("host10", Role.MEMBER),
        named("host2", Role.MEMBER),
        named("host9", Role.COORDINATOR),
    )
    ordered = in_rolling_order(PoolState("p", states))
    assert [one.name for one in ordered] == ["host9", "host2", "host10", "host1"]


def test_pools_are_planned_by_name_and_by_themselves() -> None:
    two = [pool(host(runs()), name="p10"), pool(host(runs(build_id=NEW)), name="p9")]
    plan = decide([update(1, livepatch(6))], two)
    assert [one.pool for one in plan.pools] == ["p9", "p10"]
    assert [one.no_action_required for one in plan.pools] == [False, True]
    assert not plan.no_action_required
    alone = decide_pool([update(1, livepatch(6))], two[0])
    assert plan.pools[1] == alone


def test_only_chosen_hosts_are_planned() -> None:
    policy = replace(DEFAULT_POLICY, selected=frozenset({"host2"}))
    plan = decide_pool([update(1)], pool(host(), host(), host()), policy)
    assert [one.host for one in plan.hosts] == ["host2"]


def test_guests_of_the_whole_pool_restart_where_one_host_says_so() -> None:
    asks = update(1, guidance=asking("", "restart_vm"), applicabilities=())
    done = host(installed_updates=frozenset({"U1"}), guests=(Guest("vm2"),))
    plan = decide_pool([asks], pool(host(), done))
    assert [rows(one) for one in plan.hosts] == [
        [(RESTART_VM, "vm1")],
        [(RESTART_VM, "vm2")],
    ]
    assert plan.restart_guests == (Level.RECOMMENDED,)


def test_nothing_to_do_is_said_for_hosts_and_for_all() -> None:
    done = host(runs(to=6), installed_updates=frozenset({"U1"}))
    plan = decide_pool([update(1, livepatch(6))], pool(done, done))
    assert plan.verdict is Verdict.NOTHING
    assert plan.no_action_required
    assert all(one.no_action_required for one in plan.hosts)
    assert plan.prechecks == ()


@pytest.mark.parametrize(
    ("word", "mode", "automatic", "verdict"),
    [
        ("reboot_host", Mode.AUTOMATIC, False, Verdict.REFUSED),
        ("reboot_host", Mode.MANUAL, False, Verdict.READY),
        ("restart_vm", Mode.AUTOMATIC, True, Verdict.READY),
    ],
)
def test_a_pool_may_keep_restarts_to_its_operator(
    word: str, mode: Mode, automatic: bool, verdict: Verdict
) -> None:
    asks = update(1, guidance=asking("", word))
    policy = replace(DEFAULT_POLICY, mode=mode)
    plan = decide_pool([asks], pool(host(), forbids_restarts=True), policy)
    assert plan.automatic is automatic
    assert plan.verdict is verdict
