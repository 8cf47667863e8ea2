"""What is remembered of tasks that were not carried out, and what clears it."""

from dataclasses import replace

import pytest

from lpengine.package.model import Level, Task
from lpengine.planner.updates import Guest, Pending, PowerState
from lpengine.planner.updates.pending import (
    GuestEvent,
    HostEvent,
    Operation,
    added_to_guest,
    added_to_host,
    after_guest_event,
    after_host_event,
    after_livepatches,
    guest_after_update,
    guest_to_restart,
    host_after_livepatches,
    host_after_update,
    refused_operations,
    restart_levels,
    shown,
    upgraded,
)
from tests.fleet_cases import DEVICE_MODEL, EVACUATE, REBOOT, RESTART_VM, TOOLSTACK

XEN = Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE
KERNEL = Task.REBOOT_ON_KERNEL_LIVEPATCH_FAILURE
EITHER = Task.REBOOT_ON_LIVEPATCH_FAILURE


def everywhere(*tasks: Task) -> Pending:
    return Pending(tasks, tasks, tasks)


def test_a_host_takes_what_is_about_the_host() -> None:
    coming = (REBOOT, TOOLSTACK, EVACUATE, DEVICE_MODEL, RESTART_VM, XEN)
    assert added_to_host([], coming) == {REBOOT, TOOLSTACK, XEN}


def test_a_guest_takes_what_is_about_guests() -> None:
    coming = (REBOOT, TOOLSTACK, EVACUATE, DEVICE_MODEL, RESTART_VM)
    assert added_to_guest([], coming) == {DEVICE_MODEL, RESTART_VM}


def test_adding_never_removes_or_reduces() -> None:
    assert added_to_host([TOOLSTACK, XEN], [REBOOT]) == {TOOLSTACK, XEN, REBOOT}


def test_each_level_gets_its_own() -> None:
    coming = {Level.MANDATORY: [TOOLSTACK, EVACUATE], Level.FULL: [REBOOT]}
    after = host_after_update(Pending(recommended=(REBOOT,)), coming)
    assert after == Pending((TOOLSTACK,), (REBOOT,), (REBOOT,))


@pytest.mark.parametrize(
    ("guest", "left"),
    [
        (Guest("a"), (DEVICE_MODEL,)),
        (Guest("a", device_model=False), ()),
        (Guest("a", control_domain=True), ()),
        (Guest("a", PowerState.PAUSED), (DEVICE_MODEL,)),
        (Guest("a", PowerState.SUSPENDED), ()),
        (Guest("a", PowerState.HALTED), ()),
    ],
)
def test_device_models_are_for_guests_that_have_one(
    guest: Guest, left: tuple[Task, ...]
) -> None:
    coming = {Level.RECOMMENDED: [DEVICE_MODEL, RESTART_VM]}
    assert guest_after_update(guest, coming) == Pending(recommended=left)


def test_all_guests_restart_where_any_host_says_so() -> None:
    levels = restart_levels(
        [
            {Level.MANDATORY: [], Level.FULL: [RESTART_VM]},
            {Level.MANDATORY: [RESTART_VM, REBOOT]},
        ]
    )
    assert levels == (Level.MANDATORY, Level.FULL)
    guest = Guest("a", pending=Pending(full=(DEVICE_MODEL,)))
    restarted = Pending((RESTART_VM,), (), (DEVICE_MODEL, RESTART_VM))
    assert guest_to_restart(guest, levels) == restarted
    for other in ({"power": PowerState.HALTED}, {"control_domain": True}):
        assert guest_to_restart(replace(guest, **other), levels) == guest.pending


@pytest.mark.parametrize(
    ("previous", "applied", "failed", "left"),
    [
        ({XEN}, [], ["xen"], {XEN}),
        ({XEN}, ["xen"], [], set()),
        ({XEN}, [], [], {XEN}),
        ({XEN}, ["kernel"], [], {XEN}),
        (set(), [], ["xen"], {XEN}),
        (set(), ["xen"], [], set()),
        (set(), [], [], set()),
        ({XEN}, ["xen"], ["xen"], {XEN}),
        (set(), ["xen"], ["xen"], {XEN}),
        ({XEN, KERNEL}, ["xen"], ["kernel"], {KERNEL}),
        ({KERNEL}, ["kernel"], ["xen"], {XEN}),
        ({EITHER}, ["xen"], [], {KERNEL}),
        ({EITHER}, [], [], {XEN, KERNEL}),
        (set(), [], ["process:nginx"], {Task.RESTART_PROCESS}),
    ],
)
def test_failures_are_remembered_by_component(
    previous: set[Task], applied: list[str], failed: list[str], left: set[Task]
) -> None:
    assert after_livepatches(previous, applied, failed) == left


def test_failures_are_remembered_as_recommended_beside_the_rest() -> None:
    before = Pending((REBOOT,), (TOOLSTACK, XEN), (KERNEL,))
    after = host_after_livepatches(before, ["xen"], ["kernel"])
    assert after == Pending((REBOOT,), (TOOLSTACK, KERNEL), (KERNEL,))


@pytest.mark.parametrize(
    ("event", "left"),
    [
        (HostEvent.TOOLSTACK_STARTED, (REBOOT, EITHER, XEN, KERNEL)),
        (HostEvent.BOOTED, ()),
    ],
)
def test_starts_clear_all_lists(event: HostEvent, left: tuple[Task, ...]) -> None:
    before = everywhere(REBOOT, TOOLSTACK, EITHER, XEN, KERNEL)
    assert after_host_event(before, event) == everywhere(*left)


def test_the_emergency_call_clears_the_mandatory_list_only() -> None:
    before = everywhere(REBOOT)
    after = after_host_event(before, HostEvent.EMERGENCY)
    assert after == Pending((), (REBOOT,), (REBOOT,))


@pytest.mark.parametrize(
    ("event", "left"),
    [
        (GuestEvent.SUSPENDED, (RESTART_VM,)),
        (GuestEvent.MIGRATED, (RESTART_VM,)),
        (GuestEvent.STARTED, (RESTART_VM,)),
        (GuestEvent.STARTED_ON_NEWEST, ()),
        (GuestEvent.HALTED, ()),
    ],
)
def test_what_happens_to_guests_clears_theirs(
    event: GuestEvent, left: tuple[Task, ...]
) -> None:
    before = everywhere(DEVICE_MODEL, RESTART_VM)
    assert after_guest_event(before, event) == everywhere(*left)


def test_old_lists_become_recommended() -> None:
    before = Pending((EITHER, TOOLSTACK), (REBOOT,), ())
    assert upgraded(before) == Pending((), (REBOOT, TOOLSTACK, XEN, KERNEL), ())


def test_people_see_the_reduced_lists() -> None:
    raw = Pending((TOOLSTACK,), (REBOOT, TOOLSTACK), (REBOOT, RESTART_VM))
    assert shown(raw) == Pending((TOOLSTACK,), (REBOOT,), (RESTART_VM,))


@pytest.mark.parametrize(
    ("pending", "refused"),
    [
        (Pending(mandatory=(TOOLSTACK,)), tuple(Operation)),
        (Pending(recommended=(REBOOT,), full=(REBOOT,)), ()),
    ],
)
def test_only_mandatory_tasks_block(
    pending: Pending, refused: tuple[Operation, ...]
) -> None:
    assert refused_operations(pending) == refused
