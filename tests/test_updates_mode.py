"""The page before installing: truth table, order, and who carries tasks out."""

from typing import Any

import pytest

from lpengine.package.model import Level, Task
from lpengine.planner.updates import (
    Guest,
    HostState,
    LivepatchStatus,
    Mode,
    Pending,
    ServerPrecheck,
    decide,
)
from lpengine.planner.updates.hotfix import (
    AfterApply,
)
from lpengine.planner.updates.update_mode import (
    NO_ACTION,
    RepositoryTasks,
    hotfix_page,
    page_of,
    repository_tasks,
)
from tests.fleet_cases import (
    DEVICE_MODEL,
    NEW,
    REBOOT,
    TOOLSTACK,
    host,
    livepatch,
    pool,
    runs,
    update,
)

COMPLETE, INCOMPLETE, NONE = (
    LivepatchStatus.COMPLETE,
    LivepatchStatus.INCOMPLETE,
    LivepatchStatus.NONE,
)
HOST, XAPI, PV, HVM = (
    AfterApply.RESTART_HOST,
    AfterApply.RESTART_TOOLSTACK,
    AfterApply.RESTART_PV,
    AfterApply.RESTART_HVM,
)


def member(status: LivepatchStatus | None = None, **fields: Any) -> HostState:
    answers = {} if status is None else {"U1": ServerPrecheck(status)}
    return host(prechecks=answers, **fields)


APPLIED = frozenset({"U1"})


@pytest.mark.parametrize(
    ("state", "listed"),
    [
        (member(COMPLETE), False),
        (member(INCOMPLETE), True),
        (member(NONE), True),
        (member(), True),
        (member(installed_updates=APPLIED), False),
        (member(NONE, installed_updates=APPLIED), False),
    ],
)
def test_the_truth_table_of_the_page(state: HostState, listed: bool) -> None:
    page = hotfix_page("U1", [HOST], [pool(state)])
    assert bool(page.blocks) is listed
    assert (page.text == NO_ACTION) is not listed


def test_the_toolstack_shows_whatever_is_live_patched() -> None:
    page = hotfix_page("U1", [HOST, XAPI], [pool(member(COMPLETE))])
    assert [one.task for one in page.blocks] == [TOOLSTACK]
    both = hotfix_page("U1", [HOST, XAPI], [pool(member(NONE))])
    assert [one.task for one in both.blocks] == [REBOOT, TOOLSTACK]


def test_guests_are_listed_by_their_type() -> None:
    guests = (Guest("dom0", control_domain=True), Guest("h"), Guest("p", type="pv"))
    pools = [pool(member(guests=guests))]
    assert hotfix_page("U1", [HVM], pools).blocks[0].names == ("h",)
    assert hotfix_page("U1", [PV], pools).blocks[0].names == ("p",)
    assert hotfix_page("U1", [PV], [pool(member(guests=()))]).text == NO_ACTION


def test_the_coordinator_is_named_first_and_pools_by_themselves() -> None:
    two = [pool(member(NONE), member(NONE), name="a"), pool(member(COMPLETE), name="b")]
    page = hotfix_page("U1", [HOST], two)
    assert [(one.pool, one.names) for one in page.blocks] == [
        ("a", ("host1 (coordinator)", "host2"))
    ]


def test_an_update_that_asks_for_nothing_has_no_page() -> None:
    assert hotfix_page("U1", [], [pool(member())]).text == NO_ACTION


@pytest.mark.parametrize(
    ("forbids", "guidance", "mode"),
    [
        (True, [HOST], Mode.MANUAL),
        # The last word does not forget the one before.
        (True, [HOST, XAPI], Mode.MANUAL),
        (True, [XAPI], Mode.AUTOMATIC),
        (False, [HOST], Mode.AUTOMATIC),
    ],
)
def test_automatic_unless_a_pool_forbids_the_restart(
    forbids: bool, guidance: list[AfterApply], mode: Mode
) -> None:
    pools = [pool(member(NONE), forbids_restarts=forbids)]
    assert hotfix_page("U1", guidance, pools).mode is mode


def test_the_page_of_a_plan_says_it_for_each_host() -> None:
    states = [host(runs()), host(runs(build_id=NEW))]
    plan = decide([update(1, livepatch(6))], [pool(*states)])
    page = page_of(plan)
    assert page.hosts == (
        ("host1", NO_ACTION),
        ("host2", "Evacuate, then reboot this server"),
    )
    assert "host2" in page.text
    assert "host1" not in page.text
    assert (
        page_of(decide([update(1, livepatch(6))], [pool(states[0])])).text == NO_ACTION
    )


def test_all_hosts_are_restarted_for_a_supplemental_pack() -> None:
    there = pool(member(COMPLETE, installed_updates=APPLIED), member(COMPLETE))
    page = hotfix_page("U1", [], [there], supplemental=True)
    assert [len(one.names) for one in page.blocks] == [2]


XEN_FAILED = Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE


@pytest.mark.parametrize(
    ("recommended", "pending", "patched", "listed"),
    [
        ({TOOLSTACK}, Pending(), False, RepositoryTasks((TOOLSTACK,), False)),
        (
            set(),
            Pending((DEVICE_MODEL,)),
            False,
            RepositoryTasks((DEVICE_MODEL,), False),
        ),
        ({REBOOT}, Pending(), True, RepositoryTasks((REBOOT,), False)),
        (set(), Pending(), True, RepositoryTasks((), True)),
        (set(), Pending((), (XEN_FAILED,)), True, RepositoryTasks((REBOOT,), True)),
        (set(), Pending(), False, RepositoryTasks((), False)),
    ],
)
def test_the_list_of_a_host_with_a_repository(
    recommended: set[Task], pending: Pending, patched: bool, listed: RepositoryTasks
) -> None:
    guidance = {Level.RECOMMENDED: frozenset(recommended)}
    patches = [livepatch(6)] if patched else []
    assert repository_tasks(guidance, pending, patches) == listed
