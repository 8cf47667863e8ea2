"""How far the stack pointer is below the caller's frame at each instruction."""

import re
from collections.abc import Sequence

from lpengine.arch import x86
from lpengine.errors import UsageError

_WORD = 8
_MOVES = re.compile(r"rsp, (0x[0-9a-f]+|\d+)$")
_WRITES_FRAME = re.compile(r"(?:r|e)?(?:sp|bp)l?(?:,|$)")
# These read their first operand only.
_READERS = frozenset(("cmp", "test", "push", "call", "jmp", "bt"))
_ENDS = frozenset(("jmp", "ud2", "hlt", "int3"))


def stack_depths(instructions: Sequence[x86.Instruction]) -> tuple[int, ...]:
    """In bytes, the return address included: 8 at the first instruction.

    UsageError where it is not the same on all ways to an instruction, where it is
    not 8 on leaving, and for changes of rsp or rbp that cannot be followed.
    """
    places = {each.address: number for number, each in enumerate(instructions)}
    depths: list[int | None] = [None] * len(instructions)
    waiting = [(0, _WORD)]
    while waiting:
        number, depth = waiting.pop()
        known = depths[number]
        if known is not None:
            if known != depth:
                raise _unclear(instructions[number], "is reached with two stacks")
            continue
        depths[number] = depth
        instruction = instructions[number]
        after = depth + _change(instruction)
        leaves = instruction.is_return
        if instruction.is_branch and instruction.target is not None:
            target = places.get(instruction.target)
            if target is not None:
                waiting.append((target, after))
            else:
                leaves = True
        if leaves and depth != _WORD:
            raise _unclear(instruction, f"leaves {depth - _WORD} bytes on the stack")
        ends = instruction.is_return or instruction.mnemonic in _ENDS
        if not ends and number + 1 < len(instructions):
            waiting.append((number + 1, after))
    # What is never reached needs no frame, and gets that of the entry.
    return tuple(_WORD if depth is None else depth for depth in depths)


def _change(instruction: x86.Instruction) -> int:
    """By how many bytes it moves the stack pointer down."""
    name, operands = instruction.mnemonic, instruction.operands
    if name == "push":
        return _WORD
    if name == "pop" and not _WRITES_FRAME.match(operands):
        return -_WORD
    if name in ("sub", "add") and (found := _MOVES.match(operands)):
        size = int(found[1], 0)
        return size if name == "sub" else -size
    if name in _READERS or instruction.is_branch or instruction.is_return:
        return 0
    if _WRITES_FRAME.match(operands) or name in ("leave", "enter", "pushfq", "popfq"):
        raise _unclear(instruction, "changes rsp or rbp")
    return 0


def _unclear(instruction: x86.Instruction, why: str) -> UsageError:
    return UsageError(
        f"{instruction.text}: {why}, so that the kernel could not walk the stack",
        hint="use push, pop, sub rsp and add rsp, and leave rbp alone",
    )
