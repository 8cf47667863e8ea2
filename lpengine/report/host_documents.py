"""The JSON documents about this host as a whole."""

import msgspec

from lpengine.report.document import Document, FindingRow
from lpengine.report.pool_documents import HostPlanRow, HostTaskRow, PlannedUpdateRow


class PatchFailureRow(msgspec.Struct, frozen=True, kw_only=True):
    """A live patch that did not go on; its component runs as before."""

    component: str
    name: str
    error: str
    codes: list[str]


class HostStepRow(msgspec.Struct, frozen=True, kw_only=True):
    """`deed` is files, packages, live-patch, revert, task or hook; `subject` the
    update, component, task or hook; `state` begun, done, failed or undone."""

    deed: str
    subject: str
    detail: str
    build_id: str
    state: str
    undoing: bool
    error: str


class InstallDocument(Document, frozen=True, kw_only=True):
    """lpengine/install/1: install, uninstall and boot. `status` is done, nothing,
    rolled-back, refused, or "" for a plan that was not carried out; `message` says why
    in one line. `plan` is null for an uninstall. `tasks` remain, `carried_out` do not;
    `kept` are files that somebody has changed and that stay. `disk_missing`: only
    memory has the fix. `recovered` tells of earlier runs that were ended first."""

    action: str
    host: str
    status: str
    run: int
    plan_id: str
    updates: list[PlannedUpdateRow]
    plan: HostPlanRow | None
    refusals: list[FindingRow]
    steps: list[HostStepRow]
    failed: list[PatchFailureRow]
    tasks: list[HostTaskRow]
    carried_out: list[HostTaskRow]
    kept: list[str]
    warnings: list[str]
    disk_missing: bool
    recovered: list[str]
    message: str
    hint: str
    codes: list[str]


class HostComponentRow(msgspec.Struct, frozen=True, kw_only=True):
    """`memory` is as-booted, applied, behind, failed, crashed or unknown; `disk` is
    matches, changed, missing, or "" where no update is about the component."""

    component: str
    target: str
    build_id: str
    booted: str
    effective: str
    applied: list[str] | None
    memory: str
    disk: str
    pending: list[str]


class HostUpdateRow(msgspec.Struct, frozen=True, kw_only=True):
    """`in_effect` is null for an update that fixes nothing that could be live patched;
    `differs` names what is not as the update put it there."""

    id: str
    title: str
    digest: str
    signer: str
    since: str
    in_effect: bool | None
    disk: str
    differs: list[str]


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    release: str
    epoch: int | None


class PatchVersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a live patch, by the name that it is loaded under, brings its component
    to; null where that is not known."""

    component: str
    name: str
    to: VersionRow | None


class RememberedRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the host's own records add to what it shows, for whoever plans for it.
    `pending` has tasks by level, as they were asked for."""

    versions: list[PatchVersionRow]
    installed_updates: list[str]
    pending: dict[str, list[str]]
    updates_requiring_reboot: list[str]
    failed: list[str]
    crashed: list[PatchVersionRow]
    operations: list[str]
    held: str
    pinned: list[str]
    closed_until: str


class HostStatusDocument(Document, frozen=True, kw_only=True):
    """lpengine/host-status/1. `interrupted` is the verb of a run that was broken off,
    `busy` who is at work, `loose` what is half done on the disk."""

    host: str
    boot_id: str
    system: str
    components: list[HostComponentRow]
    updates: list[HostUpdateRow]
    tasks: list[HostTaskRow]
    needs_reboot: bool
    failed: list[PatchFailureRow]
    crashed: list[PatchFailureRow]
    interrupted: str
    busy: str
    loose: list[str]
    remembered: RememberedRow


class HostRunRow(msgspec.Struct, frozen=True, kw_only=True):
    run: int
    started: str
    ended: str
    actor: str
    verb: str
    updates: list[str]
    boot_id: str
    status: str
    error: str
    left: list[str]
    steps: list[HostStepRow]


class HostHistoryDocument(Document, frozen=True, kw_only=True):
    """lpengine/host-history/1, newest first."""

    host: str
    runs: list[HostRunRow]


class EffectiveDocument(Document, frozen=True, kw_only=True):
    """lpengine/uname/1: what each component amounts to with its live patches."""

    versions: dict[str, str]


class NeedsRebootDocument(Document, frozen=True, kw_only=True):
    """lpengine/needs-reboot/1."""

    needs_reboot: bool
    reasons: list[str]


HOST_DOCUMENTS: tuple[type[Document], ...] = (
    InstallDocument,
    HostStatusDocument,
    HostHistoryDocument,
    EffectiveDocument,
    NeedsRebootDocument,
)
