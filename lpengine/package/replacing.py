"""Files that are replaced as a whole."""

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from lpengine.errors import NotFoundError, NotPermittedError


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
