"""An emulated machine's memory: buffers the C core writes and the CPUs execute."""

import mmap
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lpengine.core import Memory
from lpengine.elf import Image
from lpengine.errors import TargetError, UsageError
from lpengine.machine.base import Protection
from lpengine.machine.layout import (
    PAGE,
    Layout,
    Span,
    loaded_segments,
    page_of,
    pages_of,
)

READ, WRITE, EXECUTE = (
    Protection.READ.value,
    Protection.WRITE.value,
    Protection.EXECUTE.value,
)
_MAP_NORESERVE = 0x4000  # mmap(2) on Linux; the module names it from 3.13 on
_HLT = b"\xf4"
# jmp to the next instruction, jmp to the next page
_TWO_BLOCKS = b"\xeb\x00\xe9" + (PAGE - 7).to_bytes(4, "little")


@dataclass(frozen=True)
class Region:
    """One buffer and where it is seen."""

    span: Span
    buffer: mmap.mmap


@dataclass
class _Layer:
    """What a transaction started from: allocations, the protections of their
    pages, and the bytes of every page written since."""

    allocations: dict[int, int]
    protections: dict[int, int]
    saved: dict[int, bytes]


def _reserve(span: Span) -> Region:
    """Zeroes that take no memory until they are written."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    return Region(span, mmap.mmap(-1, span.size, flags=flags))


def pristine(image: Image, span: Span) -> bytes:
    """The bytes of `span` right after loading; zero where no segment is."""
    content = bytearray(span.size)
    for each in loaded_segments(image):
        start = max(span.start, each.virtual_address)
        end = min(span.end, each.virtual_address + each.file_size)
        if start < end:
            offset = each.offset + start - each.virtual_address
            piece = image.data[offset : offset + end - start]
            content[start - span.start : end - span.start] = piece
    return bytes(content)


class GuestMemory:
    """Pages, their protections and their contents.

    A page exists where `_protections` has it. Pages of the image and of the
    patch area are tracked: before one is first written in a transaction its
    bytes are saved, and `changed` collects all that may differ from a freshly
    loaded image. Stacks and scratch are not: they mean nothing after a call.
    """

    def __init__(self, image: Image, layout: Layout) -> None:
        self.image = image
        self.layout = layout
        self.core = Memory()
        self.changed: set[int] = set()
        self.allocations: dict[int, int] = {}
        # Grows when what a CPU cached of pages and protections is out of date.
        self.epoch = 0
        # Executable pages that a CPU may have been writing since `begin`.
        self.written_code: set[int] = set()
        self._granted = False
        self._protections: dict[int, int] = {}
        self._layers: list[_Layer] = []
        self._regions: list[Region] = []
        self._map()

    def _map(self) -> None:
        for span in self.layout.images:
            self._add(span)
            self._regions[-1].buffer[:] = pristine(self.image, span)
        for each in loaded_segments(self.image):
            for page in pages_of(each.virtual_address, each.memory_size):
                # PF_X, PF_W and PF_R are Protection's bits in another order.
                bits = (each.flags & 4) >> 2 | each.flags & 2 | (each.flags & 1) << 2
                self._protections[page] = self._protections.get(page, 0) | bits
        for span in (self.layout.patch_area, self.layout.arena):
            self._add(span)
        self._map_arena()
        self._regions.sort(key=lambda region: region.span.start)
        self._starts = [region.span.start for region in self._regions]

    def _add(self, span: Span) -> None:
        region = _reserve(span)
        self.core.add(span.start, region.buffer)
        self._regions.append(region)

    def _map_arena(self) -> None:
        # One more than the machine's CPUs: the engine has one of its own.
        cpus = range(self.layout.cpus + 1)
        stacks = [self.layout.stack(cpu) for cpu in cpus]
        scratch = [self.layout.scratch(cpu) for cpu in cpus]
        for span in (*stacks, *scratch):
            self._set(span.start, span.size, READ | WRITE)
        ends = self.layout.return_pages
        self._set(ends.start, ends.size, EXECUTE)
        offset = ends.start - self.layout.arena.start
        content = _TWO_BLOCKS + _HLT * (ends.size - len(_TWO_BLOCKS))
        self._regions[-1].buffer[offset : offset + ends.size] = content

    def _set(self, address: int, size: int, protection: int) -> None:
        for page in pages_of(address, size):
            self._protections[page] = protection

    @property
    def regions(self) -> tuple[Region, ...]:
        return tuple(self._regions)

    def _locate(self, address: int, size: int) -> tuple[mmap.mmap, int]:
        """The buffer and the offset in it of a range whose pages all exist."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and size >= 0:
            region = self._regions[index]
            if address + size <= region.span.end and all(
                page in self._protections for page in pages_of(address, size)
            ):
                return region.buffer, address - region.span.start
        raise TargetError(
            f"no memory at {address:#x}, {size} bytes",
            cause="memory-range",
            errno="EFAULT",
        )

    def read(self, address: int, size: int) -> bytes:
        """TargetError (EFAULT) where a byte of the range does not exist."""
        buffer, offset = self._locate(address, size)
        return buffer[offset : offset + size]

    def write(self, address: int, data: bytes) -> None:
        """Regardless of protections; TargetError (EFAULT) as `read`."""
        buffer, offset = self._locate(address, len(data))
        self.about_to_write(address, len(data))
        buffer[offset : offset + len(data)] = data

    def require(self, address: int, size: int) -> None:
        """TargetError (EFAULT) where a byte of the range does not exist."""
        self._locate(address, size)

    def exists(self, address: int) -> bool:
        return page_of(address) in self._protections

    def protection(self, address: int) -> int:
        """The bits of `Protection` for a page, 0 where there is none."""
        return self._protections.get(page_of(address), 0)

    def about_to_write(self, address: int, size: int) -> None:
        """Save what the range holds, for `rollback` and `changes`."""
        if address in self.layout.arena:
            return
        for page in pages_of(address, size):
            self._save(page)

    def _save(self, page: int) -> None:
        self.changed.add(page)
        if self._layers and page not in self._layers[-1].saved:
            self._layers[-1].saved[page] = self._page(page)

    def _page(self, page: int) -> bytes:
        region = self._regions[bisect_right(self._starts, page) - 1]
        offset = page - region.span.start
        return region.buffer[offset : offset + PAGE]

    def _restore_page(self, page: int, content: bytes) -> None:
        region = self._regions[bisect_right(self._starts, page) - 1]
        offset = page - region.span.start
        region.buffer[offset : offset + PAGE] = content

    def grant(self, page: int, access: int) -> int:
        """What a CPU may cache about a page that it is about to access; 0 = fault.

        Write permission is withheld until the first write, so that the page's
        content can be saved just before it.
        """
        bits = self._protections.get(page, 0)
        if not bits & access:
            return 0
        if page in self.layout.arena:
            return bits
        if access == WRITE:
            self._save(page)
        writable = self._layers[-1].saved if self._layers else self.changed
        if page not in writable:
            return bits & ~WRITE
        self._granted = True
        if bits & EXECUTE:
            self.written_code.add(page)
        return bits

    def protect(self, address: int, size: int, protection: Protection) -> None:
        """For pages inside one allocation. UsageError for writable and executable."""
        if Protection.WRITE in protection and Protection.EXECUTE in protection:
            raise UsageError("memory is either writable or executable, never both")
        if not any(
            start <= address and address + size <= start + length
            for start, length in self.allocations.items()
        ):
            raise TargetError(
                f"{address:#x}, {size} bytes, is not inside one allocation",
                cause="memory-range",
                errno="EFAULT",
            )
        self._set(address, size, protection.value)
        self.epoch += 1

    def allocate(self, size: int) -> int:
        """Zeroed pages, first fit, an unmapped page behind each run."""
        if size <= 0:
            raise UsageError(f"cannot allocate {size} bytes")
        size = -page_of(-size)
        for start, end in self._gaps():
            if end - start >= size + PAGE:
                self.allocations[start] = size
                self._set(start, size, READ | WRITE)
                return start
        raise TargetError(
            f"no room for {size} bytes within reach of the image",
            cause="out-of-memory",
            errno="ENOMEM",
        )

    def free(self, address: int) -> None:
        """TargetError (EFAULT) where `address` does not start an allocation."""
        size = self.allocations.get(address)
        if size is None:
            raise TargetError(
                f"no allocation starts at {address:#x}",
                cause="memory-range",
                errno="EFAULT",
            )
        self.write(address, bytes(size))
        del self.allocations[address]
        for page in pages_of(address, size):
            del self._protections[page]
        self.epoch += 1

    def _gaps(self) -> Iterator[tuple[int, int]]:
        start = self.layout.patch_area.start
        for taken in sorted(self.allocations):
            yield start, taken
            start = taken + self.allocations[taken] + PAGE
        yield start, self.layout.patch_area.end

    @property
    def largest_free(self) -> int:
        """Bytes of the largest run that `allocate` could give."""
        return max(0, *(end - start - PAGE for start, end in self._gaps()))

    def patch_protections(self) -> dict[int, int]:
        """Page to protection, for all allocated pages."""
        return {
            page: self._protections[page]
            for start, size in self.allocations.items()
            for page in pages_of(start, size)
        }

    def begin(self) -> None:
        """Start a transaction, or one inside another."""
        allocations, protections = dict(self.allocations), self.patch_protections()
        self._layers.append(_Layer(allocations, protections, {}))
        self.written_code.clear()
        if self._granted:
            self._granted = False
            self.epoch += 1

    def dirty(self) -> bool:
        """Whether anything differs from the start of the innermost transaction."""
        before = self._layers[-1]
        return (
            self.allocations != before.allocations
            or self.patch_protections() != before.protections
            or any(self._page(page) != old for page, old in before.saved.items())
        )

    def commit(self) -> None:
        """End the innermost transaction; the one around it can still undo it."""
        done = self._layers.pop()
        if self._layers:
            self._layers[-1].saved = done.saved | self._layers[-1].saved

    def rollback(self) -> tuple[int, ...]:
        """Restore the start of the innermost transaction; the pages restored."""
        before = self._layers.pop()
        for page, content in before.saved.items():
            self._restore_page(page, content)
        for page in self.patch_protections():
            del self._protections[page]
        self.allocations = before.allocations
        self._protections.update(before.protections)
        self.epoch += 1
        return tuple(before.saved)

    def changes(self) -> dict[int, bytes]:
        """Every page that differs from a freshly loaded machine, with its bytes."""
        found = {}
        for page in sorted(self.changed):
            content = self._page(page)
            if content != pristine(self.image, Span(page, page + PAGE)):
                found[page] = content
        return found

    def adopt(
        self,
        allocations: Mapping[int, int],
        protections: Mapping[int, int],
        pages: Mapping[int, bytes],
    ) -> None:
        """Put a freshly loaded machine into a stored state."""
        self.allocations = dict(allocations)
        self._protections.update(protections)
        for page, content in pages.items():
            self.changed.add(page)
            self._restore_page(page, content)
        self.epoch += 1
