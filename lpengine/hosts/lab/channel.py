"""The host's end of the line to a guest's agent."""

import os
import secrets
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import lpengine.hosts.lab.agent as agent
from lpengine.hosts.base import HostError
from lpengine.hosts.lab.qemu import AGENT

_CHUNK = 1 << 16
_TICK = 0.25


class Channel:
    """One connection. `check` is called while an answer is awaited, about four times
    a second, and raises when there is no point in waiting any longer."""

    def __init__(self, connection: socket.socket, check: Callable[[], None]) -> None:
        self._connection = connection
        self._check = check

    def ask(self, fields: Sequence[bytes], seconds: float) -> tuple[bytes, ...]:
        """The answer's fields. `HostError` when none comes in time, or the guest
        closes the line."""
        nonce = secrets.token_hex(agent.NONCE_SIZE // 2).encode()
        deadline = time.monotonic() + seconds
        self._send(agent.frame(nonce, fields), deadline)
        pending = bytearray()
        while True:
            *lines, rest = bytes(pending).split(b"\n")
            for line in lines:
                message = agent.parse(line)
                if message and message[0] == nonce:
                    return message[1]
            pending = bytearray(rest)
            while b"\n" not in (data := self._receive(deadline)):
                pending += data
            pending += data

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(select.POLLOUT, deadline)
            with suppress(BlockingIOError):
                view = view[self._connection.send(view[:_CHUNK]) :]

    def _receive(self, deadline: float) -> bytes:
        self._wait(select.POLLIN, deadline)
        data = self._connection.recv(_CHUNK)
        if not data:
            raise HostError("the guest has gone")
        return data

    def _wait(self, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._connection, event)
        while not poll.poll(_TICK * 1000):
            self._check()
            if time.monotonic() > deadline:
                raise HostError("the guest does not answer")


@contextmanager
def connected(directory: Path, check: Callable[[], None]) -> Iterator[Channel]:
    """A channel to the guest whose directory that is. `HostError` where it is not
    running."""
    connection = socket.socket(socket.AF_UNIX)
    descriptor = os.open(directory, os.O_PATH)
    try:
        # Through the descriptor: a socket's path is limited to 107 bytes.
        connection.connect(f"/proc/self/fd/{descriptor}/{AGENT}")
        connection.setblocking(False)
        yield Channel(connection, check)
    except (FileNotFoundError, ConnectionError, BrokenPipeError) as error:
        raise HostError(f"{directory.name}: the guest is not running") from error
    finally:
        os.close(descriptor)
        connection.close()
