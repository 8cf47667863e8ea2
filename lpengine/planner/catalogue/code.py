"""What a reason code is."""

from dataclasses import dataclass

from lpengine.planner.findings import Guidance, Severity


@dataclass(frozen=True)
class Code:
    """One stable reason.

    `code` ("LP-SHP-171") and `name` ("FUNCTION_TOO_SHORT") never change once
    released; the texts may. `guidance` is what remains to be done when the remedy
    is not taken and the fixed files are on disk. `source` says where the rule
    comes from, `text` is what `lpengine explain` prints.
    """

    code: str
    name: str
    summary: str
    detection: str
    remedy: str
    guidance: Guidance
    source: str
    text: str
    severity: Severity = Severity.BLOCK
    retryable: bool = False
