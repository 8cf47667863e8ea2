"""Values as JSON has them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import msgspec


def plain(value: Any) -> Any:
    """What JSON can hold, with every field, and the properties that a class has in
    DERIVED. (An encoder leaves out fields that a decoder has left to the defaults of a
    dataclass.) Sets are sorted."""
    if value is None or isinstance(value, (str, int)):
        return value
    if names := names_of(value.__class__):
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, (list, tuple, Iterator)):
        return [plain(one) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(one) for one in value), key=repr)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    return value


@cache
def names_of(kind: Any) -> tuple[str, ...]:
    """What is told of a value of that type; nothing for what is no dataclass."""
    derived: Iterable[str] = getattr(kind, "DERIVED", ())
    return (*(one.name for one in fields(kind)), *derived) if is_dataclass(kind) else ()


def encode(value: Any) -> bytes:
    """JSON that is the same for equal values."""
    return msgspec.json.encode(plain(value), order="sorted")


def settled(value: Any) -> Any:
    """A plain value with its lists in one order, for where theirs means nothing."""
    if isinstance(value, dict):
        return {name: settled(one) for name, one in value.items()}
    if isinstance(value, list):
        return sorted((settled(one) for one in value), key=repr)
    return value
