"""Where things lie in an emulated machine's address space."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lpengine.elf import Image, Segment
from lpengine.elf.constants import PF_X, PT_LOAD
from lpengine.errors import ElfError, InputError

PAGE = 4096
MAX_CPUS = 64

# Xen's STACK_SIZE on x86; its get_cpu_info() finds per-CPU data by rounding the
# stack pointer up to this (xen/arch/x86/include/asm/current.h).
STACK_SIZE = 32 * 1024
# The part of a stack above its first frame, zero at every call: room for Xen's
# struct cpu_info, 0x100 bytes in Xen 4.17 with the saved guest registers.
STACK_RESERVED = 1024
SCRATCH_SIZE = 1 << 20

# A near jump reaches 2 GiB; with half of it, code anywhere in the patch area
# reaches anything in the image and in the rest of the patch area.
_REACH = 1 << 30
_LARGE_PAGE = 2 << 20
_ARENA_DISTANCE = 8 << 30
_ARENA_STRIDE = 2 * STACK_SIZE
_SCRATCH_OFFSET = 64 << 20
_RETURN_OFFSET = 256 << 20
_CANONICAL_LOW = 1 << 47


@dataclass(frozen=True)
class Span:
    """Addresses from `start` up to, but not including, `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end


@dataclass(frozen=True)
class Layout:
    """The spans of one machine. `images` are the image's own, `text` the one of
    them with the most code; the arena is what the engine adds for calls."""

    images: tuple[Span, ...]
    text: Span
    patch_area: Span
    arena: Span
    cpus: int

    def stack(self, cpu: int) -> Span:
        """A vCPU's stack; as much below it is never mapped."""
        start = self.arena.start + cpu * _ARENA_STRIDE + STACK_SIZE
        return Span(start, start + STACK_SIZE)

    def scratch(self, cpu: int) -> Span:
        """Where a vCPU's calls find the strings and buffers passed to them."""
        start = self.arena.start + _SCRATCH_OFFSET + cpu * SCRATCH_SIZE
        return Span(start, start + SCRATCH_SIZE)

    @property
    def return_pages(self) -> Span:
        """Two pages: calls return to the second. The emulator looks at the page
        before the one where it ends, so there must be one; it holds the blocks
        that a new engine runs first."""
        start = self.arena.start + _RETURN_OFFSET
        return Span(start, start + 2 * PAGE)

    @property
    def return_address(self) -> int:
        return self.return_pages.start + PAGE


def page_of(address: int) -> int:
    return address & -PAGE


def pages_of(address: int, size: int) -> range:
    """The addresses of the pages that hold [address, address + size)."""
    return range(page_of(address), address + size, PAGE)


def loaded_segments(image: Image) -> tuple[Segment, ...]:
    return tuple(
        each for each in image.segments if each.type == PT_LOAD and each.memory_size
    )


def lay_out(image: Image, cpus: int) -> Layout:
    """The layout for an image. InputError where it has nothing to load or a near
    jump would not reach all of it, ElfError where a segment cannot be."""
    segments = sorted(loaded_segments(image), key=lambda each: each.virtual_address)
    if not segments:
        raise InputError(
            f"{image.path}: has no segment to load",
            hint="a linked image is needed, such as xen-syms or vmlinux",
        )
    for each in segments:
        _check(image, each)
    images = tuple(_clusters(segments))
    text = max(images, key=lambda span: _code_in(span, segments))
    patch_area, arena = _patch_area(images, text), _arena(images, text)
    if any(span.size > _REACH // 2 for span in images) or patch_area.size <= 0:
        raise InputError(f"{image.path}: a segment is larger than 512 MiB")
    if not arena:
        raise InputError(f"{image.path}: leaves no address space for stacks")
    return Layout(images, text, patch_area, arena, cpus)


def _check(image: Image, segment: Segment) -> None:
    end = segment.offset + segment.file_size
    if end > len(image.data) or segment.file_size > segment.memory_size:
        what = f"segment {segment.index} has no {segment.file_size} bytes"
        raise ElfError(image.path, segment.offset, what)
    if segment.end > 1 << 64:
        what = f"segment {segment.index} ends at {segment.end:#x}"
        raise ElfError(image.path, segment.offset, what)


def _patch_area(images: Sequence[Span], text: Span) -> Span:
    """From behind the text to the next image span, or as far as one may go."""
    start = -(-text.end // _LARGE_PAGE) * _LARGE_PAGE
    above = (span.start for span in images if span.start >= text.end)
    return Span(start, min(text.start + _REACH, _limit(text), *above))


def _limit(text: Span) -> int:
    """The end of the half of the address space that the text is in."""
    return _CANONICAL_LOW if text.start < _CANONICAL_LOW else 1 << 64


def _clusters(segments: Sequence[Segment]) -> Iterator[Span]:
    """Segments in address order, joined where less than a large page apart."""
    current: Span | None = None
    for each in segments:
        start, end = page_of(each.virtual_address), -page_of(-each.end)
        if current and start - current.end < _LARGE_PAGE:
            current = Span(current.start, max(current.end, end))
        else:
            if current:
                yield current
            current = Span(start, end)
    if current:
        yield current


def _code_in(span: Span, segments: Sequence[Segment]) -> int:
    return sum(
        each.memory_size
        for each in segments
        if each.flags & PF_X and each.virtual_address in span
    )


def _arena(images: Sequence[Span], text: Span) -> Span | None:
    """A free span far from the image, in the same half of the address space."""
    base = text.start & -(1 << 30)
    for step in (1, -1, 2, -2, 3, -3):
        start = base + step * _ARENA_DISTANCE
        span = Span(start, start + (1 << 30))
        clear = all(span.end <= i.start - _REACH or i.end <= span.start for i in images)
        if start > 0 and span.end < _limit(text) and clear:
            return span
    return None
