"""The C core as Python: bytes and dataclasses in and out, errors raised.

Buffers are handed to C where they are; nothing here copies one. Every call into
C releases the interpreter lock.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from mmap import mmap
from struct import Struct
from struct import error as StructError
from typing import Any, NoReturn, TypeAlias

from lpengine.errors import InputError, TargetError, UsageError

try:
    from lpengine._core import ffi, lib
except ImportError as error:
    raise ImportError("the C core is not built: run `pip install -e .`") from error

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap

SAVED_MAX: int = lib.LP_SAVED_MAX
NEAR_JUMP_SIZE: int = lib.LP_NEAR_JUMP
FAR_JUMP_SIZE: int = lib.LP_FAR_JUMP

_RELA_SIZE = 24
_ADDRESS_END = 1 << 64


@dataclass(frozen=True, slots=True)
class Site:
    """One function to redirect.

    `room` is how many bytes from `address` may be overwritten. `target` 0 blanks
    the first `nop_size` bytes instead (an endbr64 among them is kept). `expected`
    is what must be at `address` now, at most `SAVED_MAX` bytes. `far` allows the
    14-byte jump where the 5-byte one does not reach.
    """

    address: int
    target: int
    room: int
    nop_size: int = 0
    expected: bytes = b""
    far: bool = False


@dataclass(frozen=True, slots=True)
class Redirection:
    """An installed site: `installed` replaced `saved` at `site.address + offset`."""

    site: Site
    offset: int
    saved: bytes
    installed: bytes


class RedirectError(TargetError):
    """A redirection set was refused, and no byte has changed.

    `index` is the site's place in the set, `address` the byte that it is about,
    `reason` one of mismatch, size, overlap, reach, range, write.
    """

    def __init__(
        self, message: str, refusal: "_Refusal", *, index: int, address: int
    ) -> None:
        super().__init__(
            message, cause=refusal.cause, errno=refusal.errno, hint=refusal.hint
        )
        self.index = index
        self.address = address
        self.reason = refusal.reason


class RelocationError(TargetError):
    """A section cannot be relocated, and no byte has changed.

    `index` is the record's, `address` the place it relocates, `reason` one of
    overflow, unsupported, range, symbol.
    """

    def __init__(
        self, message: str, refusal: "_Refusal", *, index: int, address: int
    ) -> None:
        super().__init__(
            message, cause=refusal.cause, errno=refusal.errno, hint=refusal.hint
        )
        self.index = index
        self.address = address
        self.reason = refusal.reason


@dataclass(frozen=True)
class _Refusal:
    """What a status means; `text` may use index, address, value."""

    reason: str
    cause: str
    errno: str
    text: str
    hint: str


_REDIRECT_REFUSALS = {
    lib.LP_E_MISMATCH: _Refusal(
        "mismatch",
        "expectation-mismatch",
        "EINVAL",
        "the byte at {address:#x} is {value:#04x}, not the expected one",
        "the patch was made for other code, or something else patched this function",
    ),
    lib.LP_E_SIZE: _Refusal(
        "size",
        "function-too-small",
        "EINVAL",
        "the function at {address:#x} has no room for the change"
        " ({value} bytes of endbr64 stay)",
        "patch a caller of this function instead",
    ),
    lib.LP_E_OVERLAP: _Refusal(
        "overlap",
        "function-twice",
        "EINVAL",
        "the change at {address:#x} shares bytes with that of site {value}",
        "redirect each function once",
    ),
    lib.LP_E_REACH: _Refusal(
        "reach",
        "function-out-of-reach",
        "EOVERFLOW",
        "a near jump from {address:#x} does not reach its target",
        "place the new code within 2 GiB, or allow far jumps",
    ),
    lib.LP_E_RANGE: _Refusal(
        "range",
        "memory-range",
        "EFAULT",
        "the bytes at {address:#x} are not all in memory that can be patched",
        "check the address against the image's executable segments",
    ),
    lib.LP_E_WRITE: _Refusal(
        "write",
        "write-failed",
        "EIO",
        "the byte at {address:#x} reads back as {value:#04x}, all sites are restored",
        "check that no memory is mapped twice",
    ),
}

_RELOCATION_REFUSALS = {
    lib.LP_E_OVERFLOW: _Refusal(
        "overflow",
        "relocation-overflow",
        "EOVERFLOW",
        "the value {value:#x} does not fit its field at {address:#x}",
        "place the code nearer to what it refers to",
    ),
    lib.LP_E_UNSUPPORTED: _Refusal(
        "unsupported",
        "relocation-unsupported",
        "EOPNOTSUPP",
        "type {value} at {address:#x} cannot be done without a linker's tables",
        "compile with -fno-pic -fno-plt -mcmodel=kernel",
    ),
    lib.LP_E_RANGE: _Refusal(
        "range",
        "relocation-out-of-section",
        "EINVAL",
        "the place {address:#x} is outside the section",
        "the file is damaged: build it again",
    ),
    lib.LP_E_CORRUPT: _Refusal(
        "symbol",
        "relocation-symbol",
        "EINVAL",
        "the one at {address:#x} names a symbol that does not exist",
        "the file is damaged: build it again",
    ),
}


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
        cdata = ffi.from_buffer("uint8_t[]", view, require_writable=True)
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


# struct lp_site as bytes: filling ten thousand of them field by field through
# cffi takes several times as long.
_SITE = Struct(f"<QQIIII{SAVED_MAX}sII{SAVED_MAX}s{SAVED_MAX}s")
_NOT_INSTALLED = (0, 0, b"", b"")


def redirect(memory: Memory, sites: Sequence[Site]) -> tuple[Redirection, ...]:
    """Install all sites, or raise RedirectError and install none."""
    table = bytearray(_SITE.size * len(sites))
    for index, site in enumerate(sites):
        _pack(table, index, site, _NOT_INSTALLED)
    _run_sites(lib.lp_redirect, memory, table)
    return tuple(
        Redirection(site, offset, saved[:size], installed[:size])
        for site, (*_, offset, size, saved, installed) in zip(
            sites, _SITE.iter_unpack(table), strict=True
        )
    )


def take_back(memory: Memory, redirections: Sequence[Redirection]) -> None:
    """Restore all sites, last one first, or raise RedirectError and restore none.

    Every site must still hold the bytes that were installed.
    """
    table = bytearray(_SITE.size * len(redirections))
    for index, done in enumerate(redirections):
        if len(done.saved) != len(done.installed):
            raise UsageError(f"redirection {index}: saved and installed differ in size")
        result = (done.offset, len(done.saved), done.saved, done.installed)
        _pack(table, index, done.site, result)
    _run_sites(lib.lp_take_back, memory, table)


def _pack(
    table: bytearray, index: int, site: Site, result: tuple[int, int, bytes, bytes]
) -> None:
    try:
        _SITE.pack_into(
            table,
            index * _SITE.size,
            site.address,
            site.target,
            site.room,
            site.nop_size,
            len(site.expected),
            lib.LP_SITE_FAR if site.far else 0,
            site.expected,
            *result,
        )
    except StructError as error:
        raise UsageError(f"site {index} at {site.address:#x}: {error}") from error


def _run_sites(function: Any, memory: Memory, table: bytearray) -> None:
    """Call lp_redirect or lp_take_back, and raise what it answers."""
    sites = ffi.from_buffer("struct lp_site[]", table, require_writable=True)
    windows = memory.table
    error = ffi.new("struct lp_error *")
    status = function(windows, len(windows), sites, len(sites), error)
    if status == lib.LP_OK:
        return
    refusal = _REDIRECT_REFUSALS.get(status)
    if refusal is None:
        _raise_other(status, f"site {error.index}")
    text = refusal.text.format(address=error.address, value=error.value)
    raise RedirectError(
        f"site {error.index}: {text}", refusal, index=error.index, address=error.address
    )


def relocate(
    section: Buffer,
    address: int,
    records: Buffer,
    symbols: Sequence[int],
    symbol_sizes: Sequence[int],
) -> None:
    """Apply Elf64_Rela `records` to a writable `section` that will run at `address`.

    `symbols` holds the value and `symbol_sizes` the st_size of each symbol table
    entry. RelocationError leaves the section as it was. The rules are those of the
    System V psABI for x86-64, 4.4.1; loads through the GOT are rewritten as in B.2.
    """
    raw = ffi.from_buffer("uint8_t[]", records)
    if len(raw) % _RELA_SIZE or len(symbols) != len(symbol_sizes):
        raise UsageError("the relocation or symbol table has a part of an entry")
    code = ffi.from_buffer("uint8_t[]", section, require_writable=True)
    error = ffi.new("struct lp_error *")
    status = lib.lp_relocate(
        code,
        len(code),
        address,
        raw,
        len(raw) // _RELA_SIZE,
        _uint64s(symbols),
        _uint64s(symbol_sizes),
        len(symbols),
        error,
    )
    if status != lib.LP_OK:
        _raise_relocation(status, error)


def _uint64s(values: Sequence[int]) -> Any:
    try:
        return ffi.new("uint64_t[]", list(values))
    except OverflowError as error:
        raise UsageError(f"a value does not fit 64 bits: {error}") from error


def _raise_relocation(status: int, error: Any) -> NoReturn:
    refusal = _RELOCATION_REFUSALS.get(status)
    if refusal is None:
        _raise_other(status, f"relocation {error.index}")
    text = refusal.text.format(address=error.address, value=error.value)
    raise RelocationError(
        f"relocation {error.index}: {text}",
        refusal,
        index=error.index,
        address=error.address,
    )


def _raise_other(status: int, what: str) -> NoReturn:
    if status == lib.LP_E_MEMORY:
        raise MemoryError
    raise UsageError(f"{what} contradicts itself")


class SymbolIndex:
    """Finds the entries of an ELF64 symbol table by name and by address.

    The buffers are kept alive and must not change. Results are table indexes;
    entry 0 and symbols of no name are never found. Building it is O(n), whatever
    the table holds.

    Raises InputError where a name is not terminated inside `strings`.
    """

    def __init__(self, table: Buffer, entry_size: int, strings: Buffer) -> None:
        self._table = ffi.from_buffer("uint8_t[]", table)
        self._strings = ffi.from_buffer("uint8_t[]", strings)
        self._count = len(self._table) // entry_size if entry_size > 0 else 0
        made = ffi.new("struct lp_symbols **")
        error = ffi.new("struct lp_error *")
        status = lib.lp_symbols_create(
            self._table,
            len(self._table),
            entry_size,
            self._strings,
            len(self._strings),
            made,
            error,
        )
        if status == lib.LP_E_CORRUPT:
            raise InputError(
                f"symbol {error.index}: its name at {error.address:#x} does not end"
                f" inside the string table of {len(self._strings)} bytes"
            )
        if status != lib.LP_OK:
            _raise_other(status, f"a symbol table with entries of {entry_size} bytes")
        self._index = ffi.gc(made[0], lib.lp_symbols_destroy)

    def __len__(self) -> int:
        return self._count

    def named(self, name: str | bytes) -> tuple[int, ...]:
        """All entries of that name, ascending.

        "path/file.c#name" finds the local ones behind the STT_FILE symbol
        "path/file.c", and entries whose own name is just that.
        """
        raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
        count = ffi.new("size_t *")
        room = 4
        while True:
            found = ffi.new("uint64_t[]", room)
            lib.lp_symbols_named(self._index, raw, len(raw), found, room, count)
            if count[0] <= room:
                return tuple(found[0 : count[0]])
            room = count[0]

    def at(self, address: int) -> tuple[int, int] | None:
        """The entry that starts nearest at or below `address`, and how far below.

        Of several, functions come before data and globals before locals. The
        distance may exceed the symbol's size: the caller judges.
        """
        index = ffi.new("uint64_t *")
        offset = ffi.new("uint64_t *")
        if lib.lp_symbols_at(self._index, address, index, offset) != lib.LP_OK:
            return None
        return index[0], offset[0]

    def next_after(self, address: int) -> int | None:
        """The lowest symbol value above `address`."""
        value = ffi.new("uint64_t *")
        if lib.lp_symbols_next(self._index, address, value) != lib.LP_OK:
            return None
        return int(value[0])

    def file_of(self, index: int) -> int:
        """The STT_FILE entry that a local symbol belongs to, or 0."""
        found = ffi.new("uint64_t *")
        if lib.lp_symbols_file(self._index, index, found) != lib.LP_OK:
            raise UsageError(f"there is no symbol {index}")
        return int(found[0])


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
