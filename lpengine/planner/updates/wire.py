"""Values from JSON and back, strictly: what is not part of a value is an error, where
it would otherwise be a misspelt fact that nobody looks at."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def convert(raw: Any, kind: type[T], where: str = "") -> T:
    """`raw`, as JSON has it, as a value of that type.

    Raises ValueError that says where and what.
    """
    try:
        value: T = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where or 'the document'}: {error}") from None
    for stray in strays(raw, plain(value), where):
        raise ValueError(f"{stray} is not known")
    return value


def plain(value: Any) -> Any:
    """What JSON can hold, with every field. (An encoder leaves out those that a decoder
    has left to the defaults of a dataclass.) Sets are sorted."""
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(one) for one in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def encode(value: Any) -> bytes:
    """JSON that is the same for equal values."""
    return msgspec.json.encode(plain(value), order="sorted")


def strays(raw: Any, known: Any, where: str) -> Iterator[str]:
    """The keys of which nothing came into the value."""
    if isinstance(raw, dict) and isinstance(known, dict):
        for key, value in raw.items():
            place = f"{where}.{key}" if where else str(key)
            if key in known:
                yield from strays(value, known[key], place)
            else:
                yield place
    elif isinstance(raw, list) and isinstance(known, list):
        for number, (one, other) in enumerate(zip(raw, known, strict=False)):
            yield from strays(one, other, f"{where}[{number}]")
