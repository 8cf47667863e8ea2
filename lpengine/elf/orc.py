"""The kernel's unwind tables: one entry a range of code (Documentation/arch/x86/
orc-unwinder.rst, asm/orc_types.h)."""

import struct
from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from lpengine.elf.btf import Struct
from lpengine.errors import InputError

UNDEFINED, PREVIOUS_SP = 0, 1
BP, SP = 4, 5

_ENTRY = struct.Struct("<hhH")
_IP = struct.Struct("<i")


class OrcEntry(NamedTuple):
    """From here on: the caller's stack pointer is register `sp` plus `sp_offset`,
    its rbp is at that plus `bp_offset` (bp PREVIOUS_SP) or unchanged (UNDEFINED).
    sp UNDEFINED ends what the table knows."""

    sp: int
    sp_offset: int
    bp: int = UNDEFINED
    bp_offset: int = 0


NOTHING = OrcEntry(UNDEFINED, 0)


@dataclass(frozen=True)
class OrcFormat:
    """How entries are packed: `call` is the type of ordinary frames (0 up to 6.3,
    2 since 6.4, where 0 is undefined)."""

    call: int

    @classmethod
    def of(cls, layout: Struct) -> "OrcFormat":
        """The format of a kernel, by its struct orc_entry."""
        if layout.size != _ENTRY.size or "sp_offset" not in layout.members:
            raise InputError(f"orc_entry of {layout.size} bytes is unknown")
        return cls(call=0 if layout.bits.get("type") == 2 else 2)

    def pack(self, entry: OrcEntry) -> bytes:
        type_ = 0 if entry.sp == UNDEFINED else self.call
        flags = entry.sp | entry.bp << 4 | type_ << 8
        return _ENTRY.pack(entry.sp_offset, entry.bp_offset, flags)

    def unpack(self, data: bytes, offset: int = 0) -> OrcEntry:
        sp_offset, bp_offset, flags = _ENTRY.unpack_from(data, offset)
        return OrcEntry(flags & 0xF, sp_offset, flags >> 4 & 0xF, bp_offset)


class OrcTable:
    """.orc_unwind_ip and .orc_unwind of a linked image, sorted by address."""

    def __init__(
        self, format: OrcFormat, address: int, ips: bytes, entries: bytes
    ) -> None:
        if len(ips) // _IP.size != len(entries) // _ENTRY.size:
            raise InputError("ORC: the two tables differ in length")
        self._format, self._entries = format, entries
        # Each is relative to its own place.
        self._starts = [
            address + index * _IP.size + relative
            for index, (relative,) in enumerate(_IP.iter_unpack(ips))
        ]

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, address: int) -> OrcEntry:
        """What holds at an address; NOTHING below the first entry."""
        place = bisect_right(self._starts, address) - 1
        if place < 0:
            return NOTHING
        return self._format.unpack(self._entries, place * _ENTRY.size)
