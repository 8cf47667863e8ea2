"""The seam between what is patched and how its machine is reached."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from lpengine.errors import (
    LpengineError,
    NotFoundError,
    NotPermittedError,
    UsageError,
)

DEFAULT_TIMEOUT = timedelta(minutes=2)


@dataclass(frozen=True)
class Completed:
    """What a program did. `status` is its exit status, or 128 + N where signal N
    ended it, as a shell says it."""

    status: int
    stdout: bytes
    stderr: bytes


class HostError(NotFoundError):
    """A machine cannot be reached, or stopped answering."""


class Host(Protocol):
    """A machine one can reach: runs programs, reads and writes files."""

    @property
    def name(self) -> str:
        """What `open_host` was given: "local", "ssh://user@host", "qemu:NAME"."""
        ...

    @property
    def sees_our_files(self) -> bool:
        """Whether this machine's files are there too, at the same paths. They may
        look older than they are."""
        ...

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> Completed:
        """Runs a program to its end; any status is an answer, 127 that there is
        no such program. `HostError` where the host does not answer, or the
        program is not done in time (and then it is ended)."""
        ...

    def read(self, path: str) -> bytes:
        """`NotFoundError`, `NotPermittedError`, and `UsageError` for what is not a
        file."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """The whole file or nothing of it: beside it, synced, then renamed. The
        same errors as `read`."""
        ...

    def boot_id(self) -> str:
        """Changes with each boot and with nothing else."""
        ...


def file_error(path: str, number: int | None, reason: str | None) -> LpengineError:
    """What a file operation on a host met, as an error of ours."""
    message = f"{path}: {reason or 'failed'}"
    if number in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError(message)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotPermittedError(message)
    return UsageError(message)
