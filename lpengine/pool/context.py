"""What a run over pools works with."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lpengine.errors import LpengineError
from lpengine.package.model import Update
from lpengine.planner.updates.state import UpdatePolicy
from lpengine.pool.gather import Opener
from lpengine.pool.installing import Installer
from lpengine.pool.outcome import Notify, Phase, PhaseBegun, PhaseEnded
from lpengine.pool.record import Kind, Line, Record


class Cancelled(LpengineError):
    """Somebody has stopped the run; what was begun was brought to its end."""

    exit_code = 130


@dataclass(frozen=True)
class Context:
    """`bundles` are the files of the `updates`, `policies` go by pool. `cancelled` is
    set by whoever wants the run to stop after what it is doing; `poll` is how many
    seconds lie between two looks at something that is waited for. `by_engine`: hosts
    need an lpengine of their own to be updated."""

    updates: tuple[Update, ...]
    bundles: tuple[Path, ...]
    policies: Mapping[str, UpdatePolicy]
    record: Record
    notify: Notify
    opener: Opener
    install: Installer
    poll: float = 2.0
    by_engine: bool = True
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(update.id for update in self.updates)

    def policy(self, pool: str) -> UpdatePolicy:
        return self.policies[pool]

    @contextmanager
    def phase(
        self, phase: Phase, line: Line, *, putting_back: bool = False
    ) -> Iterator[None]:
        """Written down before it begins, and when it has ended. `line` has what it is
        about, and what going on with it later takes. `Cancelled` instead where the
        run was stopped, unless this puts something back."""
        if self.cancelled.is_set() and not putting_back:
            raise Cancelled(f"stopped before {phase} {line.detail}".rstrip())
        begun = replace(line, kind=Kind.BEGUN, phase=phase)
        self.record.write(begun)
        self.notify(PhaseBegun(begun.pool, begun.host, phase, begun.detail))
        start = time.monotonic()
        try:
            yield
        except Exception as failure:
            self._end(begun, phase, Kind.FAILED, start, str(failure))
            raise
        self._end(begun, phase, Kind.DONE, start)

    def _end(
        self, begun: Line, phase: Phase, kind: Kind, start: float, error: str = ""
    ) -> None:
        ended = Line(
            kind,
            pool=begun.pool,
            host=begun.host,
            phase=phase,
            detail=begun.detail,
            error=error,
            fix=begun.fix,
        )
        self.record.write(ended)
        seconds = time.monotonic() - start
        self.notify(
            PhaseEnded(begun.pool, begun.host, phase, seconds, begun.detail, error)
        )
