"""Which instructions the emulator must not be trusted with."""

import re
from collections.abc import Iterator

from lpengine.arch.x86 import Instruction, disassemble

# General-purpose instructions with a VEX prefix (BMI1 and BMI2) that the emulator
# computes as a processor does. It does not for three of them: bzhi with an index
# not below the operand size, bextr and pdep with 32-bit operands.
_TRUSTED_VEX = frozenset(
    (
        *("andn", "blsi", "blsmsk", "blsr", "mulx"),
        *("pext", "rorx", "sarx", "shlx", "shrx"),
    )
)
_SYSTEM_CALLS = frozenset(
    ("syscall", "sysenter", "sysret", "sysretq", "sysexit", "vmcall", "vmmcall")
)
_PORTS = frozenset(("in", "out", "insb", "insw", "insd", "outsb", "outsw", "outsd"))

# One of these bytes is in every instruction that `objection` objects to; most
# blocks of code have none and need no disassembly.
_SUSPICIOUS = re.compile(
    rb"[\x62\xc4\xc5\xf4\x6c-\x6f\xe4-\xe7\xec-\xef]|\x0f[\x05\x07\x34\x35\x01]"
)


def objection(instruction: Instruction) -> str:
    """Why an instruction cannot be emulated, "" where it can."""
    name = instruction.mnemonic.rpartition(" ")[2]
    if instruction.is_vex and name not in _TRUSTED_VEX:
        return (
            f"VEX-encoded instruction at {instruction.address:#x}: "
            f"the emulator computes it wrongly ({instruction.text})"
        )
    if name in _SYSTEM_CALLS:
        return f"{name} at {instruction.address:#x}: there is nobody to call"
    if name in _PORTS:
        return f"port I/O at {instruction.address:#x}: there are no devices"
    if name == "hlt":
        return f"hlt at {instruction.address:#x}: no interrupt would ever come"
    return ""


def objectionable(code: bytes, address: int) -> Iterator[int]:
    """Addresses of the instructions in a block that cannot be emulated."""
    if _SUSPICIOUS.search(code):
        for instruction in disassemble(code, address):
            if objection(instruction):
                yield instruction.address
