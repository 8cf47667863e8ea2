"""Puts two sequences beside each other, in bounded time whatever they hold."""

from collections import Counter
from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

# Blocks up to the first size are compared by what runs on longest, which is what
# people see too, but may take the cube of it; up to the second by the longest common
# subsequence; larger ones only between tokens that occur once in each.
_CONTIGUOUS = 120
_THOROUGH = 250


def aligned(
    left: Sequence[Hashable], right: Sequence[Hashable]
) -> list[tuple[int, int]]:
    """Pairs of places of equal tokens, ascending in both."""
    pairs: list[tuple[int, int]] = []
    waiting = [(0, len(left), 0, len(right))]
    while waiting:
        low, high, start, end = waiting.pop()
        while low < high and start < end and left[low] == right[start]:
            pairs.append((low, start))
            low, start = low + 1, start + 1
        while low < high and start < end and left[high - 1] == right[end - 1]:
            high, end = high - 1, end - 1
            pairs.append((high, end))
        if low == high or start == end:
            continue
        longer = max(high - low, end - start)
        if longer <= _CONTIGUOUS:
            pairs += _contiguous(left, right, low, high, start, end)
        elif longer <= _THOROUGH:
            pairs += _thorough(left, right, low, high, start, end)
        else:
            waiting += _between_anchors(left, right, low, high, start, end)
    return sorted(pairs)


def _contiguous(
    left: Sequence[Hashable],
    right: Sequence[Hashable],
    low: int,
    high: int,
    start: int,
    end: int,
) -> list[tuple[int, int]]:
    matcher = SequenceMatcher(None, left[low:high], right[start:end], autojunk=False)
    return [
        (low + block.a + step, start + block.b + step)
        for block in matcher.get_matching_blocks()
        for step in range(block.size)
    ]


def _thorough(
    left: Sequence[Hashable],
    right: Sequence[Hashable],
    low: int,
    high: int,
    start: int,
    end: int,
) -> list[tuple[int, int]]:
    """As many pairs as there can be: the longest common subsequence, by its table."""
    width = end - start
    lengths = [[0] * (width + 1)]
    for at in range(high - 1, low - 1, -1):
        below, row = lengths[-1], [0] * (width + 1)
        token = left[at]
        for other in range(width - 1, -1, -1):
            if token == right[start + other]:
                row[other] = below[other + 1] + 1
            else:
                row[other] = max(below[other], row[other + 1])
        lengths.append(row)
    lengths.reverse()
    pairs: list[tuple[int, int]] = []
    at = other = 0
    while at < high - low and other < width:
        if left[low + at] == right[start + other]:
            pairs.append((low + at, start + other))
            at, other = at + 1, other + 1
        elif lengths[at + 1][other] >= lengths[at][other + 1]:
            at += 1
        else:
            other += 1
    return pairs


def _between_anchors(
    left: Sequence[Hashable],
    right: Sequence[Hashable],
    low: int,
    high: int,
    start: int,
    end: int,
) -> list[tuple[int, int, int, int]]:
    """The parts in front of, at and behind tokens that are unique in both."""
    once = _once(left, low, high)
    again = _once(right, start, end)
    common = sorted((once[token], again[token]) for token in once.keys() & again.keys())
    anchors = _ascending(common)
    parts = []
    for at, other in anchors:
        parts.append((low, at, start, other))
        parts.append((at, at + 1, other, other + 1))
        low, start = at + 1, other + 1
    # Without any anchor there is nothing to hold on to: the part stays unpaired.
    if anchors:
        parts.append((low, high, start, end))
    return parts


def _once(tokens: Sequence[Hashable], low: int, high: int) -> dict[Hashable, int]:
    counts = Counter(tokens[low:high])
    return {tokens[at]: at for at in range(low, high) if counts[tokens[at]] == 1}


def _ascending(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest run of pairs, sorted by their first, that ascends in the second
    too (patience sorting)."""
    piles: list[int] = []
    tops: list[int] = []
    before: list[int] = []
    for index, (_, value) in enumerate(pairs):
        low, high = 0, len(piles)
        while low < high:
            middle = (low + high) // 2
            if piles[middle] < value:
                low = middle + 1
            else:
                high = middle
        before.append(tops[low - 1] if low else -1)
        piles[low : low + 1] = [value]
        tops[low : low + 1] = [index]
    run: list[tuple[int, int]] = []
    at = tops[-1] if tops else -1
    while at >= 0:
        run.append(pairs[at])
        at = before[at]
    return run[::-1]
