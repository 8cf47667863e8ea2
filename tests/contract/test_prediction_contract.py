"""The plan knows beforehand what the target will say."""

import pytest

from lpengine.planner import Severity, plan_apply
from tests.contract.subject import Subject
from tests.contract.test_refusal_contract import REFUSED_AT_LOAD


@pytest.mark.parametrize("case", sorted(REFUSED_AT_LOAD))
def test_a_refusal_is_predicted(subject: Subject, case: str) -> None:
    cause, make = REFUSED_AT_LOAD[case]
    patch = make(subject)
    plan = plan_apply([patch], subject.target.facts([patch]))
    blocking = [each for each in plan.findings if each.severity is Severity.BLOCK]
    assert cause in {each.cause for each in blocking}
    assert plan.steps == ()
