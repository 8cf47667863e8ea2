"""Loading and unloading kernel modules, as far as that goes without a kernel of
one's own: every call here is refused, for a reason that is known."""

import errno
import os
from pathlib import Path

import pytest

from lpengine.core.modules import delete_module, finit_module

# Without privileges, in a sandbox without the system call, and as root.
REFUSALS = (errno.EPERM, errno.ENOSYS, errno.ENOEXEC, errno.ENOENT)


def refusal(caught: pytest.ExceptionInfo[OSError]) -> int:
    assert caught.value.errno is not None
    assert caught.value.strerror == os.strerror(caught.value.errno)
    return caught.value.errno


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        finit_module(tmp_path / "none.ko")


def test_what_is_no_module_is_refused_with_the_kernels_errno(tmp_path: Path) -> None:
    path = tmp_path / "junk.ko"
    path.write_bytes(b"not a module" * 100)
    with pytest.raises(OSError, match=r"junk\.ko") as caught:
        finit_module(path)
    assert refusal(caught) in REFUSALS


def test_a_module_that_is_not_loaded() -> None:
    with pytest.raises(OSError, match="lp_no_such_module") as caught:
        delete_module("lp_no_such_module")
    assert refusal(caught) in REFUSALS


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "junk.ko"
    path.write_bytes(b"junk")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(8):
        with pytest.raises(OSError, match="junk"):
            finit_module(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
