"""Values from JSON, strictly: what is not part of a value is an error, where it would
otherwise be a misspelt fact that nobody looks at. XAPI's own names for the same facts
are understood (see spelling)."""

import types
import typing
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

import msgspec

from lpengine.planner.updates.spelling import respelled

T = TypeVar("T")

_UNIONS = (types.UnionType, typing.Union)


class _Stray(ValueError):
    """What is wrong with a key. Its place is completed on the way out."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.place: list[str] = []


def convert(raw: Any, kind: type[T], where: str = "") -> T:
    """`raw`, as JSON has it, as a value of that type.

    Raises ValueError that says where and what.
    """
    try:
        value: T = msgspec.convert(spelled(raw, kind), kind)
    except _Stray as stray:
        place = "".join([where, *reversed(stray.place)]).removeprefix(".")
        raise ValueError(f"{place or 'the document'}{stray.what}") from None
    except msgspec.ValidationError as error:
        raise ValueError(f"{where or 'the document'}: {error}") from None
    return value


def spelled(raw: Any, kind: Any) -> Any:
    """`raw` with the names that the fields of `kind` have."""
    if is_dataclass(kind):
        return of_fields(raw, kind) if isinstance(raw, dict) else raw
    origin, inner = shape(kind)
    if origin in _UNIONS:
        for one in inner:
            raw = spelled(raw, one)
    elif origin is not None and isinstance(raw, dict):
        return {key: within(f".{key}", raw[key], inner[-1]) for key in raw}
    elif origin is not None and isinstance(raw, list):
        kinds = inner if len(inner) == len(raw) and ... not in inner else None
        return [
            within(f"[{number}]", one, kinds[number] if kinds else inner[0])
            for number, one in enumerate(raw)
        ]
    return raw


def within(place: str, raw: Any, kind: Any) -> Any:
    try:
        return spelled(raw, kind)
    except _Stray as stray:
        stray.place.append(place)
        raise


def of_fields(raw: dict[str, Any], kind: Any) -> dict[str, Any]:
    try:
        row = respelled(raw, kind)
    except ValueError as error:
        raise _Stray(f": {error}") from None
    known = fields_of(kind)
    if not known.keys() >= row.keys():
        name = next(one for one in row if one not in known)
        stray = _Stray(" is not known")
        stray.place.append(f".{name}")
        raise stray
    deeper = {
        name: within(f".{name}", row[name], inner)
        for name, inner in deeper_fields(kind)
        if row.get(name)
    }
    return {**row, **deeper} if deeper else row


@cache
def fields_of(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


@cache
def deeper_fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    """The fields that have names in them."""
    return tuple(
        (name, inner) for name, inner in fields_of(kind).items() if has_names(inner)
    )


@cache
def shape(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a type is made of: (list, set, table or union; of which types)."""
    return typing.get_origin(kind), typing.get_args(kind)


@cache
def has_names(kind: Any) -> bool:
    """Whether there are fields anywhere in it."""
    return bool(is_dataclass(kind) or any(map(has_names, shape(kind)[1])))
