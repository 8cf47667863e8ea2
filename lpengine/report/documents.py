"""The JSON documents, one a verb: typed, versioned, described in docs/json.md.

Keys are contracts: a key may be added under the same version; one that changes
its meaning or goes away makes a new version. Addresses and build ids are
hexadecimal strings, sizes integers of bytes.
"""

from typing import Any

import msgspec

from lpengine.errors import (
    LpengineError,
    RefusedError,
    SignatureError,
    StuckError,
    TargetError,
)
from lpengine.report.change_documents import CHANGE_DOCUMENTS
from lpengine.report.document import Document, FindingRow
from lpengine.report.host_documents import HOST_DOCUMENTS, InstallDocument
from lpengine.report.pool_documents import POOL_DOCUMENTS
from lpengine.report.update_documents import UPDATE_DOCUMENTS


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """`do` is load, apply, revert, replace or unload."""

    do: str
    patch: str
    sha256: str = ""
    nodeps: bool = False
    replaces: list[str] = []
    force: bool = False


class PlanDocument(Document, frozen=True, kw_only=True):
    """lpengine/plan/1. `tasks` is empty for "No action required"."""

    target: str
    action: str
    verdict: str
    steps: list[StepRow]
    findings: list[FindingRow]
    tasks: list[str]
    state_digest: str
    build_id: str
    version: str


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is begun, done, failed or undone; `undoing` steps undo others."""

    step: StepRow
    state: str
    undoing: bool
    error: str


class ChangeRow(msgspec.Struct, frozen=True, kw_only=True):
    function: str
    address: str
    before: list[str]
    after: list[str]


class OutcomeRow(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is done, nothing, rolled-back, recovered or stuck."""

    status: str
    run: int
    steps: list[StepResult]
    error: str
    cause: str
    left: list[str]


class ActionDocument(Document, frozen=True, kw_only=True):
    """lpengine/action/1: apply, revert, replace and unload. `outcome` is null where
    nothing was attempted, because of the plan or of --dry-run."""

    plan: PlanDocument
    outcome: OutcomeRow | None
    recovered: OutcomeRow | None
    changes: list[ChangeRow]


class CallDocument(Document, frozen=True, kw_only=True):
    """lpengine/call/1. Bytes are hexadecimal."""

    function: str
    arguments: list[str]
    returns: str
    value: int | str


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    call: str
    before: int | str
    patched: int | str
    reverted: int | str


class EmulationDocument(Document, frozen=True, kw_only=True):
    """lpengine/emulation/1. `differing` names the image's symbols that were not as
    before at the end: what hooks have written."""

    action: ActionDocument
    calls: list[ComparisonRow]
    restored: bool
    differing: list[str]


class LoadedRow(msgspec.Struct, frozen=True, kw_only=True):
    """`pinned`: its module stays in the kernel until the next boot, since a transition
    was forced."""

    name: str
    state: str
    build_id: str
    depends: str
    functions: list[str]
    reverted: bool
    pinned: bool
    metadata: dict[str, str]


class StatusDocument(Document, frozen=True, kw_only=True):
    """lpengine/status/1. `compiled` and `cpus` are "" and 0 where not known;
    `effective` lists what was applied onto the booted image, bottom of the stack first;
    `in_progress` names a patch that the target is changing at this moment;
    `interrupted` is the verb of a broken-off run, of which nothing is left where the
    target has `booted_since`."""

    target: str
    booted_version: str
    booted_build_id: str
    compiled: str
    cpus: int
    effective_build_id: str
    effective: list[str]
    patches: list[LoadedRow]
    busy: list[str]
    in_progress: str
    interrupted: str
    booted_since: bool


class RecoveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """`interrupted` and `started` are the verb and the time of the run that was broken
    off, and empty where none was; `effective` is what is applied now, bottom first."""

    target: str
    interrupted: str
    started: str
    outcome: OutcomeRow | None
    effective: list[str]


class RecoveryDocument(Document, frozen=True, kw_only=True):
    """lpengine/recovery/1. `host` is what became of an update that was broken off,
    null where none was."""

    targets: list[RecoveryRow]
    host: InstallDocument | None


class HistoryRow(msgspec.Struct, frozen=True, kw_only=True):
    run: int
    started: str
    ended: str
    actor: str
    verb: str
    status: str
    build_id: str
    error: str
    left: list[str]
    steps: list[StepResult]


class HistoryDocument(Document, frozen=True, kw_only=True):
    """lpengine/history/1, newest first."""

    target: str
    runs: list[HistoryRow]


class FunctionRow(msgspec.Struct, frozen=True, kw_only=True):
    """Linux: `object` is the module whose function it is, "" for the kernel's, and
    `occurrence` which of several of the name (0: the only one)."""

    name: str
    object: str
    occurrence: int
    kind: str
    old_address: str
    old_size: int
    new_size: int
    expectation: str
    disassembly: list[str]


class SectionRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    size: int
    alignment: int
    flags: str


class RelocationRow(msgspec.Struct, frozen=True, kw_only=True):
    section: str
    offset: str
    type: str
    symbol: str
    addend: int


class ViolationRow(msgspec.Struct, frozen=True, kw_only=True):
    cause: str
    errno: str
    subject: str
    observed: str
    needed: str


class LookedUpRow(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol that the live patch core looks up, and how often it has to."""

    object: str
    name: str
    occurrence: int
    relocations: int


class CallbackRow(msgspec.Struct, frozen=True, kw_only=True):
    object: str
    kind: str
    function: str


class LivepatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """What only modules for Linux have. `versions` are CRCs by symbol, `states`
    versions by id, `built_for` build ids by object."""

    vermagic: str
    built_for: dict[str, str]
    replace: bool
    callbacks: list[CallbackRow]
    states: dict[str, int]
    looked_up: list[LookedUpRow]
    versions: dict[str, str]


class InspectDocument(Document, frozen=True, kw_only=True):
    """lpengine/inspect/1. `format` is "xen" or "linux"."""

    path: str
    format: str
    name: str
    sha256: str
    size: int
    build_id: str
    depends: str
    image_build_id: str
    functions: list[FunctionRow]
    hooks: dict[str, list[str]]
    metadata: dict[str, str]
    notes: dict[str, str]
    undefined: list[str]
    new_symbols: list[str]
    sections: list[SectionRow]
    relocations: list[RelocationRow]
    alternatives: int
    livepatch: LivepatchRow | None
    violations: list[ViolationRow]


class ExplainDocument(Document, frozen=True, kw_only=True):
    """lpengine/explain/1."""

    code: str
    id: str
    summary: str
    detection: str
    remedy: str
    guidance: str
    source: str
    text: str


class BuildDocument(Document, frozen=True, kw_only=True):
    """lpengine/build/1."""

    path: str
    name: str
    size: int
    sha256: str
    build_id: str
    functions: list[str]
    notes: list[str]


class MachineDocument(Document, frozen=True, kw_only=True):
    """lpengine/machine/1."""

    directory: str
    image_build_id: str
    version: str
    cpus: int


class StockDocument(Document, frozen=True, kw_only=True):
    """lpengine/lab-stock/1: what guests of a kind are made of. `packages` has
    versions by name; `hypervisor` and `symbols` are empty for Linux."""

    kind: str
    kernel: str
    release: str
    hypervisor: str
    symbols: str
    packages: dict[str, str]


class GuestRow(msgspec.Struct, frozen=True, kw_only=True):
    """`host` is what --host takes; `memory` in MiB; `boot_seconds` until it answered,
    0 where it never has."""

    name: str
    host: str
    kind: str
    alive: bool
    memory: int
    cpus: int
    boot_seconds: float
    directory: str


class GuestDocument(Document, frozen=True, kw_only=True):
    """lpengine/lab-guest/1."""

    guest: GuestRow


class GuestsDocument(Document, frozen=True, kw_only=True):
    """lpengine/lab-guests/1, by name."""

    guests: list[GuestRow]


class TrialStepRow(msgspec.Struct, frozen=True, kw_only=True):
    """`what` is a verb, or a check with its moment; `said` is the verb's document,
    or the text that the check printed."""

    what: str
    status: int
    seconds: float
    said: Any


class CheckRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a check printed, and the status it ended with, at three moments."""

    command: str
    before: str
    patched: str
    reverted: str
    statuses: list[int]


class LabDocument(Document, frozen=True, kw_only=True):
    """lpengine/lab/1. `verdict` is passed, refused (by the plan), failed (a verb did
    not succeed), not-restored (a check differs after the revert) or died (the guest
    did not survive); `console` is what it wrote during the trial."""

    module: str
    kind: str
    verdict: str
    reason: str
    boot_seconds: float
    seconds: float
    steps: list[TrialStepRow]
    checks: list[CheckRow]
    console: str


class ErrorDocument(Document, frozen=True, kw_only=True):
    """lpengine/error/1: what any verb prints when it raises."""

    error: str
    message: str
    hint: str
    exit_code: int
    cause: str
    errno: str
    codes: list[str]
    left: list[str]
    report: str


DOCUMENTS: tuple[type[Document], ...] = (
    PlanDocument,
    ActionDocument,
    EmulationDocument,
    CallDocument,
    StatusDocument,
    RecoveryDocument,
    HistoryDocument,
    InspectDocument,
    ExplainDocument,
    BuildDocument,
    MachineDocument,
    StockDocument,
    GuestDocument,
    GuestsDocument,
    LabDocument,
    *UPDATE_DOCUMENTS,
    *CHANGE_DOCUMENTS,
    *POOL_DOCUMENTS,
    *HOST_DOCUMENTS,
    ErrorDocument,
)


def to_json(document: Document) -> str:
    """Indented JSON, keys in the order of the type."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def to_line(document: Document) -> str:
    """The same in one line."""
    return msgspec.json.encode(document).decode()


def error_document(error: LpengineError) -> ErrorDocument:
    return ErrorDocument(
        schema="lpengine/error/1",
        error=type(error).__name__,
        message=error.message,
        hint=error.hint,
        exit_code=error.exit_code,
        cause=error.cause if isinstance(error, TargetError) else "",
        errno=error.errno if isinstance(error, TargetError) else "",
        codes=codes_of(error),
        left=list(error.left) if isinstance(error, StuckError) else [],
        report=str(getattr(error, "report", "")),
    )


def codes_of(error: LpengineError) -> list[str]:
    if isinstance(error, RefusedError | SignatureError):
        return list(error.codes)
    return []


def schemas() -> dict[str, Any]:
    """JSON Schema of every document, by its name in `schema`."""
    found, components = msgspec.json.schema_components(DOCUMENTS)
    return {"documents": found, "components": components}
