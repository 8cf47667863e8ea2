"""What every JSON document is."""

import msgspec


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The root of every document: `schema` is "lpengine/VERB/VERSION"."""

    schema: str
