"""Relocation of one section, by the System V psABI for x86-64."""

from collections.abc import Sequence

from lpengine.core.library import Buffer, ffi, lib, uint64s
from lpengine.core.refusals import raise_relocation
from lpengine.errors import UsageError

_RELA_SIZE = 24


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
        uint64s(symbols),
        uint64s(symbol_sizes),
        len(symbols),
        error,
    )
    if status != lib.LP_OK:
        raise_relocation(status, error)
