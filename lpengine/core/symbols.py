"""An index over an ELF64 symbol table: by name, and by address."""

from lpengine.core.library import Buffer, ffi, lib, raise_other
from lpengine.errors import InputError, UsageError


class SymbolIndex:
    """Finds the entries of an ELF64 symbol table by name and by address.

    The buffers are kept alive and must not change; views are copied. Results are
    table indexes; entry 0 and symbols of no name are never found. Building it is
    O(n), whatever the table holds.

    Raises InputError where a name is not terminated inside `strings`.
    """

    def __init__(self, table: Buffer, entry_size: int, strings: Buffer) -> None:
        self._table = ffi.from_buffer("uint8_t[]", _lendable(table))
        self._strings = ffi.from_buffer("uint8_t[]", _lendable(strings))
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
            raise_other(status, f"a symbol table with entries of {entry_size} bytes")
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


def _lendable(buffer: Buffer) -> Buffer:
    """A copy of a view: one that lends its bytes in turn crashes CPython 3.11's
    collector when it is part of a cycle."""
    return bytes(buffer) if isinstance(buffer, memoryview) else buffer
