"""A host's journal: runs over disk and memory together, and what they have left."""

from collections.abc import Sequence

from lpengine.journal.actor import now
from lpengine.journal.database import transaction, translated
from lpengine.journal.host_entries import (
    AppliedPatch,
    FailedPatch,
    KeptUpdate,
    PendingTask,
    Trial,
)
from lpengine.journal.host_runs import HostRuns
from lpengine.package.model import Level, Task


class HostJournal(HostRuns):
    """The journal of one host; errors as `Journal` raises them."""

    # Updates and what they bring

    def coming(self, run: int) -> tuple[KeptUpdate, ...]:
        """Those that an unsettled run brings."""
        return self._kept("run = ? AND coming = 1", (run,))

    def updates(self) -> tuple[KeptUpdate, ...]:
        """Those on the host, in the order in which they came."""
        return self._kept("coming = 0", ())

    def _kept(self, which: str, values: Sequence[object]) -> tuple[KeptUpdate, ...]:
        return self._rows(
            "SELECT number, id, digest, manifest, signer, on_disk, since, boot_id, run"
            f" FROM updates WHERE {which} ORDER BY number",
            values,
            lambda row: KeptUpdate(**{**row, "on_disk": bool(row["on_disk"])}),
        )

    def module(self, sha256: str) -> bytes | None:
        """A module of an update on the host, or of one that is coming."""
        found = self._rows(
            "SELECT raw FROM modules WHERE sha256 = ? LIMIT 1",
            (sha256,),
            lambda row: bytes(row["raw"]),
        )
        return found[0] if found else None

    # What is left to do

    def pending(self) -> tuple[PendingTask, ...]:
        return self._rows(
            "SELECT * FROM pending ORDER BY since, level, task",
            (),
            lambda row: PendingTask(
                Level(row["level"]),
                Task(row["task"]),
                row["boot_id"],
                row["since"],
                row["run"],
            ),
        )

    def clear(self, task: Task) -> None:
        """It was done."""
        self._execute("DELETE FROM pending WHERE task = ?", (task,))

    def clear_earlier_boots(self, boot_id: str) -> None:
        """A boot does whatever was left to be done on the host, failed live patches
        included."""
        for table in ("pending", "failures", "applied"):
            self._execute(f"DELETE FROM {table} WHERE boot_id <> ?", (boot_id,))

    # Live patches on trial

    def begin_trial(self, trial: Trial) -> None:
        self._execute(
            "INSERT OR REPLACE INTO trials"
            ' (component, name, "to", boot_id, since, run) VALUES (?,?,?,?,?,?)',
            (
                trial.component,
                trial.name,
                trial.to,
                trial.boot_id,
                now(),
                trial.run,
            ),
        )

    def end_trial(self, trial: Trial, error: str = "") -> None:
        """It went on, under that name, or it did not, because of `error`; the host is
        still there."""
        with translated(self.path), transaction(self._writable()) as _:
            execute = self._writable().execute
            execute("DELETE FROM trials WHERE component = ?", (trial.component,))
            execute("DELETE FROM failures WHERE component = ?", (trial.component,))
            if error:
                execute(
                    "INSERT INTO failures (component, name, error, boot_id, since, run)"
                    " VALUES (?,?,?,?,?,?)",
                    (
                        trial.component,
                        trial.name,
                        error,
                        trial.boot_id,
                        now(),
                        trial.run,
                    ),
                )
            else:
                execute(
                    "INSERT OR REPLACE INTO applied"
                    ' (component, name, "to", boot_id) VALUES (?,?,?,?)',
                    (trial.component, trial.name, trial.to, trial.boot_id),
                )

    def applied(self) -> tuple[AppliedPatch, ...]:
        """Those that went on; in another boot than this, they are gone."""
        return self._rows("SELECT * FROM applied", (), lambda row: AppliedPatch(**row))

    def trials(self) -> tuple[Trial, ...]:
        """Those that have not ended: of another boot, the host went down meanwhile."""
        return self._rows("SELECT * FROM trials", (), lambda row: Trial(**row))

    def forget_trials(self, boot_id: str) -> None:
        """Of this boot: a process died over them, not the host."""
        self._execute("DELETE FROM trials WHERE boot_id = ?", (boot_id,))

    def failures(self) -> tuple[FailedPatch, ...]:
        return self._rows("SELECT * FROM failures", (), lambda row: FailedPatch(**row))
