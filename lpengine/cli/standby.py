"""Runs command lines in children of a process that has lpengine in memory already.

To start Python and to import a verb takes an emulated guest seconds, a child of this
process tens of milliseconds. The lab's agent starts it and talks to it by lines:

    python -m lpengine.cli.standby </requests >/answers

A request is the working directory, paths for standard input, output and error, and
the words behind "lpengine", each in hexadecimal, blanks between them. The answers are
"ready" once, then for each request the child's process id, and its status when it
has ended, as `os.waitstatus_to_exitcode` says it.
"""

import gc
import os
import sys
import traceback
from binascii import a2b_hex
from collections.abc import Sequence
from importlib import import_module
from typing import BinaryIO, NoReturn

from lpengine.cli import run
from lpengine.errors import LpengineError
from lpengine.patch.model import Patch

# What is used in a guest again and again.
_VERBS = ("plan", "apply", "revert", "replace", "unload", "status", "history")
_MODULES = ("lpengine.patch.linux.reader", "lpengine.patch.xen.reader")
_INPUT, _OUTPUT = 0, 1
_FAILED = 1


def main() -> None:
    requests, answers = _take_line()
    prepare()
    answers.write(b"ready\n")
    answers.flush()
    for line in requests:
        words = line.rstrip(b"\n").split(b" ")
        directory, *rest = (os.fsdecode(a2b_hex(word)) for word in words)
        _serve(answers, directory, rest[:3], rest[3:])


def _take_line() -> tuple[BinaryIO, BinaryIO]:
    """The line to the agent, out of the way of what children do with their own
    standard input and output."""
    requests, answers = os.dup(_INPUT), os.dup(_OUTPUT)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, _INPUT)
    os.dup2(nothing, _OUTPUT)
    os.close(nothing)
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
    # A child's garbage collection would touch, and so copy, every page.
    gc.collect()
    gc.freeze()


def _serve(
    answers: BinaryIO, directory: str, files: Sequence[str], words: Sequence[str]
) -> None:
    child = os.fork()
    if child == 0:
        _become(directory, files, words)
    # Whoever is first; the agent may want to end the whole group at once.
    os.setpgid(child, child)
    answers.write(b"%d\n" % child)
    answers.flush()
    _, status = os.waitpid(child, 0)
    answers.write(b"%d\n" % os.waitstatus_to_exitcode(status))
    answers.flush()


def _become(directory: str, files: Sequence[str], words: Sequence[str]) -> NoReturn:
    """The command line, in the child; what the parent has buffered stays there."""
    status = _FAILED
    try:
        os.setpgid(0, 0)
        for number, path in enumerate(files):
            opened = os.open(path, os.O_RDWR if number else os.O_RDONLY)
            os.dup2(opened, number)
            os.close(opened)
        os.chdir(directory)
        status = run(words)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
