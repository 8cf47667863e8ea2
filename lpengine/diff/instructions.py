"""What single instructions of two builds have in common."""

from lpengine.core import Decoded
from lpengine.diff.shape import Instructions


def immediate(code: Instructions, index: int) -> int:
    """The immediate of an instruction, as a signed number."""
    each = code.decoded[index]
    start = each.offset + each.immediate_at
    raw = code.code[start : start + each.immediate_size]
    return int.from_bytes(raw, "little", signed=True)


def loads_constant(each: Decoded) -> bool:
    """mov of a constant into a register or to memory, or push."""
    if each.map or not each.immediate_size:
        return False
    return 0xB8 <= each.opcode <= 0xBF or each.opcode in (0xC7, 0x68, 0x6A)


def is_call(code: Instructions, index: int) -> bool:
    """Whether an instruction calls, or jumps to another function for good."""
    each = code.decoded[index]
    if each.map:
        return False
    if each.opcode == 0xFF:
        return each.modrm >> 3 & 7 in (2, 3)
    if each.opcode == 0xE9:
        return bool(code.fields_at(index))  # a call that needs no return
    return each.opcode == 0xE8


def ends(each: Decoded) -> bool:
    """Whether control does not go on to the next instruction."""
    return each.map == 0 and each.opcode in (0xC3, 0xC2, 0xCB, 0xE9, 0xEB)


def same_jump(
    before: Instructions, index: int, after: Instructions, other: int
) -> bool:
    """Whether two jumps depend on the same and lead to the same instruction."""
    left, right = before.decoded[index], after.decoded[other]
    if _condition(before, index) != _condition(after, other):
        return False
    target, twin = before.target(index), after.target(other)
    if target is None or twin is None:
        return False
    rank, other_rank = before.ranks.get(target), after.ranks.get(twin)
    if rank is None and other_rank is None:
        return target - left.end == twin - right.end
    return rank == other_rank


def _condition(code: Instructions, index: int) -> tuple[int, bytes]:
    """What decides a jump, whether its distance is near or far."""
    each = code.decoded[index]
    opcode = each.opcode
    if each.map == 1 and 0x80 <= opcode <= 0x8F:
        opcode = opcode - 0x10
    elif each.map == 0 and opcode == 0xE9:
        opcode = 0xEB
    return opcode, code.bytes_at(index)[: each.opcode_at]


def same_but_immediate(
    before: Instructions, index: int, after: Instructions, other: int
) -> bool:
    """Whether two instructions do the same, perhaps with another constant."""
    left, right = before.decoded[index], after.decoded[other]
    if (left.map, left.modrm, left.flags) != (right.map, right.modrm, right.flags):
        return False
    if left.opcode != right.opcode and {left.opcode, right.opcode} != {0x68, 0x6A}:
        return False
    return _body(before, index) == _body(after, other)


def _body(code: Instructions, index: int) -> bytes:
    """An instruction without its opcode byte and its immediate."""
    each = code.decoded[index]
    raw = code.bytes_at(index)
    if each.immediate_size:
        raw = raw[: each.immediate_at] + raw[each.immediate_at + each.immediate_size :]
    return raw[: each.opcode_at] + raw[each.opcode_at + 1 :]
