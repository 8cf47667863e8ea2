"""Compilers: from source to relocatable objects."""

from lpengine.compile.c import DEFAULT_COMPILER, compile_c
from lpengine.compile.kernel import compile_kernel_c

__all__ = ["DEFAULT_COMPILER", "compile_c", "compile_kernel_c"]
