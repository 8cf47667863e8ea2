"""A finding: one reason, with evidence and the way out."""

from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    BLOCK = "block"
    WARN = "warn"
    INFO = "info"


class Guidance(StrEnum):
    """XAPI's words for what is left to do, and two of ours."""

    NONE = "none"
    RETRY = "retry"
    RESTART_PROCESS = "restart_process"
    RESTART_TOOLSTACK = "restart_toolstack"
    RESTART_DEVICE_MODEL = "restart_device_model"
    EVACUATE_AND_REBOOT = "evacuate_host+reboot_host"
    REBOOT_HOST = "reboot_host"


@dataclass(frozen=True)
class Finding:
    """`code` ("LP-SHP-171") and `name` ("FUNCTION_TOO_SHORT") are stable. `cause`
    narrows the code down ("function-too-small"); `errno` is what the target would
    answer, "" where it would accept and misbehave, or where it is not asked."""

    code: str
    name: str
    severity: Severity
    cause: str
    patch: str
    subject: str
    observed: str
    needed: str
    remedy: str
    guidance: Guidance = Guidance.NONE
    retryable: bool = False
    errno: str = ""
    evidence: dict[str, str | int | list[str]] = field(default_factory=dict)
