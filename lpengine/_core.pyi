"""What cffi compiles from csrc/lpcore.h; only lpengine.core.library imports it."""

from typing import Any

ffi: Any
lib: Any
