"""TOML files that people write for this host."""

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from lpengine.errors import InputError, NotFoundError
from lpengine.package.files import read_small

_LARGEST = 1 << 20

T = TypeVar("T")


class Part(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The root of all tables: what is not named is not understood."""


def load(path: Path, kind: type[T]) -> T:
    """A file as a value; one that is not there says nothing. `InputError` names what
    makes no sense."""
    try:
        text = read_small(path, _LARGEST).decode()
    except NotFoundError:
        text = ""
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {error}") from None
    try:
        return msgspec.convert(tomllib.loads(text), kind)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise InputError(f"{path}: {error}") from None
