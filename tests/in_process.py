"""This machine as a host whose lpengine runs in this process: the command line to the
word, without starting a program for each."""

import io
import threading
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta

from lpengine.cli import run
from lpengine.hosts import DEFAULT_TIMEOUT, Completed, LocalHost

# What is written is caught for the whole process.
_guard = threading.Lock()


class InProcess(LocalHost):
    name = "in-process"

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> Completed:
        if argv[0] != "lpengine":
            return super().run(argv, input=input, timeout=timeout)
        stdout, stderr = io.StringIO(), io.StringIO()
        with _guard, redirect_stdout(stdout), redirect_stderr(stderr):
            status = run(argv[1:])
        return Completed(status, stdout.getvalue().encode(), stderr.getvalue().encode())
