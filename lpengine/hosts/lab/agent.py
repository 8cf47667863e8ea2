"""Runs inside a guest of the lab: does what it is asked over a virtio port.

The guest's init starts this file by its path, so it imports nothing of lpengine; the
host side imports the framing from here.

A message is a line: a nonce of 32 hexadecimal digits, a space, and fields in base64,
each preceded by its length (4 bytes, little-endian) before encoding. Lines make it
safe to break off anywhere: whoever comes next starts with a newline, and answers
carry the nonce of their request, so that the answer to somebody who left is ignored.

Command lines of lpengine are run by the program that the agent's own command line
gives, which has lpengine in memory (lpengine.cli.standby says how to talk to it).

    alive                                          -> done BOOT_ID
    run TIMEOUT_SECONDS DIRECTORY INPUT ARGV...    -> done STATUS STDOUT STDERR
    read PATH                                      -> done DATA
    write PATH DATA                                -> done
                                                   -> failed ERRNO MESSAGE
                                                   -> late                (run only)
"""

import errno
import fcntl
import os
import select
import signal
import sys
import time
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64, b2a_hex
from collections.abc import Sequence

PORT_NAME = "lpengine"
NONCE_SIZE = 32
_LENGTH_SIZE = 4
_CHUNK = 1 << 16
_NO_SUCH_PROGRAM, _NOT_A_PROGRAM = 127, 126
_MOMENT = 0.02
_LONG = 10.0
_SETTLED = 0.5


def frame(nonce: bytes, fields: Sequence[bytes]) -> bytes:
    """One message, with the newlines that set it apart from broken ones."""
    body = b"".join(len(f).to_bytes(_LENGTH_SIZE, "little") + f for f in fields)
    return b"\n" + nonce + b" " + b2a_base64(body)


def parse(line: bytes) -> tuple[bytes, tuple[bytes, ...]] | None:
    """(nonce, fields) of a line; None for one that is not a message."""
    nonce, space, encoded = line.strip(b"\r\n").partition(b" ")
    if len(nonce) != NONCE_SIZE or not space:
        return None
    try:
        body = a2b_base64(encoded, strict_mode=True)
    except NotBase64:
        return None
    fields = _fields(body)
    return None if fields is None else (nonce, fields)


def _fields(body: bytes) -> tuple[bytes, ...] | None:
    fields, position = [], 0
    while position < len(body):
        start = position + _LENGTH_SIZE
        position = start + int.from_bytes(body[position:start], "little")
        if start > len(body) or position > len(body):
            return None
        fields.append(body[start:position])
    return tuple(fields)


class Standby:
    """The program that runs command lines of lpengine. Where it does not begin, they
    are run like any other; where it breaks down it is begun anew."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._begin()

    def start(
        self, directory: bytes, argv: Sequence[bytes], files: Sequence[int]
    ) -> "Standing | None":
        """The command line at work; None where it has to be started otherwise."""
        if argv[0] != b"lpengine" or not self._has_begun():
            return None
        paths = [b"/proc/%d/fd/%d" % (os.getpid(), file) for file in files]
        words = [b2a_hex(word) for word in (directory, *paths, *argv[1:])]
        os.write(self._requests, b" ".join(words) + b"\n")
        return Standing(self.process, self._answers, self)

    def answer(self) -> int:
        """How the command line ended; where it took the program along, how that did."""
        line = self._line()
        if line:
            return int(line)
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        os.close(self._requests)
        os.close(self._answers)
        self._begin()
        return status

    def _begin(self) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        pipes = [(os.POSIX_SPAWN_DUP2, requests, 0), (os.POSIX_SPAWN_DUP2, answers, 1)]
        self.process = os.posix_spawnp(
            self._command[0],
            self._command,
            os.environ,
            file_actions=pipes,
            setpgroup=0,
            setsigmask=(),
        )
        os.close(requests)
        os.close(answers)
        self._ready = False

    def _has_begun(self) -> bool:
        self._ready = self._ready or self._line() == b"ready"
        return self._ready

    def _line(self) -> bytes:
        """The next answer; nothing where it has broken down."""
        line = b""
        while not line.endswith(b"\n"):
            data = os.read(self._answers, _CHUNK)
            if not data:
                return b""
            line += data
        return line[:-1]


class Standing:
    """A command line that the standby runs. `ended` can be polled."""

    def __init__(self, process: int, ended: int, standby: Standby) -> None:
        self.process = process
        self.ended = ended
        self._standby = standby

    def status(self) -> int:
        return self._standby.answer()


class Spawned:
    """A program that the agent runs itself."""

    def __init__(self, argv: list[bytes], files: Sequence[int]) -> None:
        actions = [(os.POSIX_SPAWN_DUP2, file, fd) for fd, file in enumerate(files)]
        self.process = os.posix_spawnp(
            argv[0],
            argv,
            os.environ,
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
        )
        self.ended = os.pidfd_open(self.process)

    def status(self) -> int:
        os.close(self.ended)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def serve(port: int, standby: Standby | None = None) -> None:
    """Answer every message that comes in; never returns."""
    pending = bytearray()
    while True:
        data = _receive(port)
        pending += data
        if not data:  # nobody is connected: what they began is void
            pending.clear()
        while (end := pending.find(b"\n")) >= 0:
            message = parse(bytes(pending[:end]))
            del pending[: end + 1]
            if message:
                nonce, fields = message
                _send(port, frame(nonce, answer(port, fields, standby)))


def _receive(port: int) -> bytes:
    poll = select.poll()
    poll.register(port, select.POLLIN)
    events = poll.poll()
    if events and events[0][1] & select.POLLHUP:
        # A port without a peer is always ready, and to look at it again and again
        # takes a core that all guests share.
        signal.sigtimedwait([signal.SIGIO], _LONG)
    return os.read(port, _CHUNK)


def tell_of_peers(port: int) -> None:
    """Have a SIGIO kept for us whenever a peer comes or goes (Linux,
    drivers/char/virtio_console.c, send_sigio_to_port)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    fcntl.fcntl(port, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(port, fcntl.F_GETFL)
    fcntl.fcntl(port, fcntl.F_SETFL, flags | os.O_ASYNC)


def _send(port: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(port, view[:_CHUNK]) :]


def answer(
    port: int, fields: Sequence[bytes], standby: Standby | None = None
) -> Sequence[bytes]:
    try:
        match fields:
            case [b"alive"]:
                return [b"done", _whole(b"/proc/sys/kernel/random/boot_id").strip()]
            case [b"run", seconds, directory, data, *argv] if argv:
                files = [os.memfd_create(name) for name in ("in", "out", "err")]
                os.pwrite(files[0], data, 0)
                return _run(port, float(seconds), directory, files, argv, standby)
            case [b"read", path]:
                return [b"done", _whole(path)]
            case [b"write", path, data]:
                _write(path, data)
                return [b"done"]
        return [b"failed", b"%d" % errno.ENOSYS, b"unknown request"]
    except OSError as error:
        reason = (error.strerror or str(error)).encode()
        return [b"failed", b"%d" % (error.errno or 0), reason]


def _whole(path: bytes) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123  pathlib is slow to import here
        return file.read()


def _write(path: bytes, data: bytes) -> None:
    beside = path + b".lpengine-%d" % os.getpid()
    try:
        mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(beside, mode, 0o644), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)  # noqa: PTH105
    except OSError:
        if os.access(beside, os.F_OK):
            os.unlink(beside)  # noqa: PTH108
        raise


def _run(
    port: int,
    seconds: float,
    directory: bytes,
    files: Sequence[int],
    argv: list[bytes],
    standby: Standby | None,
) -> Sequence[bytes]:
    """`files` are for standard input, output and error, and are closed."""
    try:
        where = _enter(directory)
        started = standby and standby.start(where, argv, files)
        running = started or Spawned(argv, files)
        late = not _ended(running.ended, port, seconds)
        if late:
            os.killpg(running.process, signal.SIGKILL)
        status = running.status()
        if late:
            return [b"late"]
        code = 128 - status if status < 0 else status
        return [b"done", b"%d" % code, _content(files[1]), _content(files[2])]
    except FileNotFoundError:
        return [b"done", b"%d" % _NO_SUCH_PROGRAM, b"", argv[0] + b": not found\n"]
    except PermissionError:
        return [b"done", b"%d" % _NOT_A_PROGRAM, b"", argv[0] + b": not a program\n"]
    finally:
        for file in files:
            os.close(file)


def _enter(directory: bytes) -> bytes:
    """Work there, or where the guest has no such directory, at the top."""
    try:
        os.chdir(directory)
    except OSError:
        directory = b"/"
        os.chdir(directory)
    return directory


def _ended(ended: int, port: int, seconds: float) -> bool:
    """Wait; False when time is up or whoever asked has gone: they hung up, or somebody
    else speaks already."""
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(port, select.POLLIN)
    deadline = time.monotonic() + seconds
    heard = time.monotonic()
    while True:
        left = deadline - time.monotonic()
        events = dict(poll.poll(max(0, left) * 1000))
        if ended in events:
            return True
        if not events.get(port, 0) & select.POLLHUP:
            return False
        # What was said can be here before the news that somebody is on the line.
        if time.monotonic() - heard > _SETTLED:
            return False
        time.sleep(_MOMENT)


def _content(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


def _find_port() -> str:
    ports = "/sys/class/virtio-ports"
    for port in os.listdir(ports):  # noqa: PTH208
        if _whole(f"{ports}/{port}/name".encode()).strip() == PORT_NAME.encode():
            return f"/dev/{port}"
    raise SystemExit(f"no virtio port is named {PORT_NAME}")


if __name__ == "__main__":
    sys.stderr.write("lab: ready\n")
    standing_by = Standby(sys.argv[1:]) if sys.argv[1:] else None
    own_port = os.open(_find_port(), os.O_RDWR | os.O_CLOEXEC)
    tell_of_peers(own_port)
    serve(own_port, standing_by)
