"""Where instructions begin and end, and where their fields are."""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from lpengine.core.library import Buffer, ffi, lib, uint64s
from lpengine.errors import UsageError

_RECORD = Struct("<I10B2x")
_SHORTEST_ON_AVERAGE = 3

NO_MAP = 0xFF


class Decoded(NamedTuple):
    """One instruction's layout. Places count from its first byte and mean nothing
    where the size beside them is 0. `map` is 0 for opcodes of one byte, 1 behind 0f,
    2 and 3 behind 0f 38 and 0f 3a, NO_MAP for a byte that begins no instruction."""

    offset: int
    size: int
    opcode_at: int
    map: int
    opcode: int
    modrm: int
    flags: int
    displacement_at: int
    displacement_size: int
    immediate_at: int
    immediate_size: int

    @property
    def end(self) -> int:
        return self.offset + self.size

    @property
    def is_relative(self) -> bool:
        """A jump or call by a distance, which is its immediate."""
        return bool(self.flags & lib.LP_RELATIVE)

    @property
    def is_rip_relative(self) -> bool:
        return bool(self.flags & lib.LP_RIP_RELATIVE)


def decode(code: Buffer) -> tuple[Decoded, ...]:
    """The instructions of `code`; they cover all of it."""
    raw = ffi.from_buffer("uint8_t[]", code)
    count = ffi.new("size_t *")
    room = len(raw) // _SHORTEST_ON_AVERAGE + 1
    while True:
        found = ffi.new("struct lp_instruction[]", room)
        if lib.lp_decode(raw, len(raw), found, room, count) != lib.LP_OK:
            raise UsageError(f"{len(raw)} bytes of code are too many")
        if count[0] <= room:
            break
        room = count[0]
    used = ffi.buffer(found, count[0] * _RECORD.size)
    return tuple(map(Decoded._make, _RECORD.iter_unpack(used)))


def field_ends(code: Buffer, fields: Sequence[int]) -> tuple[int, ...]:
    """Where the instructions end that hold the bytes at these offsets, which ascend:
    a processor counts a relative address from there."""
    if not fields:
        return ()
    raw = ffi.from_buffer("uint8_t[]", code)
    ends = ffi.new("uint64_t[]", len(fields))
    wanted = uint64s(fields)
    if lib.lp_field_ends(raw, len(raw), wanted, len(fields), ends) != lib.LP_OK:
        raise UsageError(f"fields outside of {len(raw)} bytes of code, or in disorder")
    return tuple(ends[0 : len(fields)])
