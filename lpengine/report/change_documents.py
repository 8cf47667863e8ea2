"""The JSON documents about what differs between two builds, and about bases kept."""

import msgspec

from lpengine.report.document import Document


class RefusalRow(msgspec.Struct, frozen=True, kw_only=True):
    """Why this cannot be a live patch. `object` is "" for what concerns several."""

    code: str
    cause: str
    object: str
    subject: str
    evidence: str
    remedy: str
    liftable: bool


class ChangeNoteRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something harmless that was seen, or a check that could not be made."""

    cause: str
    subject: str
    text: str


class FunctionChangeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A function that is changed, new or gone. `children` are parts that compilers
    split off. `reason` is code, reference, size, child, constant, table, new or gone;
    `before` and `after` are the first instructions that differ, where any do."""

    name: str
    status: str
    file: str
    patched_name: str
    children: list[str]
    reason: str
    text: str
    before: str
    after: str


class PieceRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a payload brings: `kind` is code, constant, string, data or zero; `why`
    names what referred to it first."""

    name: str
    kind: str
    section: str
    size: int
    why: str


class LiftedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal that `hook` lifts, as its author declared."""

    refusal: RefusalRow
    hook: str


class ObjectChangesRow(msgspec.Struct, frozen=True, kw_only=True):
    """One object; `verdict` is changed, unchanged or refused, `system` xen, linux or
    generic. `originals` are what the payload binds to in the image, `externals` what
    it needs by name; `tables` say how many records of special sections it brings."""

    name: str
    verdict: str
    changed_functions: list[str]
    new_functions: list[str]
    new_data: list[str]
    refusals: list[RefusalRow]
    notes: list[ChangeNoteRow]
    system: str = ""
    gone_functions: list[str] = []
    functions: list[FunctionChangeRow] = []
    pieces: list[PieceRow] = []
    tables: dict[str, int] = {}
    originals: list[str] = []
    externals: list[str] = []
    lifted: list[LiftedRow] = []


class FanOutRow(msgspec.Struct, frozen=True, kw_only=True):
    """A function of a header that changed, and the objects with a copy of it."""

    function: str
    header: str
    objects: list[str]
    missing: list[str]


class SourceDocument(Document, frozen=True, kw_only=True):
    """lpengine/build-source/1. `verdict` is changed (there is a module), refused, or
    unchanged: the image is not affected. `rebuilt` are the objects that came out
    differently, of which `absent` are not in the image; `proved` is how many
    functions were found in the image as they were built; `strangers` are files of the
    fix that the image is not built from."""

    verdict: str
    path: str
    name: str
    size: int
    sha256: str
    build_id: str
    functions: list[str]
    objects: list[ObjectChangesRow]
    refusals: list[RefusalRow]
    fan_out: list[FanOutRow]
    rebuilt: list[str]
    absent: list[str]
    proved: int
    configuration: str
    strangers: list[str]
    notes: list[str]


class ObjectsDocument(Document, frozen=True, kw_only=True):
    """lpengine/build-objects/1. `verdict` is that of all objects together; exit code
    0 for changed, 10 for refused, 15 for unchanged. `refusals` are all, those of
    single objects too. `path` to `build_id` are of the module, "" and 0 where there
    is none; `proved` is how many functions were found in the image as they were
    built."""

    verdict: str
    objects: list[ObjectChangesRow]
    refusals: list[RefusalRow]
    fan_out: list[FanOutRow]
    path: str
    name: str
    size: int
    sha256: str
    build_id: str
    proved: int
    notes: list[ChangeNoteRow]


class BaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """A built source tree that is kept. `used` is when it was last built with."""

    key: str
    tree: str
    format: str
    compiler: str
    configuration: str
    size: int
    used: str


class BasesDocument(Document, frozen=True, kw_only=True):
    """lpengine/build-cache/1: `build cache list` and, with what was forgotten,
    `build cache prune`."""

    directory: str
    bases: list[BaseRow]


CHANGE_DOCUMENTS: tuple[type[Document], ...] = (
    ObjectsDocument,
    SourceDocument,
    BasesDocument,
)
