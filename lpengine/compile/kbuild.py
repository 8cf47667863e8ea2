"""Which objects of a kernel tree are built in a configuration, and into what."""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path

from lpengine.command import CommandError, run
from lpengine.errors import InputError

_RECIPE = Path(__file__).with_name("kbuild.mk")

# Directories that the top makefile and the one of the architecture descend into by
# themselves: (core|libs|drivers)-y of Makefile and arch/x86/Makefile, Kbuild.
_TOP = frozenset(
    (
        *("init", "usr", "arch/x86", "kernel", "certs", "mm", "fs", "ipc", "security"),
        *("crypto", "block", "io_uring", "lib", "drivers", "sound", "net", "virt"),
        *("arch/x86/lib", "arch/x86/pci", "arch/x86/power", "arch/x86/video"),
        *("arch/x86/math-emu", "arch/x86/ras", "arch/x86/entry", "arch/x86/crypto"),
    )
)
# Has objects of the kernel, and some that are built by rules of their own, into a blob.
VDSO = "arch/x86/entry/vdso"


class State(StrEnum):
    """What becomes of an object or directory in a configuration."""

    KERNEL = "y"
    MODULE = "m"
    OFF = "-"


@dataclass(frozen=True)
class Entry:
    """What one directory's makefile says of an object or directory: `path` in the
    tree, `target` as make has to be asked for it. `part_of` is the object that it
    becomes a part of, itself where it stands alone; of what is in the vDSO it is that
    directory."""

    state: State
    path: str
    target: str
    part_of: str

    @property
    def module(self) -> str:
        """The name of the module it is part of, as the kernel has it; else ""."""
        if self.state is not State.MODULE:
            return ""
        return posixpath.basename(self.part_of).removesuffix(".o").replace("-", "_")

    @property
    def is_mapped(self) -> bool:
        """Whether it is in the vDSO, which processes run by themselves."""
        return self.part_of == VDSO


@dataclass(frozen=True)
class _Listing:
    """What a directory's makefile says, or why it cannot be asked."""

    entries: tuple[Entry, ...] = ()
    failure: str = ""


class Kbuild:
    """The makefiles of a configured tree at `root`; `files` are all it has. InputError
    for one that is part of the build and cannot be read."""

    def __init__(self, root: Path, compiler: str, files: Sequence[str]) -> None:
        self._root = root
        self._compiler = compiler
        self._makefiles = tuple(f for f in files if _name(f).startswith(_MAKEFILES))
        self._listed = cache(self._list)
        self._states = cache(self._state_of)

    def objects_of(self, source: str) -> tuple[Entry, ...]:
        """The objects that a source file is compiled to, those switched off too;
        none where no makefile tells in the way of kbuild."""
        object_ = f"{posixpath.splitext(source)[0]}.o"
        found = list(self._entries(posixpath.dirname(source), object_))
        if not found:
            for directory in self._mentioning(posixpath.basename(object_)):
                found += self._entries(directory, object_)
        return tuple(dict.fromkeys(found))

    def _entries(self, directory: str, object_: str) -> Iterator[Entry]:
        own = [each for each in self._asked(directory) if each.path == object_]
        state = self._states(directory) if own else None
        for each in own:
            if state is State.OFF:
                yield Entry(State.OFF, each.path, each.target, each.part_of)
            elif state is not None:
                yield each

    def _state_of(self, directory: str) -> State | None:
        """Whether make gets to a directory; None where no makefile names it."""
        if directory in _TOP:
            return State.KERNEL
        states = []
        above = posixpath.dirname(directory)
        while above:
            named = [e for e in self._asked(above) if e.path == directory]
            reached = self._states(above) if named else None
            if reached is not None:
                off = reached is State.OFF
                states += [State.OFF if off else each.state for each in named]
            above = posixpath.dirname(above)
        on = [each for each in states if each is not State.OFF]
        return on[0] if on else (states[0] if states else None)

    def _asked(self, directory: str) -> tuple[Entry, ...]:
        """What a makefile lists; nothing for one that is no part of the build."""
        listing = self._listed(directory)
        if listing.failure and self._states(directory) not in (None, State.OFF):
            raise InputError(
                f"{self._root / directory}: its makefile does not say what is built "
                f"there: {listing.failure}"
            )
        return listing.entries

    def _list(self, directory: str) -> _Listing:
        if not any((self._root / directory / name).is_file() for name in _MAKEFILES):
            return _Listing()
        argv = ["make", "-s", "-r", "-R", "-f", str(_RECIPE), f"obj={directory}"]
        try:
            said = run([*argv, f"CC={self._compiler}"], cwd=self._root)
        except CommandError as error:
            return _Listing(failure=error.line or error.message)
        return _Listing(
            tuple(_entries(directory, said.stdout.decode(errors="replace")))
        )

    def _mentioning(self, name: str) -> Sequence[str]:
        """The directories whose makefiles name an object, themselves or in what they
        include."""
        stem = name.removesuffix(".o")
        files = [path for path, text in self._texts.items() if stem in text]
        included = [each for each in files if _name(each) not in _MAKEFILES]
        for each in included:
            files += [path for path, text in self._texts.items() if _name(each) in text]
        return sorted({posixpath.dirname(f) for f in files if _name(f) in _MAKEFILES})

    @cached_property
    def _texts(self) -> dict[str, str]:
        return {
            name: (self._root / name).read_text(errors="replace")
            for name in self._makefiles
        }


_MAKEFILES = ("Kbuild", "Makefile")


def _name(path: str) -> str:
    return posixpath.basename(path)


def _entries(directory: str, said: str) -> Iterator[Entry]:
    for line in said.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] not in tuple(State):
            continue
        state, whole = State(words[0]), f"{directory}/{words[1]}"
        for part in words[2:] or words[1:2]:
            target = f"{directory}/{part}"
            path = posixpath.normpath(target)
            yield Entry(state, path, target, posixpath.normpath(whole))
