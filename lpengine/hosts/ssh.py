"""Machines behind OpenSSH's client, which knows the user's configuration, agent and
known hosts better than we could."""

import re
import shlex
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from lpengine import command
from lpengine.errors import UsageError
from lpengine.hosts.base import DEFAULT_TIMEOUT, Completed, HostError, file_error

_UNREACHED = 255
_LATE = 124
_WORD = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*")
_CONNECT_SECONDS = 15
_GRACE = 10.0

# Each answers with an errno as its status, which `file_error` knows: a shell has no
# other way to say why it could not.
_READ = """\
[ -e "$1" ] || exit 2
[ ! -d "$1" ] || exit 21
[ -r "$1" ] || exit 13
exec cat -- "$1"
"""
_WRITE = """\
[ ! -d "$1" ] || exit 21
directory=$(dirname -- "$1")
[ -d "$directory" ] || exit 2
[ -w "$directory" ] || exit 13
beside=$(mktemp -- "$directory/.lpengine-XXXXXX") || exit 13
trap 'rm -f -- "$beside"' EXIT
cat >"$beside" && chmod 644 "$beside" && sync -- "$beside" || exit 5
[ "$(wc -c <"$beside")" -eq "$2" ] || exit 5
mv -f -- "$beside" "$1" || exit 5
"""
_REASONS = {
    2: "No such file or directory",
    5: "Input/output error",
    13: "Permission denied",
    21: "Is a directory",
}


class SshHost:
    """`uri` is "ssh://[user@]host[:port]", or a name of the user's configuration.
    One connection is kept for as long as this object lives. `options` go to ssh."""

    sees_our_files = False

    def __init__(self, uri: str, options: Sequence[str] = ()) -> None:
        self.name = uri
        self._destination = destination(uri)
        self._options = tuple(options)
        # Private, and short: a socket's path is limited to 107 bytes.
        self._sockets = tempfile.mkdtemp(prefix="lpe-", dir="/tmp")
        goodbye = self._argv("-O", "exit")
        self._finalize = weakref.finalize(self, _disconnect, goodbye, self._sockets)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> Completed:
        seconds = timeout.total_seconds()
        # The far end's deadline is its own: killing our client would not end it.
        limited = ["timeout", "--kill-after=1", f"{seconds:f}", *argv]
        line = f'{shlex.join(limited)}; echo " $?" >&2'
        done = self._call(line, input, seconds + _GRACE + _CONNECT_SECONDS)
        stderr, _, status = done.stderr.rpartition(b" ")
        if done.status == _UNREACHED or not status.strip().isdigit():
            raise self._unreached(done.stderr)
        if int(status) == _LATE:
            raise HostError(f"{argv[0]} did not end within {seconds:g} s")
        return Completed(int(status), done.stdout, stderr)

    def read(self, path: str) -> bytes:
        return self._script(_READ, path, b"").stdout

    def write(self, path: str, data: bytes) -> None:
        self._script(_WRITE, path, data, str(len(data)))

    def boot_id(self) -> str:
        return self.read("/proc/sys/kernel/random/boot_id").decode().strip()

    def close(self) -> None:
        """End the kept connection; else it ends with this object."""
        self._finalize()

    def _script(self, script: str, path: str, data: bytes, *rest: str) -> Completed:
        done = self.run(["sh", "-c", script, "sh", path, *rest], input=data)
        if done.status:
            reason = _REASONS.get(done.status, done.stderr.decode().strip())
            raise file_error(path, done.status, reason)
        return done

    def _call(self, line: str, data: bytes, seconds: float) -> command.Ended:
        try:
            return command.complete([*self._argv(), line], input=data, timeout=seconds)
        except command.CommandError as error:
            raise HostError(f"{self.name}: {error.message}") from error

    def _argv(self, *control: str) -> list[str]:
        sockets = f"{self._sockets}/%C"
        ours = {
            "BatchMode": "yes",
            "ControlMaster": "auto",
            "ControlPath": sockets,
            "ControlPersist": "60",
            "ConnectTimeout": str(_CONNECT_SECONDS),
            "LogLevel": "ERROR",
        }
        flags = [
            word for key, value in ours.items() for word in ("-o", f"{key}={value}")
        ]
        return ["ssh", "-T", *self._options, *flags, *control, *self._destination]

    def _unreached(self, stderr: bytes) -> HostError:
        lines = stderr.decode(errors="replace").strip().splitlines()
        said = lines[-1].strip() if lines else "the connection broke"
        return HostError(
            f"cannot reach {self.name}: {said}",
            hint=f"try: ssh {' '.join(self._destination)}",
        )


def _disconnect(goodbye: Sequence[str], sockets: str) -> None:
    if any(Path(sockets).iterdir()):
        command.complete(goodbye, timeout=_GRACE)
    shutil.rmtree(sockets, ignore_errors=True)


def destination(uri: str) -> list[str]:
    """ssh's arguments for "ssh://[user@]host[:port]". `UsageError` for anything that
    ssh could take for an option."""
    try:
        parts = urlsplit(uri)
        host, user, port = parts.hostname, parts.username, parts.port
    except ValueError:
        host = user = port = None
    extra = parts.path.strip("/") or parts.query or parts.password if host else ""
    words = [word for word in (host, user) if word is not None]
    if not host or extra or not all(map(_WORD.fullmatch, words)):
        raise UsageError(f"{uri}: not a host", hint="ssh://user@host[:port]")
    login = ["-l", user] if user else []
    return [*login, *(["-p", str(port)] if port else []), "--", host]
