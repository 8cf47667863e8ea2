"""Rewrites accesses through a global offset table into direct ones.

A hypervisor has no such table. The rewritten forms are those of ld (psABI for
x86-64, B.2 "Optimize GOTPCRELX Relocations").
"""

from lpengine.elf.constants import RelocationType

_THROUGH_TABLE = (
    RelocationType.R_X86_64_GOTPCREL,
    RelocationType.R_X86_64_GOTPCRELX,
    RelocationType.R_X86_64_REX_GOTPCRELX,
)
_MOV, _LEA = 0x8B, 0x8D
_CALL_INDIRECT = b"\xff\x15"
# An address size prefix does nothing here; it makes up for the missing byte.
_CALL_DIRECT = b"\x67\xe8"


def relax(code: bytearray, offset: int, type_: int) -> int:
    """Rewrite the instruction whose displacement is at `offset`, if there is a
    direct form; returns the relocation type it needs now."""
    if type_ not in _THROUGH_TABLE or offset < 2:
        return type_
    if code[offset - 2 : offset] == _CALL_INDIRECT:
        code[offset - 2 : offset] = _CALL_DIRECT
        return RelocationType.R_X86_64_PC32
    # ModRM with mod 0 and r/m 5 is [rip + displacement].
    if code[offset - 2] == _MOV and code[offset - 1] & 0xC7 == 0x05:
        code[offset - 2] = _LEA
        return RelocationType.R_X86_64_PC32
    return type_
