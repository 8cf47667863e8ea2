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
from lpengine.patch.model import Patch

# What is used in a guest again and again.
_VERBS = ("plan", "apply", "revert", "replace", "unload", "status", "history")
_MODULES = ("lpengine.patch.linux.reader", "lpengine.patch.xen.reader")
_INPUT, _OUTPUT, _ERROR = 0, 1, 2


def main() -> None:
    console = f"/proc/self/fd/{os.dup(_ERROR)}"
    requests, answers = _take_line()
    prepare()
    answers.write(b"ready\n")
    answers.flush()
    for line in requests:
        words = line.rstrip(b"\n").split(b" ")
        directory, *rest = (os.fsdecode(a2b_hex(word)) for word in words)
        os.chdir(directory)
        _redirect(rest[:3])
        status = run(rest[3:])
        sys.stdout.flush()
        sys.stderr.flush()
        _redirect([os.devnull, os.devnull, console])
        answers.write(b"%d\n" % status)
        answers.flush()


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
    targets = import_module("lpengine.targets")
    nothing = Patch("standby", b"", "")
    for target in targets.HOST_TARGETS:
        try:
            # As for any patch, which has the big tables read and kept.
            targets.open_target(target).facts([nothing])
        except LpengineError:
            continue  # not the target of anybody here: who asks will be told
    import_module("lpengine.arch.disassembly").disassemble(b"\xc3", 0)


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
