"""Runs command lines in a process that has lpengine in memory already.

To start Python and to import a verb takes an emulated guest seconds. The lab's agent
starts this once and talks to it by lines:

    python -m lpengine.cli.standby </requests >/answers

A request is the working directory, paths for standard input, output and error, and
the words behind "lpengine", each in hexadecimal, blanks between them. The answers are
"ready" once, and then the status of each command line when it has ended. What a verb
opens it closes, and what it reads it reads anew, so that one is as good as the next.
"""

import os
import sys
from binascii import a2b_hex
from collections.abc import Sequence
from importlib import import_module
from typing import BinaryIO

from lpengine.cli import run
from lpengine.errors import LpengineError
from lpengine.journal import Journal
from lpengine.patch.model import Patch
from lpengine.targets import HOST_TARGETS, open_target, state_directory_of

# What is used in a guest again and again.
_VERBS = ("plan", "apply", "revert", "replace", "unload", "status", "history")
_MODULES = ("lpengine.patch.linux.reader", "lpengine.patch.xen.reader")
_INPUT, _OUTPUT, _ERROR = 0, 1, 2


def main() -> None:
    console = os.dup(_ERROR)
    requests, answers = _take_line()
    prepare()
    answers.write(b"ready\n")
    answers.flush()
    null = os.open(os.devnull, os.O_RDWR)
    journals = [_HeldJournal(target) for target in HOST_TARGETS]
    for line in requests:
        words = line.rstrip(b"\n").split(b" ")
        directory, *rest = (os.fsdecode(a2b_hex(word)) for word in words)
        os.chdir(directory)
        _redirect(rest[:3])
        status = run(rest[3:])
        sys.stdout.flush()
        sys.stderr.flush()
        for number, file in ((_INPUT, null), (_OUTPUT, null), (_ERROR, console)):
            os.dup2(file, number)
        answers.write(b"%d\n" % status)
        answers.flush()
        for journal in journals:
            journal.hold()


def _take_line() -> tuple[BinaryIO, BinaryIO]:
    """The line to the agent, out of the way of what command lines read and print."""
    requests, answers = os.dup(_INPUT), os.dup(_OUTPUT)
    _redirect([os.devnull] * 2)
    return os.fdopen(requests, "rb", buffering=0), os.fdopen(answers, "wb")


def prepare() -> None:
    """Import what verbs import, and read what the running system never changes."""
    for verb in _VERBS:
        import_module(f"lpengine.cli.{verb}")
    for module in _MODULES:
        import_module(module)
    nothing = Patch("standby", b"", "")
    for target in HOST_TARGETS:
        try:
            # As for any patch, which has the big tables read and kept.
            open_target(target).facts([nothing])
        except LpengineError:
            continue  # not the target of anybody here: who asks will be told
    import_module("lpengine.arch.disassembly").disassemble(b"\xc3", 0)


class _HeldJournal:
    """Who closes a journal last folds it up, and the next one has to unfold it again
    (sqlite.org/wal.html, "The WAL File"): half of all that a command line does with
    it. So it is held open between them."""

    def __init__(self, target: str) -> None:
        self._journal = Journal(state_directory_of(target))
        self._file = 0

    def hold(self) -> None:
        try:
            file = self._journal.path.stat().st_ino
            if file != self._file:
                self._journal.close()
                self._journal.open_run()
                self._file = file
        except (OSError, LpengineError):  # the next command line says what is wrong
            self._journal.close()
            self._file = 0


def _redirect(paths: Sequence[str]) -> None:
    """Standard input, output and error, in that order."""
    for number, path in enumerate(paths):
        opened = os.open(path, os.O_RDWR if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    # What the last one left unread is not for the next one.
    sys.stdin = os.fdopen(_INPUT, closefd=False)


if __name__ == "__main__":
    main()
