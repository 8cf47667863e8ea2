"""Unpacks what distributions pack, never beyond a limit."""

import lzma
import zlib
from collections.abc import Callable

import zstandard

from lpengine.package.frames import LARGEST_WINDOW

_LARGEST_LZMA = 256 << 20


class UnpackError(Exception):
    """It is damaged, or larger than it may be."""


def unpack(packed: bytes, largest: int) -> bytes:
    """What was packed by gzip, xz or zstd; anything else as it is."""
    unpacker = next(
        (each for magic, each in _UNPACKERS.items() if packed.startswith(magic)), None
    )
    try:
        raw = unpacker(packed, largest + 1) if unpacker else packed
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise UnpackError(f"damaged: {error}") from None
    if len(raw) > largest:
        raise UnpackError(f"unpacks to more than {largest} bytes")
    return raw


def _gunzip(packed: bytes, limit: int) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(packed, limit)


def _unxz(packed: bytes, limit: int) -> bytes:
    return lzma.LZMADecompressor(memlimit=_LARGEST_LZMA).decompress(packed, limit)


def _unzstd(packed: bytes, limit: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
    with decompressor.stream_reader(packed) as stream:
        return stream.read(limit)


_UNPACKERS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"\x1f\x8b": _gunzip,
    b"\xfd7zXZ\x00": _unxz,
    b"\x28\xb5\x2f\xfd": _unzstd,
}
