"""Where instructions begin and end, and where their fields are."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, NamedTuple, overload

from lpengine.core.library import Buffer, ffi, lib, uint64s
from lpengine.errors import UsageError

_RECORD = Struct("<I10B2x")
_WORDS = _RECORD.size // 4
_SHORTEST_ON_AVERAGE = 3
_RELATIVE, _RIP_RELATIVE = int(lib.LP_RELATIVE), int(lib.LP_RIP_RELATIVE)

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
        return bool(self.flags & _RELATIVE)

    @property
    def is_rip_relative(self) -> bool:
        return bool(self.flags & _RIP_RELATIVE)


class DecodedCode(Sequence[Decoded]):
    """The instructions of some code, made when they are looked at: functions of a
    hypervisor have up to forty thousand."""

    def __init__(self, records: Any, count: int) -> None:
        self._records = memoryview(ffi.buffer(records, count * _RECORD.size))
        self._count = count
        # The first word of each record is where the instruction begins.
        self._starts = self._records.cast("I")[::_WORDS] if count else memoryview(b"")

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Decoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Decoded]: ...
    def __getitem__(self, index: int | slice) -> Decoded | list[Decoded]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(self._count))]
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(index)
        return Decoded._make(_RECORD.unpack_from(self._records, place * _RECORD.size))

    def __iter__(self) -> Iterator[Decoded]:
        return map(Decoded._make, _RECORD.iter_unpack(self._records))

    def index_of(self, offset: int) -> int:
        """Which instruction holds the byte at an offset."""
        return bisect_right(self._starts, offset) - 1

    def begins_at(self, offset: int) -> int | None:
        """Which instruction begins at an offset, if one does."""
        index = self.index_of(offset)
        found = 0 <= index < self._count and self._starts[index] == offset
        return index if found else None


def decode(code: Buffer) -> DecodedCode:
    """The instructions of `code`; they cover all of it."""
    raw = ffi.from_buffer("uint8_t[]", code)
    count = ffi.new("size_t *")
    room = len(raw) // _SHORTEST_ON_AVERAGE + 1
    while True:
        found = ffi.new("struct lp_instruction[]", room)
        if lib.lp_decode(raw, len(raw), found, room, count) != lib.LP_OK:
            raise UsageError(f"{len(raw)} bytes of code are too many")
        if count[0] <= room:
            return DecodedCode(found, count[0])
        room = count[0]


def differing_instructions(one: Buffer, two: Buffer) -> tuple[int, ...] | None:
    """The offsets of the instructions that differ in two pieces of code; None where
    the instructions themselves begin at different places."""
    left, right = (ffi.from_buffer("uint8_t[]", each) for each in (one, two))
    if len(left) != len(right):
        return None
    count = ffi.new("size_t *")
    found = ffi.new("uint64_t[]", len(left))
    status = lib.lp_differing(left, right, len(left), found, len(left), count)
    return tuple(found[0 : count[0]]) if status == lib.LP_OK else None


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
