"""Which files of a tree a fix means: patches are made in many places."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from lpengine.compile.fix import FileChange, Fix, Move
from lpengine.errors import InputError

Exists = Callable[[str], bool]

# As git and diff -r have it, as git --no-prefix has it, then what else is met.
_STRIPS = (1, 0, 2, 3)


@dataclass(frozen=True)
class _Reading:
    """How names in a patch lead to files: without their first directories, below
    another one."""

    strip: int
    below: str

    def of(self, name: str) -> str:
        parts = name.split("/")[self.strip :]
        below = [self.below] if self.below else []
        return "/".join((*below, *parts)) if parts else ""


def located(fix: Fix, exists: Exists, inner: Sequence[str] = ()) -> Fix:
    """The fix with names relative to a tree, all read in the same way: the first by
    which all files are there that it changes, else most of them. `inner` are
    directories of the tree in which patches are made too.

    Raises InputError where none of the files is there.
    """
    readings = [_Reading(strip, below) for below in ("", *inner) for strip in _STRIPS]
    changing = [each for each in fix.changes if each.old]
    best = readings[0]
    if changing:
        best = max(readings, key=lambda each: _found(changing, each, exists))
        if not _found(changing, best, exists):
            raise InputError(
                f"{fix.path}: the tree has no {best.of(changing[0].path)}, and no "
                "other file that the fix changes",
                hint="is --tree what the fix is for?",
            )
    return replace(fix, changes=tuple(_read(fix.changes, best, exists)))


def _found(changes: Sequence[FileChange], reading: _Reading, exists: Exists) -> int:
    return sum(any(map(exists, _names(each, reading))) for each in changes)


def _names(change: FileChange, reading: _Reading) -> list[str]:
    """What the file may be called that is changed, best first."""
    names = [reading.of(change.old)]
    if change.new and change.move is Move.NONE:
        names.insert(0, reading.of(change.new))
    return [each for each in names if each]


def _read(
    changes: Sequence[FileChange], reading: _Reading, exists: Exists
) -> Iterator[FileChange]:
    for each in changes:
        old, new = (reading.of(name) for name in (each.old, each.new))
        if each.old and each.new and each.move is Move.NONE:
            there = filter(exists, _names(each, reading))
            old = new = next(there, new)
        yield replace(each, old=old, new=new)
