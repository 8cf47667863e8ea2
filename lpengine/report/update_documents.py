"""The JSON documents about updates."""

from typing import Any

import msgspec

from lpengine.report.document import Document


class ContentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A file within a bundle."""

    member: str
    size: int
    sha256: str


class VersionedPatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """A live patch, in XAPI's words. `content` is null where it is only announced;
    `name` is what it is called once it is loaded."""

    component: str
    base_build_id: str
    base_version: str
    base_release: str
    to_version: str
    to_release: str
    name: str
    content: ContentRow | None


class UpdateFileRow(msgspec.Struct, frozen=True, kw_only=True):
    """A file for the disk; `mode` is octal."""

    path: str
    mode: str
    owner: str
    group: str
    content: ContentRow


class UpdatePackageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution package; `format` is "deb" or "rpm"."""

    format: str
    name: str
    architecture: str
    version: str
    content: ContentRow


class ApplicabilityRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    architecture: str
    inequality: str
    version: str


class DefectRow(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is malformed or unknown, and taken as unsafe; `component` is the
    one whose live patches are not relied on, "" for none."""

    where: str
    what: str
    component: str


class UpdateRow(msgspec.Struct, frozen=True, kw_only=True):
    """An update. `guidance` has words by level."""

    id: str
    title: str
    summary: str
    description: str
    type: str
    url: str
    issued: str
    severity: str
    cves: list[str]
    components: list[str]
    livepatches: list[VersionedPatchRow]
    files: list[UpdateFileRow]
    packages: list[UpdatePackageRow]
    guidance: dict[str, list[str]]
    applicabilities: list[ApplicabilityRow]
    requires: list[str]
    conflicts: list[str]
    installation_size: int
    homogeneous: bool
    defects: list[DefectRow]


class BundleDocument(Document, frozen=True, kw_only=True):
    """lpengine/bundle/1. `digest` is the SHA-256 of the manifest; `signed_by` is the
    key's fingerprint, whoever that is, "" without signature."""

    path: str
    size: int
    digest: str
    signed_by: str
    update: UpdateRow


class UpdatesDocument(Document, frozen=True, kw_only=True):
    """lpengine/updates/1: what a file of metadata describes."""

    path: str
    updates: list[UpdateRow]


class VerifiedDocument(Document, frozen=True, kw_only=True):
    """lpengine/verified/1: a bundle that is whole, and who has signed it; `defects`
    counts what of it is not understood."""

    path: str
    id: str
    digest: str
    principals: str
    signed_by: str
    contents: int
    size: int
    defects: int


class ArgumentRow(msgspec.Struct, frozen=True, kw_only=True):
    """`type` is a JSON Schema."""

    name: str
    required: bool
    type: dict[str, Any]


class RuleDocument(Document, frozen=True, kw_only=True):
    """lpengine/rule/1. `answer` is null where nothing was asked; `returns` is the JSON
    Schema of answers."""

    name: str
    source: str
    summary: str
    arguments: list[ArgumentRow]
    returns: dict[str, Any]
    answer: Any


class AnswerDocument(Document, frozen=True, kw_only=True):
    """lpengine/rule-answer/1: a line of `lpengine rule --batch`. `line` is that of the
    question; `error` says why there is no answer, "" where there is one."""

    line: int
    rule: str
    answer: Any
    error: str


UPDATE_DOCUMENTS: tuple[type[Document], ...] = (
    RuleDocument,
    AnswerDocument,
    BundleDocument,
    UpdatesDocument,
    VerifiedDocument,
)
