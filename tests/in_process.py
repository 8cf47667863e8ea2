"""This machine as a host whose lpengine runs in this process: the command line to the
word, without starting a program for each."""

import io
import threading
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta

from lpengine.cli import run
from lpengine.hosts import DEFAULT_TIMEOUT, Completed, LocalHost
from lpengine.targets.host.engine import HERE

# What is written is caught for the whole process.
_guard = threading.Lock()


class InProcess(LocalHost):
    name = "in-process"

    program = ("lpengine",)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> Completed:
        words = len(self.program)
        if tuple(argv[:words]) != self.program:
            return super().run(argv, input=input, timeout=timeout)
        stdout, stderr = io.StringIO(), io.StringIO()
        with _guard, redirect_stdout(stdout), redirect_stderr(stderr):
            status = run(argv[words:])
        return Completed(status, stdout.getvalue().encode(), stderr.getvalue().encode())


class Local(InProcess):
    """The same for hosts that are called "local"."""

    name, program = LocalHost.name, HERE
