"""Instructions that load an address, rewritten to load it from where it is kept, so
that one look-up serves many of them."""

from lpengine.elf.constants import R_X86_64_32S, SHF_EXECINSTR
from lpengine.patch.linux.object import Piece, Use

# mov r64, imm32: REX.W c7 /0. mov r64, [rip + disp32]: REX.W 8b /r.
_REX_W, _REX_B, _REX_R = 0x48, 1, 4
_IMMEDIATE, _MEMORY = 0xC7, 0x8B
_DIRECT, _RIP_RELATIVE = 0xC0, 5
_HEAD = 3
# Elsewhere code may be a replacement, which runs in another place than it lies in.
_TEXT = ".text"


def is_load(piece: Piece, use: Use) -> bool:
    """Whether a use is the address of a symbol that goes into a register as it is."""
    plain = piece.name.startswith(_TEXT) and bool(piece.flags & SHF_EXECINSTR)
    if not plain or use.type != R_X86_64_32S or use.addend or use.offset < _HEAD:
        return False
    rex, opcode, modrm = piece.data[use.offset - _HEAD : use.offset]
    is_move = opcode == _IMMEDIATE and modrm & ~7 == _DIRECT
    return is_move and rex & ~_REX_B == _REX_W


def load_from_memory(data: bytearray, offset: int) -> None:
    """Let the instruction whose immediate is there, as `is_load` knows it, take what is
    at a distance instead."""
    rex, _, modrm = data[offset - _HEAD : offset]
    extended = _REX_R if rex & _REX_B else 0
    data[offset - _HEAD : offset] = bytes(
        (_REX_W | extended, _MEMORY, (modrm & 7) << 3 | _RIP_RELATIVE)
    )
