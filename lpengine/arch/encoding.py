"""x86-64 byte patterns that need no decoder: NOPs, padding, ENDBR64, VEX."""

import re

ENDBR64 = bytes.fromhex("f30f1efa")

# What Xen leaves where it removed an ENDBR64 (xen/arch/x86/include/asm/endbr.h,
# is_endbr64_poison): nopw (%rcx), the same length.
ENDBR64_POISON = bytes.fromhex("660f1f01")

# Intel SDM volume 2, NOP: "Recommended Multi-Byte Sequence of NOP Instruction".
_NOPS = tuple(
    bytes.fromhex(text)
    for text in (
        "",
        "90",
        "6690",
        "0f1f00",
        "0f1f4000",
        "0f1f440000",
        "660f1f440000",
        "0f1f8000000000",
        "0f1f840000000000",
        "660f1f840000000000",
    )
)

# The long NOPs above, with the prefixes that assemblers pile up in front of them;
# only with a zero displacement, which a poisoned ENDBR64 does not have.
_PADDING = re.compile(
    rb"(?:\xcc|\x66{0,12}\x90|\x66{0,12}\x2e?\x66?\x0f\x1f"
    rb"(?:\x00|\x40\x00|\x44\x00\x00|\x80\x00{4}|\x84\x00{5}))*+",
    re.DOTALL,
)

_LEGACY_PREFIXES = bytes.fromhex("26 2e 36 3e 64 65 66 67 f0 f2 f3")
_VEX_FIRST_BYTES = bytes.fromhex("62 c4 c5")


def nops(size: int) -> bytes:
    """`size` bytes of NOPs, as few instructions as possible."""
    longest = len(_NOPS) - 1
    return _NOPS[longest] * (size // longest) + _NOPS[size % longest]


def is_padding(code: bytes) -> bool:
    """Whether these bytes are what compilers put between functions: nothing but
    NOPs of any length and int3."""
    return _PADDING.fullmatch(code) is not None


def starts_with_endbr(code: bytes) -> bool:
    """Whether the first instruction is ENDBR64 or a poisoned one, which a redirect
    leaves in place (Xen, arch_livepatch_apply)."""
    return code[:4] in (ENDBR64, ENDBR64_POISON)


def is_vex(code: bytes) -> bool:
    """Whether one instruction is VEX or EVEX encoded. In 64-bit mode C4, C5 and 62
    have no other meaning as the first byte behind the legacy prefixes."""
    rest = code.lstrip(_LEGACY_PREFIXES)
    return rest[:1] != b"" and rest[0] in _VEX_FIRST_BYTES
