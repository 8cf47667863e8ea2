"""A running guest: a host like any other, and its console."""

import re
import signal
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType

import lpengine.hosts.lab.state as state
from lpengine.hosts.base import DEFAULT_TIMEOUT, Completed, HostError, file_error
from lpengine.hosts.lab.channel import connected
from lpengine.hosts.lab.qemu import CONSOLE
from lpengine.hosts.lab.storage import exclusive

# The last words of Xen, Linux and our init.
_DEATH = re.compile(r"Panic on CPU|Kernel panic|FATAL TRAP|lab: failed|dom0 crashed")
_DEATH_OF_DOM0 = re.compile(r"Hardware Dom0 (crashed|shutdown)")
_QUICK = timedelta(seconds=60)
_GRACE = 15.0
_QUEUE = 600.0


class Guest:
    """A machine of the lab that has booted. As a context manager it is stopped at
    the end."""

    sees_our_files = True

    def __init__(self, record: state.Record) -> None:
        self.record = record

    def __enter__(self) -> "Guest":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def name(self) -> str:
        return f"qemu:{self.record.name}"

    @property
    def kind(self) -> str:
        """ "xen" (we are in dom0) or "linux"."""
        return self.record.kind

    @property
    def console(self) -> str:
        """Everything hypervisor and kernel have written since the boot."""
        path = self.record.directory / CONSOLE
        return path.read_bytes().decode(errors="replace") if path.exists() else ""

    @property
    def alive(self) -> bool:
        """Whether QEMU runs; what runs in it may hang all the same."""
        return self.record.alive

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        timeout: timedelta = DEFAULT_TIMEOUT,
        directory: str = "/",
    ) -> Completed:
        """See `Host.run`. The program starts in `directory` where the guest has it;
        one at a time, the next waits its turn."""
        seconds = timeout.total_seconds()
        words = [argument.encode() for argument in argv]
        request = [b"run", b"%f" % seconds, directory.encode(), input, *words]
        answer = self._ask(request, seconds + _GRACE)
        if answer == (b"late",):
            raise HostError(f"{argv[0]} did not end within {seconds:g} s")
        status, stdout, stderr = answer[1:]
        return Completed(int(status), stdout, stderr)

    def read(self, path: str) -> bytes:
        return self._ask([b"read", path.encode()], _QUICK.total_seconds(), path)[1]

    def write(self, path: str, data: bytes) -> None:
        self._ask([b"write", path.encode(), data], _QUICK.total_seconds(), path)

    def boot_id(self) -> str:
        return self._ask([b"alive"], _QUICK.total_seconds())[1].decode()

    def stop(self) -> None:
        """End it and forget it: what it wrote into its overlay is gone."""
        state.end(self.record, {signal.SIGTERM: 3.0, signal.SIGKILL: 3.0})
        state.remove(self.record)

    def kill(self) -> None:
        """The power fails. The console stays until `stop`."""
        state.end(self.record, {signal.SIGKILL: 3.0})

    def check(self) -> None:
        """`HostError` when it has died, with its last words."""
        words = last_words(self.console)
        if words:
            raise HostError(f"{self.record.name} has died: {words}", hint=self._hint())
        if not self.alive:
            raise HostError(f"{self.record.name} is off", hint=self._hint())

    def wait(self, seconds: float) -> None:
        """Until it answers for the first time. `HostError` when it does not."""
        with connected(self.record.directory, self.check) as channel:
            channel.ask([b"alive"], seconds)

    def _hint(self) -> str:
        return f"lpengine lab console {self.record.name}"

    def _ask(
        self, request: Sequence[bytes], seconds: float, path: str = ""
    ) -> tuple[bytes, ...]:
        self.check()
        lock = self.record.directory / "lock"
        with (
            exclusive(lock, self.name, _QUEUE),
            connected(self.record.directory, self.check) as channel,
        ):
            answer = channel.ask(request, seconds)
        if answer[0] == b"failed":
            raise file_error(path or self.name, int(answer[1]), answer[2].decode())
        return answer


def last_words(console: str) -> str:
    """The line of a console with which its machine died; "" while it lives."""
    for line in console.splitlines():
        if _DEATH.search(line) or _DEATH_OF_DOM0.search(line):
            return line.strip()
    return ""
