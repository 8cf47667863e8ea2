"""Xen's own program, xen-livepatch, where its device is not to be had.

It exits with 0 where it cannot open the hypervisor, matches commands by their
beginnings, waits 30 ms at most for the CPUs, and cuts long names in its list.
"""

import errno
import re
import shutil
import tempfile
from pathlib import Path

from lpengine.command import CommandError, run
from lpengine.core.hypercall import Action, Listed, Progress

_NAME = "xen-livepatch"
_CUT = 40
_HEADING = " ID "
_ROW = re.compile(
    r"(?P<name>[^|]*)\| *(?P<state>[A-Z]+) *(?:\((?P<result>-?\d+),[^)]*\) *)?"
    r"(?:\|(?P<rest>.*))?"
)
_ERROR = re.compile(r"[Ee]rror (?P<number>\d+)")
_STATES = {"CHECKED": False, "APPLIED": True}


def find_tool() -> str | None:
    found = shutil.which(_NAME)
    inside = sorted(Path("/usr/lib").glob(f"xen-*/bin/{_NAME}"))
    return found or (str(inside[-1]) if inside else None)


class Tool:
    """The calls of `lpengine.targets.xen.Calls`, one program each."""

    def __init__(self, program: str) -> None:
        self._program = program

    def upload(self, name: str, payload: bytes) -> None:
        with tempfile.NamedTemporaryFile(suffix=".livepatch") as file:
            file.write(payload)
            file.flush()
            self._run("upload", name, file.name)
        # Success is only what the list shows.
        self.get(name)

    def get(self, name: str) -> Progress:
        for one in self.payloads():
            if one.name == name[:_CUT]:
                return Progress(one.applied, one.result)
        raise OSError(errno.ENOENT, "no such payload")

    def act(
        self, name: str, action: Action, timeout_ns: int = 0, flags: int = 0
    ) -> None:
        """The program waits for the action itself; `timeout_ns` is not its to take."""
        nodeps = ["--nodeps"] if flags else []
        self._run(action.name.lower(), name, *nodeps)

    def payloads(self) -> tuple[Listed, ...]:
        lines = self._run("list").splitlines()
        if not any(line.startswith(_HEADING) for line in lines):
            raise OSError(errno.ENXIO, "xen-livepatch shows no list", self._program)
        return tuple(filter(None, map(read_row, lines)))

    def console(self, index: int = 0) -> tuple[bytes, int]:
        return b"", index

    def build_id(self) -> str:
        raise OSError(errno.ENODATA, "xen-livepatch does not show it")

    def cpus(self) -> int:
        raise OSError(errno.ENODATA, "xen-livepatch does not show them")

    def _run(self, *arguments: str) -> str:
        try:
            done = run([self._program, *arguments])
        except CommandError as error:
            raise _as_oserror(error) from error
        return done.stdout.decode("utf-8", "backslashreplace")


def read_row(line: str) -> Listed | None:
    """One line of the list; None for its heading."""
    row = _ROW.fullmatch(line)
    if row is None or row["state"] not in _STATES:
        return None
    metadata = (row["rest"] or "").strip().replace(";", "\0")
    result = abs(int(row["result"] or 0))
    state = _STATES[row["state"]]
    return Listed(row["name"].strip(), state, result, metadata.encode())


def _as_oserror(error: CommandError) -> OSError:
    found = _ERROR.search(error.stderr.decode("utf-8", "backslashreplace"))
    number = int(found["number"]) if found else errno.EIO
    if error.status == 2:
        number = errno.EBUSY
    return OSError(number, error.line)
