"""Function calls by the System V ABI for x86-64 (psABI 3.2.3): arguments to
registers, stack and scratch memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack
from typing import TypeAlias

from lpengine.errors import UsageError
from lpengine.machine.layout import Span

Argument: TypeAlias = int | str | bytes | bytearray

REGISTER_ARGUMENTS = 6
_ALIGNMENT = 16
_WORD = (1 << 64) - 1


@dataclass(frozen=True)
class Frame:
    """What a call needs: `registers` in the order rdi rsi rdx rcx r8 r9, `stack`
    from the stack pointer up, `scratch` from the scratch area's start, and the
    bytearrays to copy back with their offsets in it."""

    registers: tuple[int, ...]
    stack_pointer: int
    stack: bytes
    scratch: bytes
    copied_back: tuple[tuple[bytearray, int], ...]


def build_frame(
    arguments: Sequence[Argument], return_address: int, stack_top: int, scratch: Span
) -> Frame:
    """Strings are passed as pointers to NUL-terminated UTF-8, bytes and bytearrays
    as pointers to a copy. UsageError for what does not fit or is no argument."""
    content = bytearray()
    copied_back = []
    values = []
    for argument in arguments:
        if isinstance(argument, int):
            values.append(_word(argument))
            continue
        offset = len(content)
        content += _content(argument)
        content += bytes(-len(content) % _ALIGNMENT)
        values.append(scratch.start + offset)
        if isinstance(argument, bytearray):
            copied_back.append((argument, offset))
    if len(content) > scratch.size:
        raise UsageError(
            f"arguments take {len(content)} bytes, there is room for {scratch.size}"
        )
    pointer, stack = _stack(values[REGISTER_ARGUMENTS:], return_address, stack_top)
    return Frame(
        tuple(values[:REGISTER_ARGUMENTS]),
        pointer,
        stack,
        bytes(content),
        tuple(copied_back),
    )


def _word(value: int) -> int:
    if not -(1 << 63) <= value <= _WORD:
        raise UsageError(f"argument {value:#x} does not fit 64 bits")
    return value & _WORD


def _content(argument: str | bytes | bytearray) -> bytes:
    if isinstance(argument, str):
        return argument.encode() + b"\0"
    if isinstance(argument, (bytes, bytearray)):
        return bytes(argument)
    raise UsageError(f"cannot pass a {type(argument).__name__} to a function")


def _stack(values: list[int], return_address: int, top: int) -> tuple[int, bytes]:
    """The stack pointer at entry is 8 below a multiple of 16 (psABI 3.2.2)."""
    if len(values) > 256:
        raise UsageError(f"{len(values) + REGISTER_ARGUMENTS} arguments are too many")
    size = 8 * len(values)
    pointer = (top - size) // _ALIGNMENT * _ALIGNMENT - 8
    return pointer, pack(f"<{1 + len(values)}Q", return_address, *values)
