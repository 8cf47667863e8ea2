"""The rules for hotfixes of the second generation."""

from typing import Any

import pytest

from lpengine.planner.updates import (
    LivepatchStatus,
)
from lpengine.planner.updates.case import feature_allowed
from lpengine.planner.updates.hotfix import (
    AfterApply,
    Notice,
    after_apply,
    automatic_allowed,
    automatic_steps,
    effective_status,
    livepatch_failed,
    needs_evacuation_check,
    reboot_notice,
    reboot_required,
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
    ("guidance", "status", "steps"),
    [
        ([PV, HVM, XAPI, HOST], NONE, (HOST, XAPI, HVM, PV)),
        ([XAPI, HOST], COMPLETE, (XAPI,)),
        ([HOST], None, (HOST,)),
        ([], NONE, ()),
    ],
)
def test_what_is_carried_out_after_a_single_hotfix(
    guidance: list[AfterApply],
    status: LivepatchStatus | None,
    steps: tuple[AfterApply, ...],
) -> None:
    assert automatic_steps(guidance, status) == steps


@pytest.mark.parametrize(
    ("forbidden", "restarts", "repository", "allowed"),
    [
        (False, [True], False, True),
        (True, [False], False, True),
        (True, [True, False], False, False),
        (True, [], True, False),
        (False, [], True, True),
    ],
)
def test_when_tasks_may_be_left_to_the_client(
    forbidden: bool, restarts: list[bool], repository: bool, allowed: bool
) -> None:
    asked = automatic_allowed(
        forbidden=forbidden, may_restart=restarts, from_repository=repository
    )
    assert asked is allowed


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
