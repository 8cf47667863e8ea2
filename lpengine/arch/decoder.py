"""Capstone's decoder for x86-64, without capstone's Python module: that imports the
tables of twenty architectures, which takes longer than everything else a verb does.
"""

import ctypes
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

_X86, _64_BIT = 3, 8
_OK = 0
Decoded = tuple[int, int, str, str]


class Decoder(Protocol):
    def disasm_lite(self, code: bytes, offset: int) -> Iterator[Decoded]:
        """Address, size, mnemonic and operands of each instruction, up to the first
        byte that cannot be decoded."""
        ...


class _Instruction(ctypes.Structure):
    """cs_insn of capstone 5 (capstone.h)."""

    _fields_ = (
        ("id", ctypes.c_uint),
        ("address", ctypes.c_uint64),
        ("size", ctypes.c_uint16),
        ("bytes", ctypes.c_ubyte * 24),
        ("mnemonic", ctypes.c_char * 32),
        ("operands", ctypes.c_char * 160),
        ("detail", ctypes.c_void_p),
    )


class _Library:
    """The shared library that capstone's package brings."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self._decode, self._free = library.cs_disasm, library.cs_free
        size, pointer = ctypes.c_size_t, ctypes.POINTER(_Instruction)
        self._decode.argtypes = (
            *(size, ctypes.c_char_p, size, ctypes.c_uint64, size),
            ctypes.POINTER(pointer),
        )
        self._decode.restype = size
        self._free.argtypes = (pointer, size)
        self._found = pointer
        handle = size()
        status = library.cs_open(_X86, _64_BIT, ctypes.byref(handle))
        if status != _OK:
            raise OSError(f"{path}: cs_open: {status}")
        self._handle = handle.value

    def disasm_lite(self, code: bytes, offset: int) -> Iterator[Decoded]:
        found = self._found()
        count = self._decode(
            self._handle, code, len(code), offset, 0, ctypes.byref(found)
        )
        if not count:
            return
        try:
            for each in found[:count]:
                mnemonic, operands = each.mnemonic.decode(), each.operands.decode()
                yield each.address, each.size, mnemonic, operands
        finally:
            self._free(found, count)


@cache
def decoder() -> Decoder:
    spec = find_spec("capstone")
    places = (spec.submodule_search_locations if spec else None) or ()
    for place in places:
        path = Path(place) / "lib/libcapstone.so"
        if path.is_file():
            return _Library(path)
    # A distribution keeps the library elsewhere; the module knows where.
    import capstone

    module: Decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    return module
