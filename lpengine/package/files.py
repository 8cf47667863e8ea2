"""Files: small ones read, large ones replaced as a whole."""

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from lpengine.errors import InputError, NotFoundError, NotPermittedError


def read_start(path: Path, size: int) -> bytes:
    """The first bytes of a file."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such file") from None
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
        try:
            handle, name = tempfile.mkstemp(
                prefix=f".{self.path.name}.", dir=self.path.parent
            )
        except FileNotFoundError:
            raise NotFoundError(f"{self.path.parent}: no such directory") from None
        except OSError as error:
            raise NotPermittedError(f"{self.path}: {error.strerror}") from None
        self.beside = Path(name)
        self.file = os.fdopen(handle, "wb")
        return self.file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self.file:
                if kind is None:
                    self.file.flush()
                    os.fchmod(self.file.fileno(), self.mode)
                    os.fsync(self.file.fileno())
            if kind is None:
                self.beside.replace(self.path)
        except OSError as error:
            raise NotPermittedError(f"{self.path}: {error.strerror}") from None
        finally:
            self.beside.unlink(missing_ok=True)
