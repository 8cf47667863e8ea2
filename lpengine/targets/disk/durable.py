"""Values in files that are wholly there or not at all, whenever the power fails."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lpengine.errors import InputError, NotPermittedError
from lpengine.targets.disk.system import System

T = TypeVar("T")


@dataclass(frozen=True)
class Durable:
    """Nothing is made by reading."""

    system: System

    def read(self, path: Path, type: type[T]) -> T | None:
        """None where there is no such file."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=type)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise NotPermittedError(
                f"{path}: may not be read", hint="run it as root"
            ) from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise damaged(path, str(error)) from error

    def write(self, path: Path, value: Any) -> None:
        """The whole file, or the one that was there."""
        self.make_directories(path.parent)
        fresh = path.with_name(f".{path.name}.new")
        with suppress(FileNotFoundError):
            self.system.remove(fresh)
        descriptor = self.system.create(fresh)
        try:
            self.system.write(descriptor, msgspec.json.encode(value))
            self.system.sync(descriptor)
        finally:
            self.system.close(descriptor)
        self.system.rename(fresh, path)
        self.system.sync_directory(path.parent)

    def drop(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            self.system.remove(path)
            self.system.sync_directory(path.parent)

    def make_directories(self, directory: Path) -> None:
        """For nobody else's eyes: what is kept may be of secrets."""
        missing = [p for p in (directory, *directory.parents) if not p.exists()]
        for path in reversed(missing):
            with suppress(FileExistsError):
                self.system.make_directory(path, 0o700)
            self.system.sync_directory(path.parent)


def damaged(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: damaged record: {what}",
        hint="restore it from a backup; the files on the disk are not touched",
    )
