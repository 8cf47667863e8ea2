"""Guidance: its words, precedence, levels, conditions, and what updates contribute."""

from dataclasses import replace
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.package.model import Level, Task
from lpengine.planner.updates import PackageRow, decide_host
from lpengine.planner.updates.consolidate import consolidated
from lpengine.planner.updates.guidance import (
    applies,
    contribution,
    evaluated,
    merged,
    outstanding_rows,
    reboot_is_mandatory,
    row_matches,
)
from lpengine.planner.updates.precedence import beyond, cascaded, reduced
from lpengine.planner.updates.words import in_order, is_known, published
from tests.fleet_cases import (
    BASE,
    DEVICE_MODEL,
    EVACUATE,
    NEW,
    REBOOT,
    RESTART_VM,
    TOOLSTACK,
    asking,
    condition,
    host,
    livepatch,
    runs,
    update,
    version,
)

XEN_FAILED = Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE


def row(
    new: int = 9, old: int | None = 5, name: str = "xen", of: str = "U1"
) -> PackageRow:
    installed = None if old is None else version(old)
    return PackageRow(name, "x86_64", version(new), installed, of)


@pytest.mark.parametrize(
    ("word", "task"),
    [
        ("RebootHost", REBOOT),
        ("RestartToolstack", TOOLSTACK),
        ("EvacuateHost", EVACUATE),
        ("RestartDeviceModel", DEVICE_MODEL),
        ("RestartVM", RESTART_VM),
        ("restart_toolstack", TOOLSTACK),
        ("restart_process", Task.RESTART_PROCESS),
        ("restartXAPI", TOOLSTACK),
        ("restartHVM", RESTART_VM),
    ],
)
def test_words_stand_for_tasks(word: str, task: Task) -> None:
    assert is_known(word)
    assert published(word) is task


@pytest.mark.parametrize(
    "word", ["RestartEverything", "", "reboothost", "RebootHostOnXenLivePatchFailure"]
)
def test_a_word_that_nobody_knows_is_a_reboot(word: str) -> None:
    assert not is_known(word)
    assert published(word) is REBOOT


def test_a_failed_live_patch_is_nothing_to_publish() -> None:
    assert published(str(XEN_FAILED)) is REBOOT


def test_tasks_come_in_one_order_and_once() -> None:
    assert in_order([RESTART_VM, REBOOT, REBOOT]) == (REBOOT, RESTART_VM)


@pytest.mark.parametrize(
    ("tasks", "left"),
    [
        ({REBOOT, TOOLSTACK, EVACUATE, DEVICE_MODEL}, {REBOOT}),
        ({REBOOT, RESTART_VM}, {REBOOT, RESTART_VM}),
        ({REBOOT, Task.RESTART_PROCESS}, {REBOOT}),
        ({EVACUATE, DEVICE_MODEL, TOOLSTACK}, {EVACUATE, TOOLSTACK}),
        ({RESTART_VM, DEVICE_MODEL}, {RESTART_VM}),
        ({TOOLSTACK, DEVICE_MODEL}, {TOOLSTACK, DEVICE_MODEL}),
        ({REBOOT, XEN_FAILED}, {REBOOT, XEN_FAILED}),
    ],
)
def test_precedence_drops_what_is_covered(tasks: set[Task], left: set[Task]) -> None:
    assert reduced(tasks) == left


def test_reducing_twice_is_reducing_once() -> None:
    sizes = range(len(Task) + 1)
    for tasks in chain.from_iterable(combinations(Task, size) for size in sizes):
        once = reduced(tasks)
        assert reduced(once) == once <= frozenset(tasks)


@pytest.mark.parametrize(
    ("higher", "own", "left"),
    [
        (set(), {REBOOT}, {REBOOT}),
        ({REBOOT}, {REBOOT}, set()),
        ({REBOOT}, {TOOLSTACK, RESTART_VM}, {RESTART_VM}),
        ({RESTART_VM}, {DEVICE_MODEL}, set()),
        # A reboot further down leaves the obligation above it alone.
        ({TOOLSTACK}, {REBOOT}, {REBOOT}),
    ],
)
def test_a_level_adds_only_what_is_new(
    higher: set[Task], own: set[Task], left: set[Task]
) -> None:
    assert beyond(higher, own) == left


def test_levels_cascade_from_what_was_asked_not_from_what_was_left() -> None:
    levels = cascaded(
        [
            (Level.MANDATORY, {EVACUATE}),
            # Nothing new is left here, but it is carried down all the same.
            (Level.RECOMMENDED, {EVACUATE, RESTART_VM}),
            (Level.FULL, {RESTART_VM, DEVICE_MODEL, TOOLSTACK}),
        ]
    )
    assert dict(levels) == {
        Level.MANDATORY: {EVACUATE},
        Level.RECOMMENDED: {RESTART_VM},
        Level.FULL: {TOOLSTACK},
    }


def test_the_example_of_the_facts() -> None:
    levels = cascaded(
        [
            (Level.MANDATORY, {REBOOT}),
            (Level.RECOMMENDED, {TOOLSTACK, RESTART_VM}),
            (Level.FULL, {REBOOT}),
        ]
    )
    assert [tasks for _, tasks in levels] == [{REBOOT}, {RESTART_VM}, frozenset()]


@pytest.mark.parametrize(
    ("inequality", "holds"),
    [("lt", False), ("lte", True), ("eq", True), ("gte", True), ("gt", False)],
)
def test_conditions_compare_with_what_is_installed(
    inequality: str, holds: bool
) -> None:
    assert row_matches(condition(inequality, 5), row(old=5)) is holds


@pytest.mark.parametrize(
    "other",
    [
        row(old=None),
        row(name="qemu"),
        replace(row(), architecture="noarch"),
    ],
)
def test_another_package_or_none_never_matches(other: PackageRow) -> None:
    assert not row_matches(condition("lt", 9), other)


def test_without_conditions_guidance_always_counts() -> None:
    assert applies(update(1), row(old=None))


def test_any_condition_will_do() -> None:
    two = update(1, applicabilities=(condition("gt", 7), condition("lt", 7)))
    assert applies(two, row(old=5))
    assert not applies(two, row(old=7))


GUIDED = update(
    1,
    guidance=asking(
        mandatory="evacuate_host",
        recommended="reboot_host",
        full="restart_vm",
        livepatch="restart_toolstack",
    ),
)


@pytest.mark.parametrize(
    ("level", "livepatched", "tasks"),
    [
        (Level.MANDATORY, (), {EVACUATE}),
        (Level.MANDATORY, ("U1",), {EVACUATE}),
        (Level.RECOMMENDED, (), {REBOOT}),
        (Level.RECOMMENDED, ("U1",), {TOOLSTACK}),
        (Level.RECOMMENDED, ("U2",), {REBOOT}),
        (Level.FULL, ("U1",), {RESTART_VM}),
        (Level.LIVEPATCH, ("U1",), set()),
    ],
)
def test_only_recommended_guidance_is_replaced(
    level: Level, livepatched: tuple[str, ...], tasks: set[Task]
) -> None:
    assert contribution(GUIDED, row(), level, livepatched) == tasks


def test_a_package_without_an_update_contributes_nothing() -> None:
    assert contribution(None, row(of=""), Level.RECOMMENDED) == set()
    assert contribution(GUIDED, row(of="U2"), Level.RECOMMENDED) == set()
    assert evaluated([GUIDED], [row(of="")], Level.RECOMMENDED) == set()


def test_guidance_for_live_patches_counts_where_the_packages_are_there() -> None:
    assert evaluated([GUIDED], [], Level.RECOMMENDED, ["U1"]) == {TOOLSTACK}
    assert evaluated([GUIDED], [], Level.MANDATORY, ["U1"]) == set()


def test_an_update_of_two_packages_asks_once() -> None:
    two = [row(), row(name="qemu")]
    assert evaluated([GUIDED], two, Level.FULL) == {RESTART_VM}


def test_guidance_of_several_updates_is_merged() -> None:
    other = update(
        2, guidance=asking(recommended="restart_toolstack", full="RebootHost")
    )
    levels = merged([GUIDED, other], [row(), row(of="U2")], ["U1"])
    assert levels == {
        Level.MANDATORY: {EVACUATE},
        Level.RECOMMENDED: {TOOLSTACK},
        Level.FULL: {REBOOT, RESTART_VM},
    }


@pytest.mark.parametrize(
    ("level", "mandatory"), [("mandatory", True), ("recommended", False)]
)
def test_only_a_mandatory_reboot_keeps_from_live_patching(
    level: str, mandatory: bool
) -> None:
    asks = update(1, livepatch(6), guidance=asking(**{level: "RebootHost"}))
    assert reboot_is_mandatory([asks], [row()]) is mandatory


def test_outstanding_is_what_is_newer_and_not_beyond_the_latest() -> None:
    latest = [row(9)]
    rows = [
        row(4, of="U4"),
        row(5, of="U5"),
        row(7, of="U7"),
        row(9),
        row(10, of="U10"),
    ]
    unknown = row(9, name="qemu", of="U9")
    found = outstanding_rows([*rows, unknown], latest, {"xen.x86_64": version(5)})
    assert [one.update for one in found] == ["U7", "U1"]


def test_outstanding_is_what_was_never_installed() -> None:
    assert outstanding_rows([row(9)], [row(9)], {}) == (row(9),)


# XAPI's own answer for a host.

BOTH = update(
    2,
    livepatch(6),
    livepatch(6, "kernel"),
    guidance=asking("", "reboot_host", "reboot_host", "restart_toolstack"),
)


def test_xapi_takes_one_live_patch_for_the_whole_update() -> None:
    """The hazard that the decision for a host does not share."""
    there = consolidated([BOTH], [row(of="U2")], [runs(), runs("kernel", NEW)])
    assert there.guidance[Level.RECOMMENDED] == {TOOLSTACK}
    assert there.livepatches == (livepatch(6),)
    plan = decide_host([BOTH], host(runs(), runs("kernel", NEW)))
    assert plan.guidance[Level.RECOMMENDED] == (REBOOT,)


def test_xapi_suppresses_live_patches_where_a_reboot_is_mandatory() -> None:
    mandatory = update(3, guidance=asking("reboot_host"))
    rows = [row(of="U2"), row(name="qemu", of="U3")]
    there = consolidated([BOTH, mandatory], rows, [runs(), runs("kernel")])
    assert there.livepatches == ()
    assert there.updates == ("U2", "U3")
    assert there.guidance == {
        Level.MANDATORY: {REBOOT},
        Level.RECOMMENDED: set(),
        Level.FULL: set(),
    }


def test_xapi_names_what_live_patches_hold_where_no_package_is_left() -> None:
    there = consolidated([BOTH], [], [runs(), runs("kernel")])
    assert there.updates == ("U2",)
    assert there.guidance[Level.RECOMMENDED] == {TOOLSTACK}
    assert there.guidance[Level.FULL] == set()


@given(
    numbers=st.lists(st.integers(2, 6), min_size=1, unique=True),
    reached=st.none() | st.integers(1, 6),
    build_id=st.sampled_from([BASE, NEW]),
)
def test_for_updates_of_one_component_the_decision_is_xapis(
    numbers: list[int], reached: int | None, build_id: str
) -> None:
    updates = [
        update(n, livepatch(n), guidance=asking("", "reboot_host", "", "restart_vm"))
        for n in numbers
    ]
    rows = tuple(row(n, name=f"p{n}", of=f"U{n}") for n in numbers)
    there = consolidated(updates, rows, [runs(build_id=build_id, to=reached)])
    plan = decide_host(updates, host(runs(build_id=build_id, to=reached), rows=rows))
    assert plan.apply == there.livepatches
    if reached is None or build_id == NEW:
        ours = {level: frozenset(tasks) for level, tasks in plan.guidance.items()}
        assert ours == there.guidance
