"""Kernel modules in and out of the running kernel."""

import os
from pathlib import Path

from lpengine.core.library import ffi, lib


def finit_module(path: Path, parameters: str = "") -> None:
    """Load the module in that file; `OSError` with the kernel's errno where it is
    refused. Its init function has succeeded when this returns."""
    error = ffi.new("struct lp_error *")
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = lib.lp_finit_module(file, parameters.encode(), 0, error)
    finally:
        os.close(file)
    if status != lib.LP_OK:
        raise _refused(error.value, str(path))


def delete_module(name: str) -> None:
    """Take a module out, without waiting until nobody uses it (then EAGAIN).
    `OSError` with the kernel's errno where it is refused."""
    error = ffi.new("struct lp_error *")
    if lib.lp_delete_module(name.encode(), os.O_NONBLOCK, error) != lib.LP_OK:
        raise _refused(error.value, name)


def _refused(number: int, what: str) -> OSError:
    return OSError(number, os.strerror(number), what)
