"""Memory that the engine patches: buffers, at the addresses the machine sees."""

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lpengine.core.library import Buffer, ffi
from lpengine.errors import TargetError, UsageError

_ADDRESS_END = 1 << 64


@dataclass(frozen=True, order=True)
class _Window:
    """`size` bytes of `view`, seen at `address`; `bytes` is their cdata."""

    address: int
    size: int = field(compare=False)
    view: memoryview = field(compare=False)
    bytes: Any = field(compare=False)

    @property
    def end(self) -> int:
        return self.address + self.size


class Memory:
    """Writable buffers shown at the addresses the patched machine sees.

    Windows may touch, but not overlap. A buffer is kept alive and cannot be
    resized or closed until its window is removed.
    """

    def __init__(self) -> None:
        self._windows: list[_Window] = []
        self.table: Any = ffi.new("struct lp_window[]", 0)

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """Address and size in bytes of each window, ascending."""
        return tuple((window.address, window.size) for window in self._windows)

    def add(self, address: int, buffer: Buffer) -> None:
        """Show a writable buffer at `address`; UsageError if it cannot be."""
        view = memoryview(buffer).cast("B")
        if view.readonly:
            raise UsageError(f"the memory for {address:#x} is read-only")
        if not 0 <= address < address + len(view) <= _ADDRESS_END:
            raise UsageError(f"{len(view)} bytes cannot be at {address:#x}")
        for other in self._windows:
            if address < other.end and other.address < address + len(view):
                raise UsageError(
                    f"{len(view)} bytes at {address:#x} overlap"
                    f" those at {other.address:#x}"
                )
        # From the buffer, not from the view: a view that lends its bytes in turn
        # crashes CPython 3.11's collector when it is part of a cycle.
        cdata = ffi.from_buffer("uint8_t[]", buffer, require_writable=True)
        insort(self._windows, _Window(address, len(view), view, cdata))
        self._rebuild()

    def remove(self, address: int) -> None:
        """Forget the window that starts at `address`, and let its buffer go."""
        for index, window in enumerate(self._windows):
            if window.address == address:
                del self._windows[index]
                self._rebuild()
                ffi.release(window.bytes)
                window.view.release()
                return
        raise _memory_range(address, 0)

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at `address`; TargetError where some are not there."""
        return b"".join(bytes(piece) for piece in self._pieces(address, size))

    def write(self, address: int, data: Buffer) -> None:
        """Put `data` at `address`, all or nothing; not for code that may run."""
        at = 0
        source = memoryview(data).cast("B")
        for piece in tuple(self._pieces(address, len(source))):
            piece[:] = source[at : at + len(piece)]
            at += len(piece)

    def pointer(self, address: int) -> int:
        """Where the byte at `address` is in this process."""
        window = self._window(address, 1)
        start = int(ffi.cast("uintptr_t", window.bytes))
        return start + address - window.address

    def _window(self, address: int, size: int) -> _Window:
        index = bisect_right(self._windows, address, key=lambda w: w.address) - 1
        if index < 0 or address >= self._windows[index].end:
            raise _memory_range(address, size)
        return self._windows[index]

    def _pieces(self, address: int, size: int) -> Iterator[memoryview]:
        """The bytes, window by window."""
        at, end = address, address + size
        while at < end:
            window = self._window(at, end - at)
            stop = min(end, window.end)
            yield window.view[at - window.address : stop - window.address]
            at = stop

    def _rebuild(self) -> None:
        self.table = ffi.new(
            "struct lp_window[]",
            [(window.address, window.size, window.bytes) for window in self._windows],
        )


def _memory_range(address: int, size: int) -> TargetError:
    return TargetError(
        f"there is no memory at {address:#x} (for {size} bytes)",
        cause="memory-range",
        errno="EFAULT",
        hint="check the address against the machine's memory",
    )
