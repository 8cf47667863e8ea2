"""The plan knows beforehand what the target will say."""

import pytest

from lpengine.planner import Severity, plan_apply
from tests.contract.subject import Subject
from tests.contract.test_refusal_contract import REFUSED_AT_LOAD

# The plan says more than a hypervisor's error number can.
_SAYS_MORE = {
    "data": "not-in-text",
    "nowhere": "not-in-text",
    "function-out-of-reach": "unchecked-pointer",
}


@pytest.mark.parametrize("case", sorted(REFUSED_AT_LOAD))
def test_a_refusal_is_predicted(subject: Subject, case: str) -> None:
    cause, make = REFUSED_AT_LOAD[case]
    patch = make(subject)
    plan = plan_apply([patch], subject.target.facts([patch]))
    blocking = [each for each in plan.findings if each.severity is Severity.BLOCK]
    assert _SAYS_MORE.get(case, cause) in {each.cause for each in blocking}
    assert plan.steps == ()


def test_what_is_taken_is_planned(subject: Subject) -> None:
    patch = subject.payload(
        "a",
        subject.returning("xen_major_version", 5),
        subject.returning("short_padded", 6, old_size=16),
        subject.blanking("endbr_poisoned", 9),
    )
    plan = plan_apply([patch], subject.target.facts([patch]))
    assert [each for each in plan.findings if each.severity is Severity.BLOCK] == []
    subject.load(patch)
    subject.apply(patch)
    again = plan_apply([patch], subject.target.facts([patch]))
    assert again.steps == ()
