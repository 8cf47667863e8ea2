"""The key=value pairs of a module (.modinfo)."""

from collections.abc import Iterator


def parse_modinfo(data: bytes) -> Iterator[tuple[str, str]]:
    """The pairs in their order; what has no "=" is a key without a value."""
    for text in data.split(b"\0"):
        key, _equals, value = text.decode("utf-8", "backslashreplace").partition("=")
        if key:
            yield key, value
