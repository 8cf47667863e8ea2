"""Progress of a run over pools on standard error: a table that is redrawn on a
terminal, else a line a phase, or JSON lines."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from lpengine.journal.actor import now
from lpengine.pool.outcome import (
    Event,
    HostEnded,
    Notify,
    PhaseBegun,
    PhaseEnded,
    PoolEnded,
)
from lpengine.report.pool_documents import PoolEventDocument
from lpengine.report.pool_text import host_status, words

STYLES = ("auto", "table", "lines", "json", "none")
_REDRAWS = 4  # a second


@contextmanager
def progress(style: str, servers: Sequence[tuple[str, str]]) -> Iterator[Notify]:
    """What to call with each event. `servers` are (pool, host), in their order."""
    if style == "auto":
        style = "table" if sys.stderr.isatty() else "lines"
    if style == "table":
        with live_table(servers) as notify:
            yield notify
    else:
        writers: dict[str, Callable[[Event], str]] = {
            "lines": event_line,
            "json": event_json,
        }
        yield Writer(writers.get(style))


class Writer:
    """Writes a line an event; several pools tell at once."""

    def __init__(self, write: Callable[[Event], str] | None) -> None:
        self._write = write
        self._guard = threading.Lock()

    def __call__(self, event: Event) -> None:
        line = self._write(event) if self._write else ""
        if line:
            with self._guard:
                print(line, file=sys.stderr, flush=True)


def event_line(event: Event) -> str:
    """Of a phase only how it ended, and its beginning where it may take long."""
    match event:
        case PhaseBegun(pool, host, phase, detail):
            what = words(detail or phase)
            return f"{where(pool, host)}: {what} ..."
        case PhaseEnded(pool, host, phase, seconds, detail, error):
            what = words(detail or phase)
            ended = f"failed: {error}" if error else "done"
            return f"{where(pool, host)}: {what} {ended} ({seconds:.1f} s)"
        case HostEnded(pool, outcome):
            return f"{where(pool, outcome.host)}: {host_status(outcome)}"
        case PoolEnded(outcome):
            return f"{outcome.pool}: {outcome.status}"


def where(pool: str, host: str) -> str:
    return f"{pool}/{host}" if host else pool


def event_json(event: Event) -> str:
    return msgspec.json.encode(event_document(event)).decode()


def event_document(event: Event) -> PoolEventDocument:
    kind, pool, host, phase, detail, status, seconds, error = event_fields(event)
    return PoolEventDocument(
        schema="lpengine/pool-event/1",
        event=kind,
        at=now(),
        pool=pool,
        host=host,
        phase=phase,
        detail=detail,
        status=status,
        seconds=round(seconds, 3),
        error=error,
    )


def event_fields(event: Event) -> tuple[str, str, str, str, str, str, float, str]:
    match event:
        case PhaseBegun(pool, host, phase, detail):
            return "begun", pool, host, phase, detail, "", 0.0, ""
        case PhaseEnded(pool, host, phase, seconds, detail, error):
            kind = "failed" if error else "done"
            return kind, pool, host, phase, detail, "", seconds, error
        case HostEnded(pool, outcome):
            error = outcome.error.message if outcome.error else ""
            return "host", pool, outcome.host, "", "", outcome.status, 0.0, error
        case PoolEnded(outcome):
            error = outcome.error.message if outcome.error else ""
            return "pool", outcome.pool, "", "", "", outcome.status, 0.0, error


@contextmanager
def live_table(servers: Sequence[tuple[str, str]]) -> Iterator[Notify]:
    # rich costs 30 ms to import and only a terminal shows what it draws.
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    states = dict.fromkeys(servers, "waiting")
    guard = threading.Lock()

    def table() -> Table:
        drawn = Table("POOL", "SERVER", "NOW", box=None, pad_edge=False)
        with guard:
            rows = list(states.items())
        for (pool, host), state in rows:
            drawn.add_row(pool, host, state.replace("[", r"\["))
        return drawn

    def notify(event: Event) -> None:
        place, state = shown(event)
        with guard:
            for server in states:
                if server == place or (not place[1] and server[0] == place[0]):
                    states[server] = state

    console = Console(stderr=True)
    with Live(get_renderable=table, console=console, refresh_per_second=_REDRAWS):
        yield notify


def shown(event: Event) -> tuple[tuple[str, str], str]:
    """Which server an event is about ("" for all of the pool), and what it says."""
    match event:
        case PhaseBegun(pool, host, phase, detail):
            return (pool, host), f"{words(detail or phase)} ..."
        case PhaseEnded(pool, host, phase, _, detail, error):
            what = words(detail or phase)
            return (pool, host), f"{what} failed: {error}" if error else f"{what} done"
        case HostEnded(pool, outcome):
            return (pool, outcome.host), host_status(outcome)
        case PoolEnded(outcome):
            return (outcome.pool, "-"), outcome.status
