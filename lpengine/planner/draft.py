"""A plan in the making."""

from dataclasses import dataclass, replace

from lpengine.planner.digest import state_digest
from lpengine.planner.facts import Facts
from lpengine.planner.findings import Finding, Severity
from lpengine.planner.guidance import tasks
from lpengine.planner.judgement import in_order
from lpengine.planner.plan import Plan, Step, Verdict
from lpengine.planner.situation import Situation


@dataclass(frozen=True)
class Draft:
    """`situation` is the target after `steps`."""

    situation: Situation
    steps: tuple[Step, ...] = ()
    findings: tuple[Finding, ...] = ()


def step(draft: Draft, situation: Situation, *steps: Step) -> Draft:
    return replace(draft, situation=situation, steps=(*draft.steps, *steps))


def found(draft: Draft, *findings: Finding) -> Draft:
    """Adds the findings about one patch, in the order of the target's checks."""
    return replace(draft, findings=(*draft.findings, *in_order(findings)))


def settle(action: str, facts: Facts, draft: Draft) -> Plan:
    """A refused plan has no steps: half of it would be worse than none."""
    blocking = [f for f in draft.findings if f.severity is Severity.BLOCK]
    verdict = Verdict.READY if draft.steps else Verdict.NOTHING
    if blocking:
        verdict = Verdict.REFUSED
    return Plan(
        target=facts.target,
        action=action,
        verdict=verdict,
        steps=() if blocking else draft.steps,
        findings=draft.findings,
        tasks=tasks(blocking),
        state_digest=state_digest(facts),
    )
