"""The journal: each step is on disk before it acts, and its end after."""

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from lpengine.journal.actor import current_actor, now
from lpengine.journal.database import Schema, damaged, transaction, translated
from lpengine.journal.entries import Entry, RunStatus, StepEntry, StepState
from lpengine.journal.file import JournalFile
from lpengine.journal.steps import decode_step, encode_plan, encode_step
from lpengine.planner.plan import Plan, Step

JOURNAL_NAME = "journal.sqlite"

# "lpej"
SCHEMA = Schema(
    application_id=0x6C70656A,
    version=1,
    tables="""
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    started TEXT NOT NULL,
    ended TEXT NOT NULL DEFAULT '',
    actor TEXT NOT NULL,
    pid INTEGER NOT NULL,
    verb TEXT NOT NULL,
    target TEXT NOT NULL,
    build_id TEXT NOT NULL,
    state_digest TEXT NOT NULL,
    plan TEXT NOT NULL,
    start TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT NOT NULL DEFAULT '',
    "left" TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE TABLE steps (
    run INTEGER NOT NULL REFERENCES runs (id),
    "index" INTEGER NOT NULL,
    description TEXT NOT NULL,
    undoing INTEGER NOT NULL,
    state TEXT NOT NULL,
    begun TEXT NOT NULL,
    ended TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (run, "index")
) STRICT, WITHOUT ROWID;
CREATE TABLE modules (
    run INTEGER NOT NULL REFERENCES runs (id),
    name TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (run, name)
) STRICT;
""",
)

# The error of an undoing step that a crash interrupted; another one took its place.
BROKEN_OFF = "broken off"

_BACK = (
    (False, StepState.BEGUN, StepState.UNDONE, ""),
    (False, StepState.DONE, StepState.UNDONE, ""),
    (True, StepState.BEGUN, StepState.FAILED, BROKEN_OFF),
)

# How the end of a run settles its steps: undoing, state -> state, error.
SETTLED = {
    RunStatus.DONE: ((False, StepState.BEGUN, StepState.DONE, ""),),
    RunStatus.ROLLED_BACK: _BACK,
    RunStatus.RECOVERED: _BACK,
}


class Journal(JournalFile):
    """The journal in a target's state directory.

    Reading one that does not exist gives nothing and creates nothing; the first
    run creates it. One process writes at a time: hold `lock` around a run. Every
    method raises `InputError` for a damaged or foreign file, `NotPermittedError`
    for one out of reach, `LpengineError` when the disk is full or fails.
    """

    schema = SCHEMA
    file = JOURNAL_NAME

    # Writing

    def begin_run(
        self, plan: Plan, build_id: str, start: str, modules: Mapping[str, bytes]
    ) -> int:
        """A new open run. `start` is JSON that says how the target was; `modules`
        are the bytes that undoing may have to load again: they outlive a crash,
        and go when the run ends well."""
        with translated(self.path), transaction(self._writable()) as _:
            cursor = self._writable().execute(
                "INSERT INTO runs (started, actor, pid, verb, target, build_id,"
                " state_digest, plan, start, status) VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    now(),
                    current_actor(),
                    os.getpid(),
                    plan.action,
                    plan.target,
                    build_id,
                    plan.state_digest,
                    encode_plan(plan).decode(),
                    start,
                    RunStatus.RUNNING,
                ),
            )
            run = int(cursor.lastrowid or 0)
            self._writable().executemany(
                "INSERT INTO modules (run, name, bytes) VALUES (?,?,?)",
                [(run, name, data) for name, data in modules.items()],
            )
        return run

    def begin_step(self, run: int, step: Step, *, undoing: bool = False) -> int:
        """Write down that the step is about to act; its index in the run."""
        with translated(self.path):
            row = self._writable().execute(
                'INSERT INTO steps (run, "index", description, undoing, state, begun)'
                " SELECT ?, count(*), ?, ?, ?, ? FROM steps WHERE run = ?"
                ' RETURNING "index"',
                (
                    run,
                    msgspec.json.encode(encode_step(step)).decode(),
                    undoing,
                    StepState.BEGUN,
                    now(),
                    run,
                ),
            )
            return int(row.fetchone()[0])

    def end_step(self, run: int, index: int, state: StepState, error: str = "") -> None:
        with translated(self.path):
            self._writable().execute(
                "UPDATE steps SET state = ?, ended = ?, error = ?"
                ' WHERE run = ? AND "index" = ?',
                (state, now(), error, run, index),
            )

    def begin_undoing(self, run: int, error: str) -> None:
        """From here on the run can only end where it started."""
        with translated(self.path):
            self._writable().execute(
                "UPDATE runs SET status = ?, error = ? WHERE id = ?",
                (RunStatus.UNDOING, error, run),
            )

    def end_run(self, run: int, status: RunStatus, left: Sequence[str] = ()) -> None:
        """Close a run and settle its steps. A stuck run keeps its modules."""
        with translated(self.path), transaction(self._writable()) as _:
            execute, ended = self._writable().execute, now()
            execute(
                'UPDATE runs SET status = ?, ended = ?, "left" = ? WHERE id = ?',
                (status, ended, json.dumps(list(left)), run),
            )
            for undoing, was, state, error in SETTLED.get(status, ()):
                execute(
                    "UPDATE steps SET state = ?, error = ?,"
                    " ended = iif(ended = '', ?, ended)"
                    " WHERE run = ? AND undoing = ? AND state = ?",
                    (state, error, ended, run, undoing, was),
                )
            if status is not RunStatus.STUCK:
                execute("DELETE FROM modules WHERE run = ?", (run,))

    # Reading

    def entries(self, limit: int = 50) -> tuple[Entry, ...]:
        """The latest runs, newest first: who, what, when, on which build id."""
        return self._entries("ORDER BY id DESC LIMIT ?", (limit,))

    def open_run(self) -> Entry | None:
        """The run that has not ended. Unless somebody holds the lock, its process
        is dead and `lpengine.engine.recover` has work to do."""
        final = tuple(status for status in RunStatus if not status.is_open)
        unknown = ", ".join("?" * len(final))
        found = self._entries(
            f"WHERE status NOT IN ({unknown}) ORDER BY id DESC LIMIT 1", final
        )
        return found[0] if found else None

    def modules(self, run: int) -> dict[str, bytes]:
        """The module bytes kept for undoing that run, by patch name."""
        with translated(self.path):
            rows = self._readable().execute(
                "SELECT name, bytes FROM modules WHERE run = ?", (run,)
            )
            return {row["name"]: row["bytes"] for row in rows}

    def _entries(self, where: str, values: tuple[object, ...]) -> tuple[Entry, ...]:
        if not self.exists:
            return ()
        with translated(self.path):
            connection = self._readable()
            runs = connection.execute(f"SELECT * FROM runs {where}", values).fetchall()
            return tuple(self._entry(run) for run in runs)

    def _entry(self, run: sqlite3.Row) -> Entry:
        steps = self._readable().execute(
            'SELECT * FROM steps WHERE run = ? ORDER BY "index"', (run["id"],)
        )
        try:
            return as_entry(run, steps.fetchall())
        except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
            raise damaged(self.path, f"run {run['id']}: {error}") from error


def as_entry(run: sqlite3.Row, steps: Sequence[sqlite3.Row]) -> Entry:
    values = {name: run[name] for name in run.keys()}  # noqa: SIM118 (a Row, no dict)
    values["status"] = RunStatus(run["status"])
    values["left"] = tuple(json.loads(run["left"]))
    return Entry(**values, steps=tuple(as_step(step) for step in steps))


def as_step(row: sqlite3.Row) -> StepEntry:
    return StepEntry(
        index=row["index"],
        step=decode_step(json.loads(row["description"])),
        undoing=bool(row["undoing"]),
        state=StepState(row["state"]),
        begun=row["begun"],
        ended=row["ended"],
        error=row["error"],
    )
