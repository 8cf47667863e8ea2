"""The journal's SQLite file: opened, checked, created; its errors as ours."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lpengine.errors import InputError, LockedError, LpengineError, NotPermittedError


@dataclass(frozen=True)
class Schema:
    """The tables of one kind of file. `application_id` in the file's header says whose
    it is (PRAGMA application_id), `version` how they look."""

    application_id: int
    version: int
    tables: str


def connect(path: Path, schema: Schema) -> sqlite3.Connection:
    """Open the journal, creating it where there is none. `InputError` where the
    file is damaged or somebody else's, `NotPermittedError` where it is out of
    reach."""
    with translated(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        try:
            prepare(connection, path, schema)
        except BaseException:
            connection.close()
            raise
    return connection


def prepare(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    # One transaction: each that is begun takes and gives back locks.
    with transaction(connection, "BEGIN"):
        new = is_new(connection)
        if not new:
            check(connection, path, schema)
    if new:
        # Two things cannot be one transaction: the switch to WAL comes first, and
        # a file left between the two is still new.
        connection.execute("PRAGMA journal_mode = WAL")
        create(connection, schema)
        sync_directory(path.parent)
        check(connection, path, schema)


def is_new(connection: sqlite3.Connection) -> bool:
    return (
        identity(connection) == (0, 0)
        and not connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    )


def identity(connection: sqlite3.Connection) -> tuple[int, int]:
    """Whose file it is, and the version of its tables: (0, 0) of nobody's."""
    found = connection.execute(
        "SELECT * FROM pragma_application_id, pragma_user_version"
    )
    whose, version = found.fetchone()
    return int(whose), int(version)


def create(connection: sqlite3.Connection, schema: Schema) -> None:
    with transaction(connection):
        if not is_new(connection):
            return
        for statement in schema.tables.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {schema.application_id}")
        connection.execute(f"PRAGMA user_version = {schema.version}")


def check(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    whose, version = identity(connection)
    if whose != schema.application_id:
        raise InputError(f"{path}: not a journal of lpengine", hint=move_away(path))
    if version != schema.version:
        raise InputError(
            f"{path}: journal version {version}, this lpengine knows {schema.version}",
            hint="use the lpengine that wrote it, or a newer one",
        )
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise damaged(path, " ".join(str(verdict).split()))


def sync_directory(directory: Path) -> None:
    """Make the new file's name durable: SQLite syncs its contents only."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def transaction(
    connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE"
) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A COMMIT that failed for want of space may have rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, by result code (sqlite.org/rescode.html)."""
    try:
        yield
    except sqlite3.Error as error:
        raise meaning(path, error) from error


def meaning(path: Path, error: sqlite3.Error) -> LpengineError:
    # The low byte is the primary code; errors of the module itself have none.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return NotPermittedError(f"{path}: {error}", hint="run it as root")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LockedError(f"{path}: {error}", hint="who has it open: fuser -v FILE")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        return damaged(path, str(error))
    return LpengineError(f"{path}: {error}", hint="free space on its file system")


def damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path}: damaged journal: {what}", hint=move_away(path))


def move_away(path: Path) -> str:
    return (
        f"mv {path} {path}.damaged && rm -f {path}-wal {path}-shm; history is lost, "
        "`lpengine status` shows what runs"
    )
