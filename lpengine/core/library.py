"""The compiled library, and what may be handed to it."""

from collections.abc import Sequence
from mmap import mmap
from typing import Any, NoReturn, TypeAlias

from lpengine.errors import UsageError

try:
    from lpengine._core import ffi, lib
except ImportError as error:
    raise ImportError("the C core is not built: run `pip install -e .`") from error

__all__ = ["Buffer", "ffi", "lib", "raise_other", "uint64s"]

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap


def uint64s(values: Sequence[int]) -> Any:
    """The values as a C array; UsageError if one does not fit."""
    try:
        return ffi.new("uint64_t[]", list(values))
    except OverflowError as error:
        raise UsageError(f"a value does not fit 64 bits: {error}") from error


def raise_other(status: int, what: str) -> NoReturn:
    """Raise for the statuses that mean the same everywhere."""
    if status == lib.LP_E_MEMORY:
        raise MemoryError
    raise UsageError(f"{what} contradicts itself")
