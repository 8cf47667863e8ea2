"""Children that kill themselves (SIGKILL) before the n-th line of given sources."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

LPENGINE = Path(__file__).parent.parent / "lpengine"

SURVIVED, RAISED = 0, 1


def dies(action: Callable[[], object], sources: Sequence[Path], line: int) -> bool:
    """Run `action` in a child that kills itself before it executes its `line`-th
    line of `sources` (files or directories; from 0). False where it got through."""
    child = os.fork()
    if child == 0:
        run_and_exit(action, sources, line)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == SURVIVED, "the child raised"
    return False


def count_lines(action: Callable[[], object], sources: Sequence[Path]) -> int:
    """How many lines of `sources` a child executes that is left alone."""
    reader, writer = os.pipe()

    def report() -> None:
        counter = Counter(sources, -1)
        counter.watch(action)
        os.write(writer, str(counter.lines).encode())

    dies(report, (), -1)
    os.close(writer)
    with os.fdopen(reader) as answer:
        return int(answer.read())


def run_and_exit(action: Callable[[], object], sources: Sequence[Path], line: int):  # type: ignore[no-untyped-def]
    """Never returns into the test runner that this process is a copy of."""
    status = RAISED
    try:
        Counter(sources, line).watch(action)
        status = SURVIVED
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


class Counter:
    def __init__(self, sources: Sequence[Path], deadly: int) -> None:
        self.prefixes = tuple(str(path) for path in sources)
        self.deadly = deadly
        self.lines = 0

    def watch(self, action: Callable[[], object]) -> None:
        if not self.prefixes:
            action()
            return
        sys.settrace(self.called)
        try:
            action()
        finally:
            sys.settrace(None)

    def called(self, frame: FrameType, event: str, _: Any) -> Any:
        return self.line if frame.f_code.co_filename.startswith(self.prefixes) else None

    def line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            if self.lines == self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            self.lines += 1
        return self.line
