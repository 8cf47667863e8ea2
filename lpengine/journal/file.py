"""A journal's file: opened when first needed, and made by the first who writes."""

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from lpengine.journal.database import Schema, connect
from lpengine.journal.lock import lock, make_directory


class JournalFile:
    """A file of one schema in a state directory. Reading one that does not exist
    creates nothing. One process writes at a time: hold `lock` around a run."""

    schema: ClassVar[Schema]
    file: ClassVar[str]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / self.file
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def lock(self, what: str) -> AbstractContextManager[None]:
        """The lock of this journal's directory (lpengine.journal.lock)."""
        return lock(self.directory, what)

    @property
    def exists(self) -> bool:
        return self._connection is not None or self.path.exists()

    def _readable(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self.path, self.schema)
        return self._connection

    def _writable(self) -> sqlite3.Connection:
        if self._connection is None:
            make_directory(self.directory)
        return self._readable()
