"""Decodes the symbol table that a kernel carries for itself (kernel/kallsyms.c).

The tables have no headers and their order differs between releases, also inside
6.1, so they are found by what they look like: each candidate has to decode as a
whole and to agree with the others.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lpengine.errors import InputError

_TOKENS = 256
_DIGITS = b"\0".join(bytes((each,)) for each in b"0123456789") + b"\0"
_FIRST_DIGIT = ord("0")
_INDEX = struct.Struct(f"<{_TOKENS}H")
# Tables are aligned to 8 bytes at most.
_PADDING = 16
_TYPES = frozenset(b"AaBbCcDdGgIiNnRrSsTtUuVvWw?-")
_FEWEST, _MOST = 256, 1 << 22
_MARKER_EVERY = 256
_LONG = 0x80
_KERNEL_HALF = 1 << 63
_ADDRESSES = (1 << 64) - 1


class Entry(NamedTuple):
    """One symbol: nm's type letter, lowercase for statics."""

    name: str
    address: int
    type: str

    @property
    def is_global(self) -> bool:
        return self.type.isupper()


@dataclass(frozen=True)
class _Tokens:
    """The 256 strings that names are packed with, and where their tables end."""

    texts: tuple[bytes, ...]
    start: int
    end: int


@dataclass(frozen=True)
class _Names:
    """Packed names: `start` is where their count is, `end` behind the last."""

    start: int
    count: int
    end: int


def decode_kallsyms(
    data: bytes, anchor: str, code: tuple[int, int]
) -> tuple[Entry, ...]:
    """The symbols in the table's order (by address), from the read-only data that
    holds the tables.

    `anchor` is the name of a symbol that lies within `code`, a range of addresses:
    the reading that puts it there is the right one. InputError where there is no
    such table.
    """
    for tokens in _token_tables(data):
        for names in _name_tables(data, tokens):
            texts = tuple(_texts(data, tokens, names))
            anchors = [at for at, text in enumerate(texts) if text[1:] == anchor]
            if not anchors:
                continue
            for addresses in _address_tables(data, tokens, names):
                if code[0] <= addresses[anchors[0]] < code[1]:
                    return tuple(
                        Entry(text[1:], address, text[0])
                        for text, address in zip(texts, addresses, strict=True)
                    )
    raise InputError(
        "the kernel holds no symbol table that can be read",
        hint="it has to be built with CONFIG_KALLSYMS",
    )


def _token_tables(data: bytes) -> Iterator[_Tokens]:
    """kallsyms_token_table, which is confirmed by kallsyms_token_index behind it:
    the offset of each token. Only that says where the first token begins, since
    anything may stand before it."""
    for found in re.finditer(re.escape(_DIGITS), data):
        second = found.start()
        for _ in range(_FIRST_DIGIT - 1):
            second = data.rfind(b"\0", 0, max(second - 1, 0)) + 1
        starts = _string_starts(data, second, _TOKENS)
        if len(starts) < _TOKENS:
            continue
        for at in range(starts[-1], starts[-1] + _PADDING):
            index = _index_at(data, at)
            if index and _agree(index, starts):
                yield _tokens(data, second - index[1], index, at + _INDEX.size)
                break


def _string_starts(data: bytes, start: int, count: int) -> list[int]:
    """Where each of so many strings begins, one behind the other; the last is
    where they end."""
    starts = [start]
    while len(starts) < count:
        end = data.find(b"\0", starts[-1])
        if end < 0:
            break
        starts.append(end + 1)
    return starts


def _index_at(data: bytes, at: int) -> tuple[int, ...]:
    return _INDEX.unpack_from(data, at) if at + _INDEX.size <= len(data) else ()


def _agree(index: tuple[int, ...], starts: list[int]) -> bool:
    """Whether tokens 1 to 255 are where the index says, token 0 before them."""
    if index[0] != 0 or not 0 < index[1] <= starts[0]:
        return False
    places = (start - starts[0] for start in starts[:-1])
    return all(
        each - index[1] == place for each, place in zip(index[1:], places, strict=True)
    )


def _tokens(data: bytes, start: int, index: tuple[int, ...], end: int) -> _Tokens:
    texts = tuple(
        data[start + each : data.index(b"\0", start + each)] for each in index
    )
    return _Tokens(texts, start, end)


def _name_tables(data: bytes, tokens: _Tokens) -> Iterator[_Names]:
    """kallsyms_num_syms followed by kallsyms_names, confirmed by kallsyms_markers
    behind them: the offset of every 256th name."""
    letters = frozenset(
        number for number, text in enumerate(tokens.texts) if text[:1] in _LETTERS
    )
    words = memoryview(data)[: tokens.start // 8 * 8].cast("Q")
    plausible = range(_FEWEST, _MOST)
    for index in range(len(words) - 2, 0, -1):
        count = words[index]
        if count not in plausible:
            continue
        at = _names_end(data, index * 8 + 8, count, letters)
        if at is not None and _has_markers(data, index * 8 + 8, at, count):
            yield _Names(index * 8, count, at)


_LETTERS = frozenset(bytes((each,)) for each in _TYPES)


def _name_starts(data: bytes, at: int, count: int) -> Iterator[tuple[int, int]]:
    """Where each packed name begins and ends. Lengths of 128 and more take two
    bytes (since 6.1)."""
    for _ in range(count):
        size = data[at]
        at += 1
        if size & _LONG:
            size = size & (_LONG - 1) | data[at] << 7
            at += 1
        yield at, at + size
        at += size


def _names_end(data: bytes, at: int, count: int, letters: frozenset[int]) -> int | None:
    """Where the names end, None where one is empty or does not begin with the
    letter of a type."""
    end = at
    try:
        for start, end in _name_starts(data, at, count):
            if start == end or data[start] not in letters:
                return None
    except IndexError:
        return None
    return end


def _has_markers(data: bytes, start: int, end: int, count: int) -> bool:
    offsets = [
        begin
        for number, (begin, _) in enumerate(_name_starts(data, start, count))
        if number % _MARKER_EVERY == 0
    ]
    offsets = [each - (2 if data[each - 1] & _LONG else 1) - start for each in offsets]
    for format_ in ("I", "Q"):  # 32 bits since 4.20
        wanted = struct.pack(f"<{len(offsets)}{format_}", *offsets)
        if data.find(wanted, end, end + 8 + len(wanted)) >= 0:
            return True
    return False


def _texts(data: bytes, tokens: _Tokens, names: _Names) -> Iterator[str]:
    texts = tokens.texts
    for start, end in _name_starts(data, names.start + 8, names.count):
        packed = b"".join([texts[each] for each in data[start:end]])
        yield packed.decode("utf-8", "backslashreplace")


def _address_tables(
    data: bytes, tokens: _Tokens, names: _Names
) -> Iterator[tuple[int, ...]]:
    """Every reading of what stands where addresses may: 32-bit offsets with their
    base before the count (to 6.3) or behind the tokens (since 6.4), or whole
    addresses before the count."""
    count, size = names.count, names.count * 4
    padded = (size + 7) & ~7
    before = names.start - 8 - padded
    after = (tokens.end + 7) & ~7
    for offsets_at, base_at in ((before, names.start - 8), (after, after + padded)):
        if offsets_at < 0 or base_at + 8 > len(data):
            continue
        (base,) = struct.unpack_from("<Q", data, base_at)
        if base >= _KERNEL_HALF:
            raw = data[offsets_at : offsets_at + size]
            yield from _relative(raw, base, count)
    if names.start >= 8 * count:
        yield struct.unpack_from(f"<{count}Q", data, names.start - 8 * count)


def _relative(raw: bytes, base: int, count: int) -> Iterator[tuple[int, ...]]:
    """CONFIG_KALLSYMS_ABSOLUTE_PERCPU first: there offsets of the kernel are
    negative, and the others are addresses as they are."""
    signed = struct.unpack(f"<{count}i", raw)
    if any(each < 0 for each in signed):
        yield tuple(
            each if each >= 0 else (base - 1 - each) & _ADDRESSES for each in signed
        )
    yield tuple((base + each) & _ADDRESSES for each in struct.unpack(f"<{count}I", raw))
