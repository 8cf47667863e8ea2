"""Compilers: sources in, relocatable objects out."""

from lpengine.compile.c import DEFAULT_COMPILER, compile_c

__all__ = ["DEFAULT_COMPILER", "compile_c"]
