"""The C core as Python: bytes and dataclasses in and out, errors raised.

Buffers are handed to C where they are; nothing here copies one. Every call into
C releases the interpreter lock.
"""

from lpengine.core.instructions import (
    Decoded,
    DecodedCode,
    decode,
    differing_instructions,
    field_ends,
)
from lpengine.core.library import Buffer
from lpengine.core.memory import Memory
from lpengine.core.refusals import RedirectError, RelocationError
from lpengine.core.relocations import relocate
from lpengine.core.search import changed_chunks, scan_stack
from lpengine.core.sites import (
    FAR_JUMP_SIZE,
    NEAR_JUMP_SIZE,
    SAVED_MAX,
    Redirection,
    Site,
    redirect,
    take_back,
)
from lpengine.core.symbols import SymbolIndex

__all__ = [
    "FAR_JUMP_SIZE",
    "NEAR_JUMP_SIZE",
    "SAVED_MAX",
    "Buffer",
    "Decoded",
    "DecodedCode",
    "Memory",
    "RedirectError",
    "Redirection",
    "RelocationError",
    "Site",
    "SymbolIndex",
    "changed_chunks",
    "decode",
    "differing_instructions",
    "field_ends",
    "redirect",
    "relocate",
    "scan_stack",
    "take_back",
]
