"""What cffi compiles from csrc/lpcore.h; used by lpengine.core alone."""

from typing import Any

ffi: Any
lib: Any
