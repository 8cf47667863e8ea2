"""Runs over disk and memory together, in a host's journal."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from lpengine.journal.actor import current_actor, now
from lpengine.journal.database import damaged, transaction, translated
from lpengine.journal.entries import RunStatus, StepState
from lpengine.journal.file import JournalFile
from lpengine.journal.host_entries import (
    Coming,
    Deed,
    HostEntry,
    HostStep,
    HostStepEntry,
)
from lpengine.journal.host_schema import SCHEMA
from lpengine.journal.store import SETTLED
from lpengine.package.model import Level, Task

T = TypeVar("T")


class HostRuns(JournalFile):
    """What is done to a host, step by step; errors as `Journal` raises them."""

    schema = SCHEMA
    file = "host.sqlite"

    # Runs

    def begin_run(
        self,
        verb: str,
        updates: Sequence[str],
        boot_id: str,
        *,
        plan: str = "{}",
        updates_digest: str = "",
        state_digest: str = "",
        coming: Iterable[Coming] = (),
        settled: bool = False,
    ) -> int:
        """A new open run. `coming` are updates that count as being here once the run is
        settled; their modules outlive a crash. One without a disk half is `settled`
        from the start."""
        with translated(self.path), transaction(self._writable()) as _:
            cursor = self._writable().execute(
                "INSERT INTO runs (started, actor, pid, verb, updates, boot_id,"
                " updates_digest, state_digest, plan, status, settled)"
                " VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                (
                    now(),
                    current_actor(),
                    os.getpid(),
                    verb,
                    json.dumps(list(updates)),
                    boot_id,
                    updates_digest,
                    state_digest,
                    plan,
                    RunStatus.RUNNING,
                    settled,
                ),
            )
            run = int(cursor.lastrowid or 0)
            for update in coming:
                self._keep(run, boot_id, update)
        return run

    def _keep(self, run: int, boot_id: str, update: Coming) -> None:
        execute = self._writable().execute
        # One that came with a run that never ended, or came without its files.
        execute("DELETE FROM updates WHERE id = ?", (update.id,))
        execute(
            "INSERT INTO updates (id, digest, manifest, signer, on_disk, since,"
            " boot_id, run, coming) VALUES (?,?,?,?,?,?,?,?,1)",
            (
                update.id,
                update.digest,
                update.manifest,
                update.signer,
                update.on_disk,
                now(),
                boot_id,
                run,
            ),
        )
        self._writable().executemany(
            'INSERT OR IGNORE INTO modules ("update", sha256, raw) VALUES (?,?,?)',
            [(update.id, one.sha256, one.raw) for one in update.modules],
        )

    def begin_step(self, run: int, step: HostStep, *, undoing: bool = False) -> int:
        """Write down that the step is about to act; its index in the run."""
        with translated(self.path):
            row = self._writable().execute(
                'INSERT INTO steps (run, "index", step, undoing, state, begun)'
                " SELECT ?, count(*), ?, ?, ?, ? FROM steps WHERE run = ?"
                ' RETURNING "index"',
                (run, encode(step), undoing, StepState.BEGUN, now(), run),
            )
            return int(row.fetchone()[0])

    def end_step(self, run: int, index: int, state: StepState, error: str = "") -> None:
        self._execute(
            "UPDATE steps SET state = ?, ended = ?, error = ?"
            ' WHERE run = ? AND "index" = ?',
            (state, now(), error, run, index),
        )

    def begin_undoing(self, run: int, error: str) -> None:
        """From here on the run can only end where it started."""
        self._execute(
            "UPDATE runs SET status = ?, error = ? WHERE id = ?",
            (RunStatus.UNDOING, error, run),
        )

    def settle(
        self,
        run: int,
        boot_id: str,
        pending: Iterable[tuple[Level, Task]],
        *,
        gone: Sequence[str] = (),
        obsolete: Iterable[Task] = (),
        forgiven: Iterable[tuple[str, str]] = (),
    ) -> None:
        """The disk is as it was to be: what came counts as installed, what is `gone`
        does not, and these tasks are left to do; those that are `obsolete` are not.
        That the live patches `forgiven` (component and name) failed is forgotten. From
        here on the run only goes forward."""
        with translated(self.path), transaction(self._writable()) as _:
            execute = self._writable().execute
            execute(
                "UPDATE updates SET coming = 0, boot_id = ? WHERE run = ? AND coming",
                (boot_id, run),
            )
            for update in gone:
                execute("DELETE FROM updates WHERE id = ?", (update,))
            for task in obsolete:
                execute("DELETE FROM pending WHERE task = ?", (task,))
            for patch in forgiven:
                execute("DELETE FROM failures WHERE component = ? AND name = ?", patch)
            for level, task in pending:
                execute(
                    "INSERT OR IGNORE INTO pending (level, task, boot_id, since, run)"
                    " VALUES (?,?,?,?,?)",
                    (level, task, boot_id, now(), run),
                )
            execute("UPDATE runs SET settled = 1 WHERE id = ?", (run,))

    def end_run(
        self, run: int, status: RunStatus, error: str = "", left: Sequence[str] = ()
    ) -> None:
        """Close a run and settle its steps. What was coming with a run that was taken
        back is forgotten."""
        with translated(self.path), transaction(self._writable()) as _:
            execute = self._writable().execute
            execute(
                "UPDATE runs SET status = ?, ended = ?, error = ?,"
                ' "left" = ? WHERE id = ?',
                (status, now(), error, json.dumps(list(left)), run),
            )
            for undoing, was, state, reason in SETTLED.get(status, ()):
                execute(
                    "UPDATE steps SET state = ?, error = ?"
                    " WHERE run = ? AND undoing = ? AND state = ?",
                    (state, reason, run, undoing, was),
                )
            if status is not RunStatus.STUCK:
                execute("DELETE FROM updates WHERE run = ? AND coming = 1", (run,))

    def entries(self, limit: int = 50) -> tuple[HostEntry, ...]:
        """The latest runs, newest first."""
        return self._entries("ORDER BY id DESC LIMIT ?", (limit,))

    def open_run(self) -> HostEntry | None:
        """The run that has not ended. Unless somebody holds the lock, its process is
        dead."""
        states = tuple(status for status in RunStatus if status.is_open)
        marks = ", ".join("?" * len(states))
        found = self._entries(f"WHERE status IN ({marks}) ORDER BY id DESC", states)
        return found[0] if found else None

    # What they share

    def _execute(self, statement: str, values: Sequence[object]) -> None:
        with translated(self.path):
            self._writable().execute(statement, values)

    def _rows(
        self,
        statement: str,
        values: Sequence[object],
        make: Callable[[dict[str, Any]], T],
    ) -> tuple[T, ...]:
        """Nothing where there is no journal yet. What cannot be read is damage."""
        if not self.exists:
            return ()
        with translated(self.path):
            rows = self._readable().execute(statement, values).fetchall()
            try:
                return tuple(make(dict(row)) for row in rows)
            except (ValueError, TypeError, KeyError) as error:
                raise damaged(self.path, str(error)) from error

    def _entries(self, where: str, values: Sequence[object]) -> tuple[HostEntry, ...]:
        return self._rows(f"SELECT * FROM runs {where}", values, self._entry)

    def _entry(self, row: dict[str, Any]) -> HostEntry:
        steps = self._rows(
            'SELECT * FROM steps WHERE run = ? ORDER BY "index"', (row["id"],), as_step
        )
        return HostEntry(
            **{
                **row,
                "updates": tuple(json.loads(row["updates"])),
                "settled": bool(row["settled"]),
                "status": RunStatus(row["status"]),
                "left": tuple(json.loads(row["left"])),
                "steps": steps,
            }
        )


def encode(step: HostStep) -> str:
    return json.dumps(
        {
            "deed": step.deed,
            "subject": step.subject,
            "detail": step.detail,
            "build_id": step.build_id,
        }
    )


def as_step(row: Mapping[str, Any]) -> HostStepEntry:
    step = json.loads(row["step"])
    return HostStepEntry(
        index=row["index"],
        step=HostStep(**{**step, "deed": Deed(step["deed"])}),
        undoing=bool(row["undoing"]),
        state=StepState(row["state"]),
        begun=row["begun"],
        ended=row["ended"],
        error=row["error"],
    )
