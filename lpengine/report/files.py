"""Writes a result to a file: whole or not at all."""

import os
import tempfile
from pathlib import Path

from lpengine.errors import NotFoundError, NotPermittedError


def write_whole(path: Path, data: bytes) -> None:
    """Write beside, sync, rename. NotFoundError and NotPermittedError say where."""
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except FileNotFoundError:
        raise NotFoundError(
            f"{path.parent}: no such directory", hint="make it first"
        ) from None
    except OSError as error:
        raise NotPermittedError(f"{path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        Path(beside).replace(path)
    except OSError as error:
        Path(beside).unlink(missing_ok=True)
        raise NotPermittedError(f"{path}: {error.strerror}") from None
