"""Zstandard frames (RFC 8878), found without unpacking anything.

A bundle is a row of frames. Each must say how much it unpacks to, so that a reader
knows what it is in for before it unpacks a byte, and can skip what it does not want.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import zstandard

# How far back a frame may refer: what unpacking one costs in memory.
LARGEST_WINDOW = 8 << 20
CHUNK = 128 << 10

# Compression is part of the format: the same content gives the same bytes. Level 3
# is within 6 % of what level 9 saves on a kernel, and five times as fast.
_LEVEL = 3
_MAGIC = b"\x28\xb5\x2f\xfd"
_HEADER_MIN, _HEADER_MAX = 6, 14
# Blocks hold 128 KiB, or a few KiB where the compressor splits them: many more
# blocks than that are there to keep a reader busy.
_SMALLEST_BLOCK = 2048

ReadAt = Callable[[int, int], bytes]
"""(size, offset) -> the bytes there, fewer at the end of the file (os.pread)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame from `start` to `end` of a file; `size` is what it unpacks to."""

    start: int
    end: int
    size: int


class FrameError(Exception):
    """These bytes are no frame as bundles have them."""


def find_frame(read_at: ReadAt, start: int, largest: int) -> Frame:
    """The frame that starts there and unpacks to at most `largest` bytes.
    FrameError for anything else."""
    header = read_at(_HEADER_MAX, start)
    if not header:
        raise FrameError("truncated")
    if header[:4] != _MAGIC:
        raise FrameError("not a bundle, or damaged")
    if len(header) < _HEADER_MIN:
        raise FrameError("truncated")
    size, length = _parse_header(header)
    if size > largest:
        raise FrameError(f"a frame of {size} bytes where {largest} are most")
    end = _skip_blocks(read_at, start + length, size)
    return Frame(start, end, size)


def _parse_header(header: bytes) -> tuple[int, int]:
    """(size of the content, length of the header)."""
    descriptor = header[4]
    single_segment = bool(descriptor & 0x20)
    if descriptor & 0x0F:
        raise FrameError("a checksum, a dictionary or a reserved bit in a frame")
    if not single_segment and _window_size(header[5]) > LARGEST_WINDOW:
        raise FrameError(f"a frame needs more than {LARGEST_WINDOW} bytes to unpack")
    width = (1 if single_segment else 0, 2, 4, 8)[descriptor >> 6]
    if not width:
        raise FrameError("a frame does not say how much it unpacks to")
    start = 5 if single_segment else 6
    field = header[start : start + width]
    if len(field) < width:
        raise FrameError("truncated")
    size = int.from_bytes(field, "little") + (256 if width == 2 else 0)
    if single_segment and size > LARGEST_WINDOW:
        raise FrameError(f"a frame needs more than {LARGEST_WINDOW} bytes to unpack")
    return size, start + width


def _window_size(descriptor: int) -> int:
    base = 1 << (10 + (descriptor >> 3))
    return base + base // 8 * (descriptor & 7)


def _skip_blocks(read_at: ReadAt, position: int, size: int) -> int:
    """The end of the blocks that start there."""
    for _ in range(size // _SMALLEST_BLOCK + 16):
        header = int.from_bytes(field := read_at(3, position), "little")
        if len(field) < 3:
            raise FrameError("truncated")
        last, kind, length = header & 1, header >> 1 & 3, header >> 3
        if kind == 3:
            raise FrameError("a reserved kind of block in a frame")
        # An RLE block repeats its one byte `length` times.
        position += 3 + (1 if kind == 1 else length)
        if last:
            if not read_at(1, position - 1):
                raise FrameError("truncated")
            return position
    raise FrameError("a frame of blocks too small")


def unpack(read_at: ReadAt, frame: Frame) -> Iterator[bytes]:
    """The content, exactly `frame.size` bytes, in chunks. FrameError where the frame
    is damaged or holds anything else."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
    span = cast(BinaryIO, _Span(read_at, frame))
    with decompressor.stream_reader(span, read_size=CHUNK) as stream:
        left = frame.size
        try:
            while left:
                chunk = stream.read(min(left, CHUNK))
                if not chunk:
                    raise FrameError("damaged")
                left -= len(chunk)
                yield chunk
            if stream.read(1):
                raise FrameError("more in a frame than it says")
        except zstandard.ZstdError as error:
            raise FrameError(f"damaged: {error}") from None


class _Span:
    """The bytes of one frame as a file, as far as zstandard asks for one."""

    def __init__(self, read_at: ReadAt, frame: Frame) -> None:
        self.read_at = read_at
        self.position = frame.start
        self.end = frame.end

    def read(self, size: int) -> bytes:
        data = self.read_at(min(size, self.end - self.position), self.position)
        self.position += len(data)
        return data


def pack(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The frame with that content. FrameError where it is not `size` bytes."""
    compressor = zstandard.ZstdCompressor(
        level=_LEVEL, write_checksum=False, write_content_size=True, write_dict_id=False
    ).compressobj(size=size)
    try:
        for chunk in chunks:
            if packed := compressor.compress(chunk):
                yield packed
        yield compressor.flush()
    except zstandard.ZstdError:
        raise FrameError("not of the size that was announced") from None
