"""The rules of the module format that the module's reader found broken."""

from collections.abc import Iterator

from lpengine.patch.model import Patch, Violation
from lpengine.patch.xen.refusals import DEFECTS
from lpengine.planner.catalogue.causes import CODE_OF
from lpengine.planner.findings import Finding, Severity
from lpengine.planner.judgement import block, harms, judge
from lpengine.planner.situation import Situation


def well_formed(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """A refusal blocks; so does a structure that this version takes and dies of.
    Where another version would, it is a warning. A rule this engine does not know
    blocks too: it was written down for a reason."""
    for violation in patch.violations:
        if violation.cause not in CODE_OF:
            yield unknown(patch, violation)
            continue
        severity = Severity.BLOCK
        if not violation.errno and not harms(violation.cause, situation.version):
            severity = Severity.WARN
        yield judge(
            severity,
            violation.cause,
            patch.name,
            violation.subject,
            observed=violation.observed,
            needed=violation.needed,
            errno=violation.errno,
            **effect(violation.cause, situation),
        )


def unknown(patch: Patch, violation: Violation) -> Finding:
    return block(
        "unknown-rule",
        patch.name,
        violation.subject,
        observed=violation.observed,
        needed=violation.needed,
        errno=violation.errno,
        rule=violation.cause,
    )


def effect(cause: str, situation: Situation) -> dict[str, str]:
    """What the running version would do with the module instead of refusing."""
    if cause not in DEFECTS:
        return {}
    return {
        "effect": DEFECTS[cause].effect,
        "version": situation.version or "unknown",
    }
