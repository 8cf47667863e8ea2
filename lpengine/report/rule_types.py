"""What values are made of, for whoever writes them as JSON."""

import enum
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

_UNIONS = (types.UnionType, typing.Union)
_WIDTH = 88


def named(kind: Any) -> str:
    """A type in a few words."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " or ".join(map(str, inner))
    if origin in _UNIONS:
        return " or ".join(map(named, inner))
    if origin is None:
        return "null" if kind is type(None) else str(kind.__name__)
    if issubclass(origin, Mapping):
        return f"object of {named(inner[1])} by {named(inner[0])}"
    if origin is tuple and inner[-1] is not ...:
        return f"[{', '.join(map(named, inner))}]"
    return f"list of {named(inner[0])}"


def described(kinds: Iterable[Any]) -> Iterator[str]:
    """Every type of ours among these and in them: what it is, and its parts."""
    for kind in ours(kinds):
        yield ""
        yield kind.__name__
        yield from wrapped("  ", kind.__dict__.get("__doc__") or "")
        if is_dataclass(kind):
            yield from (f"    {one}" for one in parts(kind))
        else:
            yield from wrapped("    ", f"one of {', '.join(map(str, kind))}")


def wrapped(indent: str, text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), _WIDTH, initial_indent=indent, subsequent_indent=indent
    )


def parts(kind: Any) -> Iterator[str]:
    """The fields, and what answers tell beside them."""
    hints = typing.get_type_hints(kind)
    for one in fields(kind):
        needed = one.default is MISSING and one.default_factory is MISSING
        optional = "" if needed else " (may be left out)"
        yield f"{one.name}: {named(hints[one.name])}{optional}"
    for name in getattr(kind, "DERIVED", ()):
        told = typing.get_type_hints(getattr(kind, name).fget)["return"]
        yield f"{name}: {named(told)} (in answers)"


def ours(kinds: Iterable[Any]) -> Iterable[Any]:
    """Each once, the outer ones first."""
    found: dict[Any, None] = {}
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop(0)
        waiting += typing.get_args(kind)
        if isinstance(kind, type) and kind not in found:
            if is_dataclass(kind):
                waiting += typing.get_type_hints(kind).values()
            if is_dataclass(kind) or issubclass(kind, enum.Enum):
                found[kind] = None
    return found
