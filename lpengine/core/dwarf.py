"""The entries of DWARF debug information about types and functions."""

from enum import IntFlag
from struct import Struct
from typing import NamedTuple

from lpengine.core.library import Buffer, ffi, lib, raise_other
from lpengine.errors import InputError

_RECORD = Struct("<7Qq7I4x")

NO_NAME = lib.LP_VALUE_NONE
IN_STRINGS = lib.LP_VALUE_STRING
IN_LINE_STRINGS = lib.LP_VALUE_LINE_STRING
IN_ENTRIES = lib.LP_VALUE_INLINE


class EntryFlag(IntFlag):
    """Entry.flags."""

    SIZE = lib.LP_ENTRY_SIZE
    VALUE = lib.LP_ENTRY_VALUE
    BIT_OFFSET = lib.LP_ENTRY_BIT_OFFSET
    BIT_PLACE = lib.LP_ENTRY_BIT_PLACE
    EXTERNAL = lib.LP_ENTRY_EXTERNAL
    DECLARATION = lib.LP_ENTRY_DECLARATION
    CODE = lib.LP_ENTRY_CODE
    STATIC = lib.LP_ENTRY_STATIC


class Entry(NamedTuple):
    """One entry. `name_at` is an offset into the section that `name_in` says.
    `parent` is the place of the nearest entry around it, plus one. `place` is in
    bits; of a unit, where its lines are. `value` is an enumerator's, an encoding, or
    how many elements an array has. `type` and `origin` are offsets of other
    entries, 0 for none."""

    offset: int
    name_in: int
    name_at: int
    type: int
    origin: int
    size: int
    place: int
    value: int
    tag: int
    parent: int
    bit_size: int
    bit_offset: int
    file: int
    line: int
    flags: int

    @property
    def has_size(self) -> bool:
        return bool(self.flags & lib.LP_ENTRY_SIZE)

    @property
    def has_value(self) -> bool:
        return bool(self.flags & lib.LP_ENTRY_VALUE)

    @property
    def has_bit_offset(self) -> bool:
        return bool(self.flags & lib.LP_ENTRY_BIT_OFFSET)

    @property
    def is_external(self) -> bool:
        return bool(self.flags & lib.LP_ENTRY_EXTERNAL)

    @property
    def is_static(self) -> bool:
        """A variable that has an address of its own."""
        return bool(self.flags & lib.LP_ENTRY_STATIC)

    @property
    def is_declaration(self) -> bool:
        return bool(self.flags & lib.LP_ENTRY_DECLARATION)


def dwarf_entries(
    info: Buffer, abbreviations: Buffer, string_offsets: Buffer
) -> tuple[Entry, ...]:
    """What .debug_info says about types, functions and variables, with its
    relocations applied; the other two are .debug_abbrev and .debug_str_offsets.

    InputError where it is damaged, or of a kind that is not read (64-bit, split).
    """
    buffers = [ffi.from_buffer("uint8_t[]", b) for b in (info, abbreviations)]
    offsets = ffi.from_buffer("uint8_t[]", string_offsets)
    dwarf = ffi.new("struct lp_dwarf *")
    dwarf.info, dwarf.info_size = buffers[0], len(buffers[0])
    dwarf.abbrev, dwarf.abbrev_size = buffers[1], len(buffers[1])
    dwarf.offsets, dwarf.offsets_size = offsets, len(offsets)
    count = ffi.new("size_t *")
    _walk(dwarf, ffi.NULL, 0, count)
    found = ffi.new("struct lp_entry[]", count[0])
    _walk(dwarf, found, count[0], count)
    used = ffi.buffer(found, count[0] * _RECORD.size)
    return tuple(map(Entry._make, _RECORD.iter_unpack(used)))


def _walk(dwarf: object, found: object, room: int, count: object) -> None:
    error = ffi.new("struct lp_error *")
    status = lib.lp_dwarf_entries(dwarf, found, room, count, error)
    if status == lib.LP_E_CORRUPT:
        raise InputError(f".debug_info: damaged at offset {error.address:#x}")
    if status == lib.LP_E_UNSUPPORTED:
        raise InputError(f".debug_info: an unknown form at offset {error.address:#x}")
    if status != lib.LP_OK:
        raise_other(status, "debug information")
