"""What the operator asks for, what is then planned, and what comes of it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from lpengine.installer.observe import Observed
from lpengine.journal.host_entries import HostStepEntry
from lpengine.package.model import Level, Update
from lpengine.planner.catalogue import CATALOGUE
from lpengine.planner.findings import Finding, Severity
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.plan import HostPlan, HostTask
from lpengine.planner.updates.state import LivePatching, Mode


@dataclass(frozen=True)
class Request:
    """`live_patching` None leaves that to the host's policy; `disk` False wants only
    memory changed. `any_time`: maintenance windows do not matter. `expect` is the id
    of the plan that was shown ("" for any)."""

    mode: Mode = Mode.MANUAL
    live_patching: LivePatching | None = None
    level: Level = Level.RECOMMENDED
    disk: bool = True
    retry_crashed: bool = False
    any_time: bool = False
    expect: str = ""

    @property
    def memory(self) -> bool:
        return self.live_patching is not LivePatching.DISABLED

    def bound_to(self, prepared: "Prepared") -> "Request":
        """The same, for no other plan than the one that was shown."""
        return replace(self, expect=self.expect or prepared.id)


DEFAULT_REQUEST = Request()


@dataclass(frozen=True)
class Asked:
    """An update that somebody wants installed."""

    update: Update
    digest: str
    signer: str


@dataclass(frozen=True)
class Prepared:
    """A plan for this host. `updates` are all that it is about, those that are here
    already included; `asked` are those that were given, and who has signed each.
    `refusals` is what disk and guests have against it. `disk` says whether the disk
    half is part of it."""

    observed: Observed
    updates: tuple[Update, ...]
    plan: HostPlan
    asked: tuple[Asked, ...] = ()
    refusals: tuple[Finding, ...] = ()
    disk: bool = True

    @property
    def id(self) -> str:
        """Stands for the updates, the state of the host, and what was asked for."""
        parts = (
            self.plan.updates_digest,
            self.plan.state_digest,
            self.plan.effective,
            *(str(one) for one in self.plan.apply),
            *self.install,
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    @property
    def install(self) -> tuple[str, ...]:
        return self.plan.install if self.disk else ()

    @property
    def verdict(self) -> Verdict:
        if any(one.severity is Severity.BLOCK for one in self.refusals):
            return Verdict.REFUSED
        if self.plan.verdict is Verdict.READY and not (self.install or self.plan.apply):
            return Verdict.NOTHING
        return self.plan.verdict

    @property
    def codes(self) -> tuple[str, ...]:
        """Those of what blocks it."""
        checks = (check.code for check in self.plan.prechecks if check.blocks)
        found = (one.code for one in self.refusals if one.severity is Severity.BLOCK)
        return tuple(dict.fromkeys((*checks, *found)))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is refused, one sentence each."""
        checks = [c for c in self.plan.prechecks if c.blocks]
        found = [f for f in self.refusals if f.severity is Severity.BLOCK]
        return (
            *(f"{check.code} {check.subject}: {check.text}" for check in checks),
            *(f"{one.code} {one.subject}: {one.observed}" for one in found),
        )

    @property
    def remedy(self) -> str:
        return CATALOGUE[self.codes[0]].remedy if self.codes else ""


@dataclass(frozen=True)
class PatchFailure:
    """A live patch that did not go on: its component keeps running as it was."""

    component: str
    name: str
    error: str
    codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostOutcome:
    """What a run has come to. "done": disk and memory are as planned, but for the live
    patches in `failed`. "rolled-back": all is as it was before, because of `error`.
    "nothing": there was nothing to do. `tasks` are left, `carried_out` were not left;
    `warnings` are what else went wrong beside. `disk_missing`: only memory was
    changed."""

    status: str
    run_id: int = 0
    steps: tuple[HostStepEntry, ...] = ()
    failed: tuple[PatchFailure, ...] = ()
    tasks: tuple[HostTask, ...] = ()
    carried_out: tuple[HostTask, ...] = ()
    kept: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str = ""
    cause: BaseException | None = None
    disk_missing: bool = False


@dataclass(frozen=True)
class Installation:
    """`outcome` is None where nothing was attempted. `recovered` tells what was put
    right of earlier runs first."""

    prepared: Prepared
    outcome: HostOutcome | None
    recovered: tuple[str, ...] = field(default=())


def sentences(parts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(part for part in parts if part))
