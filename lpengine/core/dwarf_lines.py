"""The line tables of DWARF debug information."""

from struct import Struct
from typing import NamedTuple

from lpengine.core.library import Buffer, ffi, lib, raise_other
from lpengine.errors import InputError

_ROW = Struct("<QQIIII")
_FILE = Struct("<QQII")


class LineRow(NamedTuple):
    """The source line at an address. `base` is where in .debug_line the address is
    that its sequence began with; the row that `ends` a sequence is behind it."""

    address: int
    base: int
    line: int
    file: int
    program: int
    ends: int


class LineFile(NamedTuple):
    """A source file of a program; where its name is, as in an Entry."""

    name_in: int
    name_at: int
    program: int
    number: int


def dwarf_lines(section: Buffer) -> tuple[tuple[LineRow, ...], tuple[LineFile, ...]]:
    """All rows of .debug_line, with its relocations applied, and all files.

    InputError where it is damaged or of a kind that is not read.
    """
    raw = ffi.from_buffer("uint8_t[]", section)
    lines = ffi.new("struct lp_lines *")
    _run(raw, lines)
    rows = ffi.new("struct lp_line_row[]", lines.row_count)
    files = ffi.new("struct lp_line_file[]", lines.file_count)
    lines.rows, lines.row_capacity = rows, lines.row_count
    lines.files, lines.file_capacity = files, lines.file_count
    _run(raw, lines)
    return (
        tuple(map(LineRow._make, _ROW.iter_unpack(ffi.buffer(rows)))),
        tuple(map(LineFile._make, _FILE.iter_unpack(ffi.buffer(files)))),
    )


def _run(raw: object, lines: object) -> None:
    error = ffi.new("struct lp_error *")
    status = lib.lp_dwarf_lines(raw, len(raw), lines, error)  # type: ignore[arg-type]
    if status == lib.LP_E_CORRUPT:
        raise InputError(f".debug_line: damaged program at {error.address:#x}")
    if status == lib.LP_E_UNSUPPORTED:
        raise InputError(f".debug_line: unknown kind of program at {error.address:#x}")
    if status != lib.LP_OK:
        raise_other(status, "a line table")
