"""What every JSON document is, and what several have in common."""

import msgspec


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The root of every document: `schema` is "lpengine/VERB/VERSION"."""

    schema: str


class FindingRow(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    id: str
    severity: str
    cause: str
    errno: str
    patch: str
    subject: str
    observed: str
    needed: str
    remedy: str
    guidance: str
    retryable: bool
    evidence: dict[str, str | int | list[str]]
