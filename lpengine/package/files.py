"""Files: small ones read, large ones replaced as a whole."""

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from lpengine.errors import (
    InputError,
    NotFoundError,
    NotPermittedError,
    UsageError,
)

_CHUNK = 1 << 20


def read_start(path: Path, size: int) -> bytes:
    """The first bytes of a file. A small one takes no more than it has, whatever the
    size that is asked for."""
    found = bytearray()
    try:
        with path.open("rb") as file:
            while chunk := file.read(min(_CHUNK, size - len(found))):
                found += chunk
        return bytes(found)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: not a file") from None
    except OSError as error:
        raise NotPermittedError(f"{path}: {error.strerror}") from None


def read_small(path: Path, largest: int) -> bytes:
    """A file, whole. InputError for more than `largest` bytes."""
    raw = read_start(path, largest + 1)
    if len(raw) > largest:
        raise InputError(f"{path}: larger than {largest} bytes")
    return raw


class Replacing:
    """A file beside `path` that takes its place once it is complete and synced."""

    def __init__(self, path: Path, mode: int) -> None:
        self.path = path
        self.mode = mode

    def __enter__(self) -> BinaryIO:
        if self.path.is_dir():
            raise UsageError(f"{self.path}: a directory", hint="name the file, too")
        try:
            handle, name = tempfile.mkstemp(
                prefix=f".{self.path.name}.", dir=self.path.parent
            )
        except FileNotFoundError:
            raise NotFoundError(
                f"{self.path.parent}: no such directory", hint="make it first"
            ) from None
        except OSError as error:
            raise NotPermittedError(f"{self.path}: {error.strerror}") from None
        self.beside = Path(name)
        self.file = os.fdopen(handle, "wb")
        return self.file

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: object
    ) -> None:
        try:
            with self.file:
                if error is None:
                    self.file.flush()
                    os.fchmod(self.file.fileno(), self.mode)
                    os.fsync(self.file.fileno())
                elif isinstance(error, OSError):
                    raise error
            if error is None:
                self.beside.replace(self.path)
        except OSError as failed:
            raise NotPermittedError(f"{self.path}: {failed.strerror}") from None
        finally:
            self.beside.unlink(missing_ok=True)
