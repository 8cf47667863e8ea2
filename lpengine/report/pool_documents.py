"""The JSON documents about updates on hosts and pools."""

import msgspec

from lpengine.report.document import Document, FindingRow
from lpengine.report.update_documents import VersionedPatchRow


class HostTaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """`task` in XAPI's words (update_guidances), `target` "" for the host itself,
    `level` mandatory, recommended or full."""

    task: str
    target: str
    level: str


class FixRow(msgspec.Struct, frozen=True, kw_only=True):
    """What `--resolve` does about a problem, and `undo` takes back at the end ("" for
    nothing). `choose`: the operator has to say which of several."""

    do: str
    target: str
    host: str
    undo: str
    choose: bool


class PrecheckRow(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is ok, information, warning, problem or skipped; only a problem
    blocks. `code` is "" where all is well."""

    group: str
    subject: str
    status: str
    text: str
    code: str
    cause: str
    remedy: str
    fix: FixRow | None


class ComponentPlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """`coverage` is apply, in_effect, uncovered or not_running; `livepatch` is to be
    applied, and comes from the update `source`. The updates in `covers` are then in
    effect in memory, those in `misses` are not."""

    component: str
    coverage: str
    livepatch: VersionedPatchRow | None
    source: str
    covers: list[str]
    misses: list[str]
    findings: list[FindingRow]


class HostPlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """`livepatch_status` is XAPI's, `effective` what is left of it after switch,
    licence and mandatory reboots, and `suppressed` why. `install` goes onto the disk;
    `before` and `after` are tasks in their order; `no_action_required`: none comes
    after. `guidance` and `pending` have tasks by level. The plan holds for what
    the two digests stand for."""

    host: str
    role: str
    verdict: str
    livepatch_status: str
    effective: str
    suppressed: str
    components: list[ComponentPlanRow]
    uncovered: list[str]
    install: list[str]
    no_action_required: bool
    before: list[HostTaskRow]
    after: list[HostTaskRow]
    guidance: dict[str, list[str]]
    pending: dict[str, list[str]]
    prechecks: list[PrecheckRow]
    findings: list[FindingRow]
    updates_digest: str
    state_digest: str


class PoolPlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts in the order in which they are updated. `automatic`: the tasks may be
    carried out without the operator."""

    pool: str
    verdict: str
    automatic: bool
    live_patching: bool
    licensed: bool
    no_action_required: bool
    prechecks: list[PrecheckRow]
    hosts: list[HostPlanRow]


class PlannedUpdateRow(msgspec.Struct, frozen=True, kw_only=True):
    """`digest` is the SHA-256 of the update's manifest."""

    id: str
    digest: str
    signed_by: str
    cves: list[str]


class PoolPlanDocument(Document, frozen=True, kw_only=True):
    """lpengine/pool-plan/1. `verdict` is ready, nothing or refused (by all pools);
    `silent` says why hosts could not be looked at, by "POOL/HOST", and those in
    `without_engine` have no lpengine to update them."""

    verdict: str
    no_action_required: bool
    updates: list[PlannedUpdateRow]
    pools: list[PoolPlanRow]
    silent: dict[str, str]
    without_engine: list[str]


class HostOutcomeRow(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is done, nothing, refused, failed, cancelled or skipped. `left` remains
    to be done, in order; `failed` are the components whose live patch did not go on;
    `closed`: the host takes no guests until it is enabled."""

    host: str
    status: str
    left: list[HostTaskRow]
    failed: list[str]
    closed: bool
    error: str
    hint: str


class PoolOutcomeRow(msgspec.Struct, frozen=True, kw_only=True):
    """`outstanding` are fixes that were carried out and not taken back."""

    pool: str
    status: str
    hosts: list[HostOutcomeRow]
    outstanding: list[FixRow]
    error: str
    codes: list[str]
    hint: str


class PoolInstallDocument(Document, frozen=True, kw_only=True):
    """lpengine/pool-install/1. `run` names the record; while it is `open`, the same
    command goes on with it, and `lpengine pool abandon` gives it up."""

    run: str
    open: bool
    plan: PoolPlanDocument
    pools: list[PoolOutcomeRow]


class AbandonedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was given up; `open` while something could not be put back."""

    run: str
    open: bool
    pools: list[PoolOutcomeRow]


class PoolAbandonDocument(Document, frozen=True, kw_only=True):
    """lpengine/pool-abandon/1."""

    runs: list[AbandonedRow]


class RunningRow(msgspec.Struct, frozen=True, kw_only=True):
    """`booted` is the version of the build that was started, `effective` that which
    live patches have brought it to, "" where that is not known. `memory` is as-booted,
    applied or unknown."""

    component: str
    build_id: str
    booted: str
    effective: str
    applied: list[str] | None
    memory: str


class HostStatusRow(msgspec.Struct, frozen=True, kw_only=True):
    """`updates` are those on its disk; `left` remains to be done, and `pending` has
    what is remembered as such by level, not reduced. `failed` are the components whose
    live patch failed; `silent` says why the host could not be looked at."""

    host: str
    role: str
    address: str
    system: str
    enabled: bool
    boot_id: str
    components: list[RunningRow]
    updates: list[str]
    left: list[HostTaskRow]
    pending: dict[str, list[str]]
    failed: list[str]
    silent: str


class PoolStatusRow(msgspec.Struct, frozen=True, kw_only=True):
    """`unfinished` is the time a run was started that did not end, or ""."""

    pool: str
    live_patching: bool
    toolstack: str
    unfinished: str
    hosts: list[HostStatusRow]


class PoolStatusDocument(Document, frozen=True, kw_only=True):
    """lpengine/pool-status/1."""

    pools: list[PoolStatusRow]


class PoolSettingsDocument(Document, frozen=True, kw_only=True):
    """lpengine/pool-settings/1: what `pool set` has changed, and in which file."""

    path: str
    pool: str
    settings: dict[str, str]


class PoolEventDocument(Document, frozen=True, kw_only=True):
    """lpengine/pool-event/1: a line of `--progress json`. `event` is begun, done or
    failed for a phase, and host or pool for one that has ended with `status`."""

    event: str
    at: str
    pool: str
    host: str
    phase: str
    detail: str
    status: str
    seconds: float
    error: str


POOL_DOCUMENTS: tuple[type[Document], ...] = (
    PoolPlanDocument,
    PoolInstallDocument,
    PoolStatusDocument,
    PoolSettingsDocument,
    PoolAbandonDocument,
    PoolEventDocument,
)
