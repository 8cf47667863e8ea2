"""Tells cffi what to compile; setup.py names this file."""

from pathlib import Path

from cffi import FFI

CSRC = Path("csrc")
HEADER = CSRC / "lpcore.h"

ffi = FFI()
ffi.cdef("".join(line for line in HEADER.open() if not line.startswith("#")))
ffi.set_source(
    "lpengine._core",
    '#include "lpcore.h"',
    include_dirs=[str(CSRC)],
    sources=sorted(map(str, CSRC.glob("*.c"))),
    depends=sorted(map(str, CSRC.glob("*.[hp]*"))),
    extra_compile_args=[
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fvisibility=hidden",
    ],
)
