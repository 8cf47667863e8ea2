"""Hotfixes of the second generation: what hosts answer, and the page before
installing; and the third generation's own checks."""

from dataclasses import replace
from typing import Any

import pytest

from lpengine.package.model import Level, Task
from lpengine.planner.updates import (
    Guest,
    Hindrance,
    HostState,
    LivepatchStatus,
    Mode,
    Pending,
    ServerPrecheck,
    decide,
)
from lpengine.planner.updates.answers import (
    PrecheckRun,
    Script,
    answer_of,
    problem_of,
    status_word,
)
from lpengine.planner.updates.case import feature_allowed
from lpengine.planner.updates.hotfix import (
    AfterApply,
    Notice,
    after_apply,
    effective_status,
    livepatch_failed,
    needs_evacuation_check,
    reboot_notice,
    reboot_required,
)
from lpengine.planner.updates.readiness import (
    ApplyRequest,
    readiness,
    refusal_of_apply,
    refusal_of_enable,
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
    EVACUATE,
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
FAILED = "UPDATE_PRECHECK_FAILED_"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ()),
        ("restartHost", (HOST,)),
        ("restartXAPI, restartHVM", (XAPI, HVM)),
        ("restartXAPI,restartXAPI", (XAPI,)),
        # XAPI would forget all of them.
        ("restartXAPI,restartAll", (XAPI, HOST)),
    ],
)
def test_tokens_of_a_hotfix(text: str, tokens: tuple[AfterApply, ...]) -> None:
    assert after_apply(text) == tokens


@pytest.mark.parametrize(
    ("guidance", "status", "reboots"),
    [
        ([HOST], COMPLETE, False),
        ([HOST], INCOMPLETE, True),
        ([HOST], NONE, True),
        ([HOST], None, True),
        ([XAPI, PV, HVM], None, False),
        ([], NONE, False),
    ],
)
def test_the_central_rule(
    guidance: list[AfterApply], status: LivepatchStatus | None, reboots: bool
) -> None:
    assert reboot_required(guidance, status) is reboots


@pytest.mark.parametrize(
    ("licensed", "enabled", "effective"),
    [
        (True, True, COMPLETE),
        (True, False, NONE),
        (False, True, NONE),
        (False, False, NONE),
    ],
)
def test_one_effective_status(
    licensed: bool, enabled: bool, effective: LivepatchStatus
) -> None:
    assert effective_status(COMPLETE, licensed=licensed, enabled=enabled) is effective
    assert effective_status(None, licensed=licensed, enabled=enabled) is NONE


@pytest.mark.parametrize(
    ("facts", "notice"),
    [
        ({"asks_for_restart": True, "from_repository": True}, Notice.REBOOT),
        ({"asks_for_restart": True, "status": COMPLETE}, Notice.NO_LIVE_PATCHED),
        (
            {"asks_for_restart": True, "all_have_livepatch": True},
            Notice.NO_LIVE_PATCHED,
        ),
        (
            {"asks_for_restart": True, "status": COMPLETE, "enabled": False},
            Notice.DISABLED,
        ),
        (
            {
                "asks_for_restart": True,
                "status": COMPLETE,
                "licensed": False,
                "enabled": False,
            },
            Notice.NOT_LICENSED,
        ),
        ({"asks_for_restart": True, "status": INCOMPLETE}, Notice.REBOOT),
        ({"asks_for_restart": True, "status": None}, Notice.REBOOT),
        ({"asks_for_restart": False, "status": NONE}, Notice.NO_REBOOT),
        ({"asks_for_restart": False, "licensed": False}, Notice.NO_REBOOT),
    ],
)
def test_what_is_said_about_the_reboot(facts: dict[str, Any], notice: Notice) -> None:
    assert reboot_notice(**facts) is notice


@pytest.mark.parametrize(
    ("patched", "licensed", "enabled", "checked"),
    [
        ([], True, True, False),
        ([True, True], True, True, False),
        ([True, False], True, True, True),
        ([True], False, True, True),
        ([True], True, False, True),
    ],
)
def test_when_guests_are_looked_at(
    patched: list[bool], licensed: bool, enabled: bool, checked: bool
) -> None:
    asked = needs_evacuation_check(patched, licensed=licensed, enabled=enabled)
    assert asked is checked


@pytest.mark.parametrize(
    ("status", "waiting", "failed"),
    [
        (COMPLETE, {"U1"}, True),
        (COMPLETE, {"U2"}, False),
        (INCOMPLETE, {"U1"}, False),
        (None, {"U1"}, False),
    ],
)
def test_a_promise_that_was_not_kept(
    status: LivepatchStatus | None, waiting: set[str], failed: bool
) -> None:
    assert livepatch_failed(status, "U1", waiting) is failed


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        ({"restrict_live_patching": "false"}, True),
        ({"restrict_live_patching": "true"}, False),
        ({"restrict_live_patching": "False"}, False),
        ({"restrict_live_patching": ""}, False),
        ({}, False),
    ],
)
def test_a_flag_restricts_unless_it_says_false(
    flags: dict[str, str], allowed: bool
) -> None:
    assert feature_allowed(flags, "live_patching") is allowed


# What hosts answer.

UNRESOLVED = "Repositories loaded.\nFailed to resolve the transaction:\n"


def failed(text: str) -> ServerPrecheck:
    return answer_of(PrecheckRun("hotfix", "ref", failed_install=text))


@pytest.mark.parametrize(
    ("text", "code", "parameters"),
    [
        (
            "x\nFailed to download packages\nThe package is not signed.\n",
            "INVALID_UPDATE",
            ("hotfix", "Missing package(s) in the update"),
        ),
        ("The package is not signed.\n", FAILED + "GPGKEY_NOT_IMPORTED", ("hotfix",)),
        (
            "PATCH_PRECHECK_FAILED_VM_RUNNING",
            "PATCH_PRECHECK_FAILED_VM_RUNNING",
            ("ref",),
        ),
        (
            "PATCH_PRECHECK_FAILED_ISO_MOUNTED",
            "PATCH_PRECHECK_FAILED_ISO_MOUNTED",
            ("ref",),
        ),
        (
            UNRESOLVED + "a conflicts with b provided by c\n d conflicts with e\n",
            FAILED + "CONFLICT_PRESENT",
            ("hotfix", "b e"),
        ),
        (
            UNRESOLVED + " - nothing provides base >= 9 needed by fix-1.noarch\n",
            FAILED + "WRONG_SERVER_VERSION",
            ("hotfix", "fix-1.noarch", "base >= 9"),
        ),
        (
            UNRESOLVED
            + " - nothing provides lib needed by fix-1\n - a requires b, but none of\n",
            FAILED + "PREREQUISITE_MISSING",
            ("hotfix", "lib b"),
        ),
        (
            "GPG signature verification error\n"
            + UNRESOLVED
            + "nothing provides lib from x\n",
            FAILED + "PREREQUISITE_MISSING",
            ("hotfix", "lib"),
        ),
        (
            UNRESOLVED + "No match\nYou can try to add to command line:\n --best",
            FAILED + "UNKNOWN_ERROR",
            ("hotfix", "No match\n"),
        ),
        ("whatever", FAILED + "UNKNOWN_ERROR", ("hotfix", "whatever")),
    ],
)
def test_what_a_failed_installation_was_about(
    text: str, code: str, parameters: tuple[str, ...]
) -> None:
    assert failed(text) == ServerPrecheck(error=code, parameters=parameters)


WRONG = (
    f'<error errorcode="{FAILED}WRONG_SERVER_VERSION">'
    "<found>7</found><required>8</required></error>"
)


@pytest.mark.parametrize(
    ("output", "code", "parameters"),
    [
        (f"noise\n{WRONG}\n", FAILED + "WRONG_SERVER_VERSION", ("hotfix", "7", "8")),
        (
            '<error errorcode="LICENCE_RESTRICTION"><feature>x</feature></error>',
            "LICENCE_RESTRICTION",
            ("hotfix", "x"),
        ),
        (
            '<error errorcode="OTHER"><a/></error>',
            FAILED + "UNKNOWN_ERROR",
            ("hotfix", '<error errorcode="OTHER"><a/></error>'),
        ),
        (
            '<error errorcode="LICENCE_RESTRICTION"><b></error>',
            FAILED + "UNKNOWN_ERROR",
            ("hotfix", '<error errorcode="LICENCE_RESTRICTION"><b></error>'),
        ),
        ("no", FAILED + "UNKNOWN_ERROR", ("hotfix", "no")),
    ],
)
def test_errors_of_the_updates_own_script(
    output: str, code: str, parameters: tuple[str, ...]
) -> None:
    run = PrecheckRun("hotfix", script=Script(1, output))
    assert answer_of(run) == ServerPrecheck(error=code, parameters=parameters)


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ("PATCH_PRECHECK_LIVEPATCH_COMPLETE\n", COMPLETE),
        ("PATCH_PRECHECK_LIVEPATCH_INCOMPLETE more\n", INCOMPLETE),
        ("PATCH_PRECHECK_LIVEPATCH_NOT_APPLICABLE\n", NONE),
        ("PATCH_PRECHECK_LIVEPATCH_COMPLETE", NONE),
        ("done PATCH_PRECHECK_LIVEPATCH_COMPLETE\n", NONE),
        ("\n", NONE),
        ("", NONE),
    ],
)
def test_anything_but_the_words_is_no_live_patch(
    output: str, status: LivepatchStatus
) -> None:
    assert status_word(output) is status
    answer = answer_of(PrecheckRun("hotfix", script=Script(0, output)))
    assert answer == ServerPrecheck(status)


@pytest.mark.parametrize(
    ("run", "answer"),
    [
        (
            PrecheckRun("x", disk_present=False),
            ServerPrecheck(error="CANNOT_FIND_UPDATE"),
        ),
        (
            PrecheckRun("x", free=1, installation_size=2),
            ServerPrecheck(error=FAILED + "OUT_OF_SPACE", parameters=("x", "1", "2")),
        ),
        (PrecheckRun("x", free=2, installation_size=2), ServerPrecheck(NONE)),
        (
            PrecheckRun("x", control_package=False, failed_install="bad"),
            ServerPrecheck(NONE),
        ),
        (PrecheckRun("x"), ServerPrecheck(NONE)),
    ],
)
def test_the_steps_of_a_precheck(run: PrecheckRun, answer: ServerPrecheck) -> None:
    assert answer_of(run) == answer


def test_a_size_that_cannot_be_read_is_an_invalid_update() -> None:
    run = PrecheckRun("x", installation_size=None)
    assert answer_of(run).error == "INVALID_UPDATE"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (ServerPrecheck(error=FAILED + "WRONG_SERVER_VERSION"), "server-version"),
        (ServerPrecheck(error=FAILED + "CONFLICT_PRESENT"), "server-conflict"),
        (ServerPrecheck(error=FAILED + "PREREQUISITE_MISSING"), "server-prerequisite"),
        (ServerPrecheck(error=FAILED + "OUT_OF_SPACE"), "disk-space"),
        (ServerPrecheck(error=FAILED + "GPGKEY_NOT_IMPORTED"), "server-key"),
        (ServerPrecheck(error="LICENCE_RESTRICTION"), "server-licence"),
        (ServerPrecheck(error="PATCH_PRECHECK_FAILED_VM_RUNNING"), "server-guest"),
        (ServerPrecheck(error="INVALID_UPDATE"), "server-refuses"),
        (
            ServerPrecheck(error=FAILED + "UNKNOWN_ERROR", parameters=("x", WRONG)),
            "server-version",
        ),
        (
            ServerPrecheck(error=FAILED + "UNKNOWN_ERROR", parameters=("x", "?")),
            "server-refuses",
        ),
    ],
)
def test_errors_block_and_have_a_cause(answer: ServerPrecheck, cause: str) -> None:
    check = problem_of("host1", answer)
    assert check.cause == cause
    assert check.blocks
    assert check.fix is None


# The page before installing.


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


# Before updates are applied, and at that moment.


def test_readiness_lists_all_that_stands_against_it() -> None:
    stuck = host(guests=(Guest("a", hindrance=Hindrance.REQUIRES_LOCAL_SR), Guest("b")))
    troubled = pool(host(live=False), stuck, ha_enabled=True)
    codes = [
        (one.code, one.subject) for one in readiness(troubled, requires_reboot=True)
    ]
    assert codes == [
        ("HA_IS_ENABLED", ""),
        ("HOST_OFFLINE", "host1"),
        ("VM_REQUIRES_SR", "a"),
    ]
    assert len(readiness(troubled, requires_reboot=False)) == 2
    assert readiness(pool(host()), requires_reboot=True) == ()


READY = ApplyRequest(host(), hash="h", current_hash="h")
WRONG_EVERYWHERE = ApplyRequest(
    host(pending=Pending((TOOLSTACK,))),
    on_coordinator=False,
    licensed=False,
    pool_busy=True,
    ha_enabled=True,
    operations=("reboot",),
    storage_degraded=True,
    hash="",
    current_hash="h",
    mandatory=(REBOOT,),
)


def test_refusals_come_in_the_servers_order() -> None:
    request, seen = WRONG_EVERYWHERE, []
    for right in (
        {"on_coordinator": True},
        {"licensed": True},
        {"pool_busy": False},
        {"ha_enabled": False},
        {"operations": ()},
        {"storage_degraded": False},
        {"host": host()},
        {"hash": "h"},
        {"mandatory": ()},
    ):
        seen.append(refusal_of_apply(request))
        request = replace(request, **right)
    assert seen == [
        "HOST_IS_SLAVE",
        "LICENCE_RESTRICTION",
        "OTHER_OPERATION_IN_PROGRESS",
        "HA_IS_ENABLED",
        "OTHER_OPERATION_IN_PROGRESS",
        "CLUSTERED_SR_DEGRADED",
        "HOST_PENDING_MANDATORY_GUIDANCES_NOT_EMPTY",
        "UPDATEINFO_HASH_MISMATCH",
        "HOST_EVACUATION_IS_REQUIRED",
    ]
    assert refusal_of_apply(request) == ""


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"hash": "other"}, "UPDATEINFO_HASH_MISMATCH"),
        ({"hash": "", "current_hash": ""}, "UPDATEINFO_HASH_MISMATCH"),
        ({"mandatory": (EVACUATE,)}, "HOST_EVACUATION_IS_REQUIRED"),
        ({"mandatory": (REBOOT,), "up_to_date": True}, ""),
        ({"mandatory": (REBOOT,), "host": host(guests=())}, ""),
        (
            {"mandatory": (REBOOT,), "host": host(guests=None)},
            "HOST_EVACUATION_IS_REQUIRED",
        ),
        ({"mandatory": (TOOLSTACK,)}, ""),
    ],
)
def test_what_is_refused_at_that_moment(changes: dict[str, Any], refusal: str) -> None:
    assert refusal_of_apply(replace(READY, **changes)) == refusal


def test_what_keeps_a_host_from_being_enabled() -> None:
    assert refusal_of_enable(host()) == ""
    busy = host(operations=("apply_updates",))
    assert refusal_of_enable(busy) == "OTHER_OPERATION_IN_PROGRESS"
    left = host(pending=Pending((REBOOT,)))
    assert refusal_of_enable(left) == "HOST_PENDING_MANDATORY_GUIDANCES_NOT_EMPTY"
