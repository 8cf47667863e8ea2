"""Which objects of a kernel tree a fix touches: those of the files that it changes,
and of all that include them."""

import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from lpengine.compile.includes import Includes, parse, scan
from lpengine.compile.kbuild import VDSO, Entry, Kbuild, State
from lpengine.errors import BuildError

# What LINUXINCLUDE of the top makefile has, in its order.
_DIRECTORIES = (
    *("arch/x86/include", "arch/x86/include/generated", "include"),
    *("arch/x86/include/uapi", "arch/x86/include/generated/uapi"),
    *("include/uapi", "include/generated/uapi"),
)
# Included before every file (c_flags of scripts/Makefile.lib).
_EVERYWHERE = ("kconfig.h", "compiler_types.h", "compiler-version.h")
# Code of the kernel's image that has run when the kernel runs, or starts the next.
_BOOT = ("arch/x86/boot/", "arch/x86/realmode/", "arch/x86/purgatory/")
_SOURCES = (".c", ".S")
_COMPILED = (*_SOURCES, ".h")
_MAKEFILES = ("Makefile", "Kbuild", "Kconfig")
_SCAN = ".lpengine-includes"


def touched_objects(
    base: Path, files: Sequence[str], compiler: str
) -> tuple[Entry, ...]:
    """The objects to compare, by path. Empty where the configuration has none that
    the fix touches.

    Raises BuildError for a fix that would take effect in other ways than by the
    kernel's own code, and for one that touches every object.
    """
    for file in files:
        _require_compiled(file)
        _require_running(file)
    names = _names(base)
    includes = Includes(parse(_scanned(base)), names, _DIRECTORIES)
    reached = includes.reaching(files)
    everywhere = [
        f for f in reached if f in {f"include/linux/{e}" for e in _EVERYWHERE}
    ]
    if everywhere:
        raise too_many(files, "every object of the kernel includes it")
    kbuild = Kbuild(base, compiler, names)
    built = _built(kbuild, sorted(reached))
    found = {(each.path, each.module): each for each in built}
    return tuple(found[key] for key in sorted(found))


def _built(kbuild: Kbuild, reached: Sequence[str]) -> Iterator[Entry]:
    for file in reached:
        if not file.endswith(_SOURCES):
            continue
        entries = kbuild.objects_of(file)
        if not entries and file.startswith(f"{VDSO}/"):
            path = f"{posixpath.splitext(file)[0]}.o"
            yield Entry(State.KERNEL, path, path, VDSO)
        yield from (each for each in entries if each.state is not State.OFF)


def _require_compiled(file: str) -> None:
    name = posixpath.basename(file)
    if name.startswith(_MAKEFILES):
        raise BuildError(
            f"the fix changes {file}, and so how the kernel is built",
            codes=("LP-CHG-908",),
            hint="leave that file out of the fix if it does not matter for its code",
        )
    if not file.endswith(_COMPILED):
        raise BuildError(
            f"the fix changes {file}, from which the build makes code by itself",
            codes=("LP-CHG-908",),
            hint="a live patch carries C; leave the file out if it does not matter",
        )


def _require_running(file: str) -> None:
    if file.startswith(_BOOT):
        raise BuildError(
            f"the fix changes {file}, which only runs as a kernel starts",
            codes=("LP-DAT-304",),
            hint="install the fixed kernel, and reboot",
        )


def too_many(files: Sequence[str], what: str) -> BuildError:
    headers = [each for each in files if each.endswith(".h")]
    return BuildError(
        f"{', '.join(headers or files)}: {what}",
        codes=("LP-CHG-905",),
        hint="allow more with --fan-out, at some seconds each; or change the .c files "
        "that need it",
    )


def _names(base: Path) -> Sequence[str]:
    start = len(f"{base}/")
    return tuple(
        f"{directory}/{name}"[start:]
        for directory, _subdirectories, files in os.walk(base)
        for name in files
    )


def _scanned(base: Path) -> str:
    """What `scan` says of the base, kept in it."""
    kept = base / _SCAN
    if not kept.is_file():
        beside = kept.with_suffix(".new")
        beside.write_text(scan(base))
        beside.replace(kept)
    return kept.read_text()
