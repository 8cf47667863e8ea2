"""What the journal answers with: who did what, when, on which build id."""

from dataclasses import dataclass
from enum import StrEnum

from lpengine.planner.plan import Step


class RunStatus(StrEnum):
    """RUNNING and UNDOING are open: found by a later command, they mean that the
    process which wrote them is dead. The others are final."""

    RUNNING = "running"
    UNDOING = "undoing"
    DONE = "done"
    ROLLED_BACK = "rolled-back"
    RECOVERED = "recovered"
    STUCK = "stuck"

    @property
    def is_open(self) -> bool:
        return self in (RunStatus.RUNNING, RunStatus.UNDOING)


class StepState(StrEnum):
    BEGUN = "begun"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


@dataclass(frozen=True)
class StepEntry:
    """One step of a run. `undoing` says that it was taken to undo others; `begun`
    and `ended` are RFC 3339 in UTC, `ended` "" while unknown."""

    index: int
    step: Step
    undoing: bool
    state: StepState
    begun: str
    ended: str = ""
    error: str = ""


@dataclass(frozen=True)
class Entry:
    """One run. `build_id` is the running image's, `start` the engine's own record of
    the state before the first step (JSON), `plan` the whole plan (JSON), `left`
    what could not be undone."""

    id: int
    started: str
    ended: str
    actor: str
    pid: int
    verb: str
    target: str
    build_id: str
    state_digest: str
    status: RunStatus
    error: str
    left: tuple[str, ...]
    plan: str
    start: str
    steps: tuple[StepEntry, ...]
