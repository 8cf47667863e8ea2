"""The one place that starts programs: never a shell, always a deadline."""

import os
import shlex
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lpengine.errors import LpengineError, NotFoundError, NotPermittedError

# Which Debian package brings a program that is missing.
_PACKAGES = {
    "gcc": "gcc",
    "cc": "gcc",
    "clang": "clang",
    "as": "binutils",
    "ld": "binutils",
    "nm": "binutils",
    "objcopy": "binutils",
    "objdump": "binutils",
    "readelf": "binutils",
    "strip": "binutils",
    "make": "make",
    "flex": "flex",
    "bison": "bison",
    "patch": "patch",
    "git": "git",
    "depmod": "kmod",
    "insmod": "kmod",
    "rmmod": "kmod",
    "modinfo": "kmod",
    "xl": "xen-utils-common",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "apt-cache": "apt",
    "apt-get": "apt",
    "rpm": "rpm",
    "dpkg-query": "dpkg",
    "dpkg": "dpkg",
    "qemu-system-x86_64": "qemu-system-x86",
    "virtiofsd": "qemu-system-common",
}
_LINE_MAX = 300
# As much as `follow` keeps for an error.
_LAST_LINES = 200

# Runs a program for as long as somebody holds the other end of standard input: it
# goes away with whoever that is, however they end, and whichever thread began it
# (PR_SET_PDEATHSIG would ask for the thread).
_TIED = """\
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ read -r _ <&3; kill -KILL $child; } >/dev/null 2>&1 &
exec 3<&-
wait $child
status=$?
kill $! 2>/dev/null
exit $status
"""

# What `start` has started and nobody waits for: kept, so that it is reaped.
_background: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Result:
    """What a program that succeeded wrote."""

    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Ended:
    """What a program did. `status` is negative for the signal that ended it."""

    status: int
    stdout: bytes
    stderr: bytes


class CommandError(LpengineError):
    """A program failed. `status` is its exit status, negative for the signal that
    ended it, None where it ran out of time; `line` is the last it wrote to stderr."""

    def __init__(
        self, argv: Sequence[str], status: int | None, reason: str, stderr: bytes
    ) -> None:
        self.argv = tuple(argv)
        self.status = status
        self.stderr = stderr
        self.line = _last_line(stderr)
        detail = f": {self.line}" if self.line else ""
        super().__init__(
            f"{self.argv[0]} {reason}{detail}", hint=f"it was: {shlex.join(self.argv)}"
        )


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    input: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> Result:
    """Runs a program to its end, in the C locale and a process group of its own.

    `environment` is added to ours. After `timeout` seconds the whole group is
    killed. Raises NotFoundError for a missing program or directory,
    NotPermittedError for one that may not be started, CommandError for one that
    fails or runs out of time.
    """
    ended = complete(
        argv, cwd=cwd, input=input, environment=environment, timeout=timeout
    )
    if ended.status:
        raise CommandError(argv, ended.status, _reason(ended.status), ended.stderr)
    return Result(ended.stdout, ended.stderr)


def complete(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    input: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> Ended:
    """As `run`, for programs whose failure is an answer too."""
    process = _start(argv, cwd, input is not None, environment)
    with process:
        try:
            stdout, stderr = process.communicate(input, timeout)
        except subprocess.TimeoutExpired as error:
            _kill_group(process)
            raise CommandError(
                argv, None, f"did not end within {timeout:g} s", error.stderr or b""
            ) from None
        except BaseException:
            _kill_group(process)
            raise
    return Ended(process.returncode, stdout, stderr)


def follow(
    argv: Sequence[str],
    heard: Callable[[str], None],
    *,
    cwd: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> None:
    """As `run`, for programs that take minutes: each line it writes is given to
    `heard` as it comes and kept in `log`. The error holds the last lines."""
    last: deque[bytes] = deque(maxlen=_LAST_LINES)
    process = _start(argv, cwd, False, environment, one_stream=True)
    overdue = threading.Event()

    def end() -> None:
        overdue.set()
        _kill_group(process)

    timer = threading.Timer(timeout, end)
    timer.start()
    with process, log.open("wb") as kept:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                kept.write(line)
                last.append(line)
                heard(line.decode(errors="replace").rstrip())
            process.wait()
        except BaseException:
            _kill_group(process)
            raise
        finally:
            timer.cancel()
    said = b"".join(last)
    if overdue.is_set():
        raise CommandError(argv, None, f"did not end within {timeout:g} s", said)
    if process.returncode:
        raise CommandError(argv, process.returncode, _reason(process.returncode), said)


def start(argv: Sequence[str], *, cwd: Path, log: Path, tied: bool = False) -> int:
    """Starts a program in a session of its own; what it writes goes to `log`. It
    outlives us, unless `tied`: then it is killed when this process ends. The process
    id, of a shell around the program where it is tied. Raises as `run` does when it
    cannot be started."""
    words = ["sh", "-c", _TIED, "sh", *argv] if tied else list(argv)
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise NotFoundError(
                f"{argv[0]}: not installed", hint=_hint(argv)
            ) from error
        except OSError as error:
            reason = f"cannot be started: {error.strerror}"
            raise CommandError(argv, None, reason, b"") from error
    _reap()
    _background.append(process)
    return process.pid


def _reap() -> None:
    ended = [process for process in _background if process.poll() is not None]
    for process in ended:
        if process.stdin:
            process.stdin.close()
        _background.remove(process)


def _start(
    argv: Sequence[str],
    cwd: Path | None,
    with_input: bool,
    environment: Mapping[str, str] | None,
    *,
    one_stream: bool = False,
) -> subprocess.Popen[bytes]:
    if cwd is not None and not cwd.is_dir():
        raise NotFoundError(f"{cwd}: no such directory")
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            stdin=subprocess.PIPE if with_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if one_stream else subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            process_group=0,
        )
    except FileNotFoundError as error:
        raise NotFoundError(f"{argv[0]}: not installed", hint=_hint(argv)) from error
    except PermissionError as error:
        raise NotPermittedError(f"{argv[0]}: may not be started") from error
    except OSError as error:
        reason = f"cannot be started: {error.strerror}"
        raise CommandError(argv, None, reason, b"") from error


def package_of(program: str) -> str:
    """The Debian package that brings a program; its name where that is not known."""
    return _PACKAGES.get(program, program)


def _hint(argv: Sequence[str]) -> str:
    name = Path(argv[0]).name
    package = _PACKAGES.get(name)
    return f"apt install {package}" if package else f"put {name} on the PATH"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # The leader is not reaped yet, so its number still names this group.
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)


def _reason(status: int) -> str:
    if status > 0:
        return f"failed with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    return lines[-1].strip()[:_LINE_MAX] if lines else ""
