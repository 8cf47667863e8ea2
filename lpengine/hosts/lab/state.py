"""What guests there are: a directory each, with its record, console and sockets."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lpengine.errors import NotFoundError, UsageError
from lpengine.hosts.lab.storage import state_directory, write_whole

RECORD = "guest.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_MIB = 1 << 20
# What QEMU itself takes beside the guest's memory, and what is left to the host.
_OVERHEAD, _RESERVE = 192 * _MIB, 256 * _MIB


@dataclass(frozen=True)
class Process:
    """A process and when it started (clock ticks since boot): a number alone may
    name another one by now."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return self.started != 0 and started(self.pid) == self.started


@dataclass(frozen=True)
class Record:
    """A guest as it was booted. `memory` in MiB; `boot_seconds` to its first answer."""

    name: str
    kind: str
    memory: int
    cpus: int
    share: str
    processes: tuple[Process, ...]
    boot_seconds: float = 0.0
    booted: bool = False

    @property
    def directory(self) -> Path:
        return state_directory() / self.name

    @property
    def alive(self) -> bool:
        """Whether QEMU, which is the first process, runs."""
        return bool(self.processes) and self.processes[0].alive


def started(pid: int) -> int:
    """When a running process started; 0 for none or one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def process(pid: int) -> Process:
    return Process(pid, started(pid))


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r}: not a name for a guest", hint="letters, digits, . _ -"
        )
    return name


def save(record: Record) -> None:
    data = json.dumps(asdict(record), indent=1).encode()
    write_whole(record.directory / RECORD, data)


def load(name: str) -> Record:
    """`NotFoundError` for a guest that there is not."""
    check_name(name)
    try:
        found = json.loads((state_directory() / name / RECORD).read_bytes())
        processes = tuple(Process(**each) for each in found.pop("processes"))
        return Record(**found, processes=processes)
    except (OSError, ValueError, TypeError, KeyError):
        raise NotFoundError(
            f"no guest is named {name}", hint="lpengine lab list"
        ) from None


def records() -> tuple[Record, ...]:
    """Every guest, those that have died too, by name."""
    found = sorted(path.parent.name for path in state_directory().glob(f"*/{RECORD}"))
    return tuple(load(name) for name in found)


def free_name(kind: str) -> str:
    """ "xen", "xen-2", …"""
    taken = {record.name for record in records() if record.alive}
    candidates = (kind if n == 1 else f"{kind}-{n}" for n in range(1, 1000))
    return next(name for name in candidates if name not in taken)


def check_memory(wanted: int, meminfo: str | None = None) -> None:
    """Refuse a guest of `wanted` MiB that the host has no room for, counting what
    the running guests may still take. `UsageError`."""
    free = available(meminfo) - sum(still_to_come(r) for r in records()) - _RESERVE
    if wanted * _MIB + _OVERHEAD > free:
        raise UsageError(
            f"a guest of {wanted} MiB does not fit: {max(free, 0) // _MIB} MiB free",
            hint="stop a guest (lpengine lab stop NAME) or give it less --memory",
        )


def available(meminfo: str | None = None) -> int:
    """MemAvailable in bytes."""
    text = Path("/proc/meminfo").read_text() if meminfo is None else meminfo
    rows = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(rows["MemAvailable"].split()[0]) << 10


def still_to_come(record: Record) -> int:
    """Bytes that a running guest may take and has not taken yet."""
    if not record.alive:
        return 0
    pages = int(Path(f"/proc/{record.processes[0].pid}/statm").read_text().split()[1])
    taken = pages * os.sysconf("SC_PAGE_SIZE")
    return max(0, record.memory * _MIB + _OVERHEAD - taken)


def end(record: Record, signals: Mapping[signal.Signals, float]) -> None:
    """End a guest's processes: each signal in turn, then so many seconds."""
    for each, seconds in signals.items():
        for running in (p for p in record.processes if p.alive):
            os.kill(running.pid, each)
        deadline = time.monotonic() + seconds
        while any(p.alive for p in record.processes) and time.monotonic() < deadline:
            time.sleep(0.02)


def remove(record: Record) -> None:
    shutil.rmtree(record.directory, ignore_errors=True)
