"""The record of a run over pools: what was begun and what has ended, durable before
anything acts, so that a run that was stopped can go on where it stopped.

A file a run, a line an event, appended and synced. A last line that was cut off says
nothing, and nothing was done yet that it would have said.
"""

import errno
import os
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import msgspec

from lpengine.errors import InputError
from lpengine.journal.actor import current_actor, now
from lpengine.journal.database import sync_directory
from lpengine.journal.lock import make_directory, out_of_reach
from lpengine.planner.updates.plan import Fix, HostTask
from lpengine.pool.outcome import Phase

SCHEMA = 1
_VARIABLE = "LPENGINE_STATE_DIR"
_STATE = Path("/var/lib/lpengine")


class Kind(StrEnum):
    """STARTED and ENDED are of the run, BEGUN, DONE and FAILED of a phase. HOST_ENDED
    and POOL_ENDED tell of one that is through with it."""

    STARTED = "started"
    BEGUN = "begun"
    DONE = "done"
    FAILED = "failed"
    HOST_ENDED = "host_ended"
    POOL_ENDED = "pool_ended"
    ENDED = "ended"


@dataclass(frozen=True)
class Line:
    """`updates` and `pools` are what a run was STARTED with; `boot_id` is the host's
    at that moment. An INSTALL begins with the tasks that it will leave, an EVACUATE
    with the guests that are there, `closed` where the host is so already. HOST_ENDED
    has the host's outcome: `detail` is its status, then what is left, failed and
    closed."""

    kind: Kind = Kind.BEGUN
    at: str = ""
    pool: str = ""
    host: str = ""
    phase: Phase | None = None
    detail: str = ""
    error: str = ""
    boot_id: str = ""
    tasks: tuple[HostTask, ...] = ()
    guests: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    closed: bool = False
    fix: Fix | None = None
    updates: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    actor: str = ""
    schema: int = SCHEMA


def state_directory() -> Path:
    return Path(os.environ.get(_VARIABLE) or _STATE) / "pool"


class Record:
    """One run's file. Several threads may write."""

    def __init__(self, path: Path, lines: Sequence[Line]) -> None:
        self.path = path
        self.lines = list(lines)
        self._guard = threading.Lock()

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def started(self) -> Line:
        return self.lines[0]

    @property
    def pools(self) -> frozenset[str]:
        """All that it is about."""
        return frozenset({*self.started.pools, *(one.pool for one in self.lines)}) - {
            ""
        }

    @property
    def is_open(self) -> bool:
        """Whether a pool is not through with it."""
        return any(self.ending(pool) is None for pool in self.pools)

    @property
    def has_acted(self) -> bool:
        """Whether anything was done to anybody."""
        return any(
            one.kind is Kind.BEGUN and one.phase is not Phase.CHECK
            for one in self.lines
        )

    @property
    def ended(self) -> bool:
        return self.lines[-1].kind is Kind.ENDED

    def of(self, pool: str, host: str = "") -> list[Line]:
        """What is known of a pool as a whole, or of a host."""
        return [one for one in self.lines if (one.pool, one.host) == (pool, host)]

    def ending(self, pool: str, host: str = "") -> Line | None:
        """How a host or a pool got through with the run; None where it did not yet."""
        wanted = Kind.HOST_ENDED if host else Kind.POOL_ENDED
        return next((one for one in self.of(pool, host) if one.kind is wanted), None)

    def hosts_of(self, pool: str) -> frozenset[str]:
        """The hosts to which something was done or begun."""
        acted = (one for one in self.lines if one.pool == pool and one.host)
        return frozenset(
            one.host
            for one in acted
            if one.kind is Kind.BEGUN and one.phase is not Phase.CHECK
        )

    def outstanding(self, pool: str) -> tuple[Fix, ...]:
        """The fixes of a pool that are to be taken back, in their order. One that was
        begun may have been carried out; one that failed was not."""
        found: list[Fix] = []
        for line in self.of(pool):
            if line.fix is None or line.fix.undo is None:
                continue
            if line.phase is Phase.FIX and line.kind is Kind.BEGUN:
                found.append(line.fix)
            elif line.fix in found and (
                (line.phase is Phase.FIX and line.kind is Kind.FAILED)
                or (line.phase is Phase.UNDO and line.kind is Kind.DONE)
            ):
                found.remove(line.fix)
        return tuple(found)

    def end(self) -> None:
        """All pools are through. A run that has done nothing is not worth a record."""
        if self.has_acted:
            self.write(Line(Kind.ENDED))
        else:
            self.path.unlink(missing_ok=True)

    def write(self, line: Line) -> None:
        """Durable when it returns. `NotPermittedError` and the like where it cannot
        be; then nothing of it is there."""
        with self._guard:
            dated = replace(line, at=now())
            append(self.path, msgspec.json.encode(dated) + b"\n")
            self.lines.append(dated)


def begin(directory: Path, updates: Sequence[str], pools: Sequence[str]) -> Record:
    """A new run's record. The lock of the directory has to be held."""
    make_directory(directory)
    stamp = now().partition(".")[0].translate({ord(c): None for c in "-:"})
    record = Record(directory / f"{stamp}-{secrets.token_hex(2)}.jsonl", [])
    record.write(
        Line(
            Kind.STARTED,
            updates=tuple(updates),
            pools=tuple(pools),
            actor=current_actor(),
        )
    )
    sync_directory(directory)
    return record


def unfinished(directory: Path) -> tuple[Record, ...]:
    """The runs that have not ended, oldest first."""
    found = (load(path) for path in sorted(directory.glob("*.jsonl")))
    return tuple(record for record in found if record is not None and not record.ended)


def load(path: Path) -> Record | None:
    """None for one that was broken off before its first line was whole."""
    try:
        raw = path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        lines = [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]
        if len(whole) < len(raw):
            os.truncate(path, len(whole))
    except OSError as error:
        raise out_of_reach(path, error) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: damaged record of a run: {error}",
            hint=f"look at the hosts, then mv {path} {path}.damaged",
        ) from error
    return Record(path, lines) if lines else None


def append(path: Path, data: bytes) -> None:
    """The whole line, synced, or none of it."""
    try:
        with path.open("ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, size)
                raise
    except OSError as error:
        raise out_of_reach(path, error) from error
