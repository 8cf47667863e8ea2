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


class ObjectChangesRow(msgspec.Struct, frozen=True, kw_only=True):
    """One object; `verdict` is changed, unchanged or refused."""

    name: str
    verdict: str
    changed_functions: list[str]
    new_functions: list[str]
    new_data: list[str]
    refusals: list[RefusalRow]
    notes: list[ChangeNoteRow]


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


CHANGE_DOCUMENTS: tuple[type[Document], ...] = (SourceDocument, BasesDocument)
