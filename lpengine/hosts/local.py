"""This machine, as a host."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from lpengine import command
from lpengine.errors import NotFoundError, NotPermittedError
from lpengine.hosts.base import DEFAULT_TIMEOUT, Completed, HostError, file_error

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NO_SUCH_PROGRAM, NOT_A_PROGRAM = 127, 126


class LocalHost:
    """The machine that lpengine runs on."""

    name = "local"
    sees_our_files = True

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> Completed:
        try:
            done = command.complete(argv, input=input, timeout=timeout.total_seconds())
        except NotFoundError as error:
            return Completed(NO_SUCH_PROGRAM, b"", f"{error.message}\n".encode())
        except NotPermittedError as error:
            return Completed(NOT_A_PROGRAM, b"", f"{error.message}\n".encode())
        except command.CommandError as error:
            raise HostError(error.message, hint=error.hint) from error
        status = done.status if done.status >= 0 else 128 - done.status
        return Completed(status, done.stdout, done.stderr)

    def read(self, path: str) -> bytes:
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise file_error(path, error.errno, error.strerror) from error

    def write(self, path: str, data: bytes) -> None:
        try:
            _write(Path(path), data)
        except OSError as error:
            raise file_error(path, error.errno, error.strerror) from error

    def boot_id(self) -> str:
        return _BOOT_ID.read_text().strip()


def _write(path: Path, data: bytes) -> None:
    if path.is_dir():
        raise IsADirectoryError(21, "Is a directory")
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=".lpengine-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(beside).replace(path)
    except OSError:
        with suppress(FileNotFoundError):
            Path(beside).unlink()
        raise
