"""Searches over megabytes: differing chunks, and addresses on a stack."""

from collections.abc import Sequence

from lpengine.core.library import Buffer, ffi, lib
from lpengine.errors import UsageError


def changed_chunks(left: Buffer, right: Buffer, chunk_size: int) -> tuple[int, ...]:
    """Which chunks of two equally long buffers differ; the last may be short."""
    one = ffi.from_buffer("uint8_t[]", left)
    two = ffi.from_buffer("uint8_t[]", right)
    if len(one) != len(two) or chunk_size <= 0:
        raise UsageError(f"cannot compare {len(one)} bytes with {len(two)}")
    room = -(-len(one) // chunk_size)
    found = ffi.new("uint64_t[]", room)
    count = ffi.new("size_t *")
    lib.lp_changed_chunks(one, two, len(one), chunk_size, found, room, count)
    return tuple(found[0 : count[0]])


def scan_stack(
    stack: Buffer, ranges: Sequence[tuple[int, int]]
) -> tuple[int, int] | None:
    """The first 8-byte word of `stack` that lies in one of the [start, end) ranges.

    Returns its byte offset and the place of that range in `ranges`, which may be
    in any order and overlap; or None. A word that merely looks like an address
    counts: a hit may be false, a miss may not.
    """
    apart = _set_apart(ranges)
    raw = ffi.from_buffer("uint8_t[]", stack)
    table = ffi.new("struct lp_range[]", [(start, end) for start, end, _ in apart])
    offset = ffi.new("uint64_t *")
    hit = ffi.new("size_t *")
    status = lib.lp_scan_stack(raw, len(raw), table, len(apart), offset, hit)
    return (offset[0], apart[hit[0]][2]) if status == lib.LP_OK else None


def _set_apart(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Sorted (start, end, index) triples over the same addresses, no two sharing."""
    apart: list[tuple[int, int, int]] = []
    covered = 0
    for start, end, index in sorted((s, e, i) for i, (s, e) in enumerate(ranges)):
        if max(start, covered) < end:
            apart.append((max(start, covered), end, index))
            covered = end
    return apart
