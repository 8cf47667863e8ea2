"""What remains to be done when the answer is no: the fewest tasks that cover all."""

from collections.abc import Iterable

from lpengine.planner.findings import Finding, Guidance

# XAPI's precedence (xapi, GuidanceSet.precedences): a reboot covers every lesser
# restart. Evacuating before it covers the plain one; a retry is pointless then.
_LESSER = frozenset(
    {
        Guidance.RETRY,
        Guidance.RESTART_PROCESS,
        Guidance.RESTART_TOOLSTACK,
        Guidance.RESTART_DEVICE_MODEL,
    }
)
COVERS: dict[Guidance, frozenset[Guidance]] = {
    Guidance.EVACUATE_AND_REBOOT: _LESSER | {Guidance.REBOOT_HOST},
    Guidance.REBOOT_HOST: _LESSER,
}


def tasks(findings: Iterable[Finding]) -> tuple[Guidance, ...]:
    """The tasks of these findings, none of which another one covers; what is not a
    known guidance counts as a reboot."""
    return combine(finding.guidance for finding in findings)


def combine(guidance: Iterable[str]) -> tuple[Guidance, ...]:
    """In the order of the enumeration: the mildest first."""
    wanted = {understood(one) for one in guidance} - {Guidance.NONE}
    covered = {lesser for one in wanted for lesser in COVERS.get(one, frozenset())}
    return tuple(one for one in Guidance if one in wanted - covered)


def understood(guidance: str) -> Guidance:
    try:
        return Guidance(guidance)
    except ValueError:
        return Guidance.REBOOT_HOST
