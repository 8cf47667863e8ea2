"""Runs objtool on objects for which a kernel's build leaves that to the end.

With CONFIG_X86_KERNEL_IBT (the default since 6.2) only vmlinux.o and whole modules are
treated. Objects by themselves lack what it makes then: unwind tables, lists of calls
and returns, and jump labels turned into NOPs.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from lpengine.command import CommandError, run
from lpengine.compile.kbuild import Entry
from lpengine.elf import open_image
from lpengine.errors import BuildError, InputError

_RECIPE = Path(__file__).with_name("objtool.mk")
_TOOL = "tools/objtool/objtool"
_UNWINDING = ".orc_unwind"
# They want the whole kernel at once. What --ibt makes besides is a list of landing
# pads to seal, of which there may be too few.
_OF_THE_WHOLE = frozenset(("--link", "--ibt", "--noinstr", "--unret"))
_DELAYED = "CONFIG_X86_KERNEL_IBT=y"
_LTO = "CONFIG_LTO_CLANG=y"


def require_no_lto(root: Path) -> None:
    """BuildError for a configuration in which no object has code of its own."""
    if _LTO in _options(root):
        raise BuildError(
            f"{_LTO}: code is made of the whole kernel at once, when it is linked",
            codes=("LP-CHG-908",),
            hint="nothing can be said of single objects; install a fixed kernel",
        )


def finish_objects(root: Path, entries: Sequence[Entry], compiler: str) -> None:
    """Treat those objects of a prepared tree that are not yet, where its build
    would do so later."""
    if not {_DELAYED, "CONFIG_UNWINDER_ORC=y"} <= _options(root):
        return
    arguments = _arguments(root, compiler)
    for entry in entries:
        if open_image(root / entry.target).section(_UNWINDING) is None:
            module = ["--module"] if entry.module else []
            _treat(root, entry.target, [*arguments, *module])


def _arguments(root: Path, compiler: str) -> list[str]:
    argv = ["make", "-s", "-r", "-R", "-f", str(_RECIPE), f"CC={compiler}"]
    try:
        said = run(argv, cwd=root).stdout.decode(errors="replace").split()
    except CommandError as error:
        raise InputError(
            f"{root}: does not say how it runs objtool: {error.line}"
        ) from error
    return [each for each in said if each not in _OF_THE_WHOLE]


def _treat(root: Path, target: str, arguments: Sequence[str]) -> None:
    """objtool works in place: of a copy, since a run that died must leave nothing
    half done."""
    copy = f"{target}.objtool"
    shutil.copy2(root / target, root / copy)
    try:
        run([f"./{_TOOL}", *arguments, copy], cwd=root)
    except CommandError as error:
        (root / copy).unlink()
        raise InputError(f"{target}: objtool fails: {error.line}") from error
    (root / copy).replace(root / target)


def _options(root: Path) -> set[str]:
    return set((root / "include/config/auto.conf").read_text().splitlines())
