"""Writes a result to a file: whole or not at all."""

from pathlib import Path

from lpengine.package.files import Replacing


def write_whole(path: Path, data: bytes) -> None:
    """Write beside, sync, rename. NotFoundError and NotPermittedError say where."""
    with Replacing(path, 0o644) as file:
        file.write(data)
