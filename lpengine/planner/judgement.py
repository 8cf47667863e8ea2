"""Makes findings: cause, code, errno and guidance always agree."""

from collections.abc import Iterable
from functools import partial

from lpengine.patch.xen.refusals import DEFECTS, REFUSALS
from lpengine.planner.catalogue import CATALOGUE
from lpengine.planner.catalogue.causes import CODE_OF, PHASE_OF
from lpengine.planner.findings import Finding, Guidance, Severity

Evidence = str | int | list[str]


def judge(
    severity: Severity,
    cause: str,
    patch: str,
    subject: str,
    *,
    observed: str,
    needed: str,
    remedy: str = "",
    errno: str | None = None,
    **evidence: Evidence,
) -> Finding:
    """A finding for `cause`; without a remedy of its own it takes the code's, and
    without an errno the one the hypervisor answers for that cause."""
    code = CATALOGUE[CODE_OF[cause]]
    blocks = severity is Severity.BLOCK
    return Finding(
        code=code.code,
        name=code.name,
        severity=severity,
        cause=cause,
        patch=patch,
        subject=subject,
        observed=observed,
        needed=needed,
        remedy=remedy or code.remedy,
        guidance=code.guidance if blocks else Guidance.NONE,
        retryable=code.retryable,
        errno=answer(cause) if errno is None else errno,
        evidence=dict(evidence),
    )


block = partial(judge, Severity.BLOCK)

# The target will not refuse for these, hence no errno.
warn = partial(judge, Severity.WARN, errno="")
note = partial(judge, Severity.INFO, errno="", needed="")


def answer(cause: str) -> str:
    """The errno the hypervisor answers for `cause`; "" where it is not asked or
    takes the patch and misbehaves."""
    refusal = REFUSALS.get(cause)
    return refusal.errno if refusal else ""


def harms(cause: str, version: str) -> bool:
    """Whether hypervisor `version` suffers from the defect `cause`."""
    defect = DEFECTS.get(cause)
    return defect is None or defect.affects(version)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sorted by when the target would find out; equal ones stay in place."""
    return tuple(sorted(findings, key=lambda finding: PHASE_OF[finding.cause]))
