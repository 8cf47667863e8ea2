"""A plan: what will be done, in order, for which observed state, and why not."""

from dataclasses import dataclass
from enum import StrEnum

from lpengine.planner.findings import Finding, Guidance, Severity


@dataclass(frozen=True)
class Load:
    """Put the module into the target; `sha256` pins its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Apply:
    """`force` as in Policy, here and below."""

    name: str
    nodeps: bool = False
    force: bool = False


@dataclass(frozen=True)
class Revert:
    name: str
    force: bool = False


@dataclass(frozen=True)
class Replace:
    """Revert everything applied (`replaced`, bottom first) and apply `name`, in
    one stop."""

    name: str
    replaced: tuple[str, ...]
    force: bool = False


@dataclass(frozen=True)
class Unload:
    """`sha256` pins the bytes to load again if a later step fails."""

    name: str
    sha256: str


Step = Load | Apply | Revert | Replace | Unload


class Verdict(StrEnum):
    READY = "ready"
    NOTHING = "nothing"
    REFUSED = "refused"


@dataclass(frozen=True)
class Policy:
    """What the operator allows. `force`: tasks that do not leave the old code in time
    are switched all the same."""

    nodeps: bool = False
    force: bool = False
    live_patching: bool = True
    licensed: bool = True


DEFAULT_POLICY = Policy()


@dataclass(frozen=True)
class Plan:
    """`state_digest` binds the plan to the observed state
    (lpengine.planner.state_digest); `tasks` is what remains to be done, empty for
    "No action required"."""

    target: str
    action: str
    verdict: Verdict
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    tasks: tuple[Guidance, ...]
    state_digest: str

    @property
    def blocking(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.BLOCK)
