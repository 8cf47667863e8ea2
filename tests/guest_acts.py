"""Runs inside a guest: verbs and looks between them, one after the other in one
program. Reads a JSON list of acts from stdin, prints a list of what came of each:

    {"lpengine": [WORD, ...]}    the exit code, and what the verb says as JSON
    {"read": PATH}               the file's text, or null
    {"stop": METHOD, "at": N, "mark": PATH}
                                 at its N-th METHOD of disk.System, the next verb makes
                                 that file and waits for the power to fail
"""

import contextlib
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from lpengine.cli import run
from lpengine.targets.disk.system import System


def act(wanted: dict[str, Any]) -> Any:
    if "read" in wanted:
        path = Path(wanted["read"])
        return path.read_text().strip() if path.exists() else None
    if "stop" in wanted:
        return stop(wanted["stop"], wanted["at"], Path(wanted["mark"]))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = run([*wanted["lpengine"], "--json"])
    return {"exit": code, **json.loads(said.getvalue())}


def stop(method: str, at: int, mark: Path) -> None:
    original = getattr(System, method)
    left = at

    def counting(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.sync()
            mark.touch()
            signal.pause()
        return original(*arguments)

    setattr(System, method, counting)


if __name__ == "__main__":
    print(json.dumps([act(wanted) for wanted in json.load(sys.stdin)]))
