"""Observed pools in a file: to plan without them, or to tell others what was seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from lpengine.errors import InputError
from lpengine.package.files import Replacing, read_small
from lpengine.planner.updates.reading import convert
from lpengine.planner.updates.state import PoolState

SCHEMA: Final = "lpengine/pool-state/1"
_LARGEST = 1 << 30


class StateFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document: fields and their meaning are those of
    lpengine.planner.updates.state."""

    schema: Literal["lpengine/pool-state/1"]
    pools: tuple[PoolState, ...]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    schema: Literal["lpengine/pool-state/1"]
    pools: list[Any]


def read_states(path: Path) -> tuple[PoolState, ...]:
    """`InputError` for anything else, `NotFoundError` for nothing."""
    raw = read_small(path, _LARGEST)
    try:
        document = msgspec.json.decode(raw, type=_Document)
        return convert(document.pools, tuple[PoolState, ...], "pools")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not a state of pools: {error}",
            hint="lpengine pool plan --observed FILE writes one",
        ) from None


def write_states(states: Sequence[PoolState], path: Path) -> None:
    document = StateFile(schema=SCHEMA, pools=tuple(states))
    data = msgspec.json.format(msgspec.json.encode(document), indent=1)
    with Replacing(path, 0o600) as file:
        file.write(data + b"\n")


def json_schema() -> dict[str, Any]:
    return msgspec.json.schema(StateFile)
