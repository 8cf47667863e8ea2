"""x86-64, the face of this room: what the other rooms use."""

from lpengine.arch.assembly import assemble
from lpengine.arch.disassembly import (
    Instruction,
    boundaries,
    branches_into,
    disassemble,
    disassemble_lines,
)
from lpengine.arch.encoding import (
    ENDBR64,
    ENDBR64_POISON,
    is_padding,
    is_vex,
    nops,
    starts_with_endbr,
)

__all__ = [
    "ENDBR64",
    "ENDBR64_POISON",
    "Instruction",
    "assemble",
    "boundaries",
    "branches_into",
    "disassemble",
    "disassemble_lines",
    "is_padding",
    "is_vex",
    "nops",
    "starts_with_endbr",
]
