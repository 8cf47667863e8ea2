"""Why and where an emulated CPU came to rest."""

from dataclasses import dataclass
from enum import Enum


class StopKind(Enum):
    """Why a CPU is at rest."""

    RETURNED = "returned"
    COUNTED = "counted"
    BREAKPOINT = "breakpoint"
    FAULTED = "faulted"


@dataclass(frozen=True)
class Stop:
    """Where a CPU came to rest. For a fault, `what` says in words what happened at
    `address`, and `access` and `accessed` which memory was touched, if any."""

    kind: StopKind
    address: int
    what: str = ""
    access: str = ""
    accessed: int = 0
