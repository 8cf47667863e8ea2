"""The third generation's own checks: before updates are applied, and then."""

from dataclasses import replace
from typing import Any

import pytest

from lpengine.planner.updates import (
    Guest,
    Hindrance,
    Pending,
)
from lpengine.planner.updates.readiness import (
    ApplyRequest,
    readiness,
    refusal_of_apply,
    refusal_of_enable,
)
from tests.fleet_cases import (
    EVACUATE,
    REBOOT,
    TOOLSTACK,
    host,
    pool,
)


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
    unlicensed = pool(host(live=False, features={"updates": False}))
    (only,) = readiness(unlicensed, requires_reboot=True)
    assert only.code == "LICENCE_RESTRICTION"


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
