"""Applies fixes to source files, exactly or not at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lpengine.compile.fix import FileChange, Fix, Hunk
from lpengine.compile.lines import (
    ADDED,
    Line,
    joined,
    numbered,
    with_original_numbers,
)
from lpengine.errors import InputError


@dataclass(frozen=True)
class Applied:
    """What fixes did to a tree: the files they changed, made or removed, and those
    that the tree's build does not know. `notes` say which hunks had moved."""

    files: tuple[str, ...]
    strangers: tuple[str, ...]
    notes: tuple[str, ...]


def apply_fixes(
    root: Path,
    fixes: Sequence[Fix],
    *,
    concerns: Callable[[str], bool] = lambda path: True,
    neutral: Callable[[str], bool] = lambda path: False,
) -> Applied:
    """Apply all patches in their order to the files below `root`.

    Every hunk has to match to the byte, anywhere in its file but in order; nothing is
    written unless all do. Files that do not concern the build are left out. Where
    `neutral`, lines keep their original numbers (lines.py).

    Raises InputError for the first hunk that fits nowhere, or in several places.
    """
    work = _Tree(root, concerns)
    for fix in fixes:
        for change in fix.changes:
            work.apply(fix, change)
    return work.write(neutral)


class _Tree:
    def __init__(self, root: Path, concerns: Callable[[str], bool]) -> None:
        self._root = root
        self._concerns = concerns
        self._files: dict[str, list[Line] | None] = {}
        self._strangers: dict[str, None] = {}
        self._notes: list[str] = []

    def apply(self, fix: Fix, change: FileChange) -> None:
        if not self._concerns(change.path):
            self._strangers[change.path] = None
            return
        lines = self._taken(fix, change)
        shift, end = 0, 0
        for hunk in change.hunks:
            wanted = hunk.start - 1 + shift if hunk.old else hunk.start + shift
            at = _place(lines, hunk, wanted, end)
            if at is None:
                raise _misfit(fix, change, hunk, lines)
            if at != wanted:
                self._notes.append(
                    f"{fix.path}: {change.path}:{hunk.start}: found {at - wanted:+d} "
                    "lines away"
                )
            fresh = _replaced(lines[at : at + len(hunk.old)], hunk)
            lines[at : at + len(hunk.old)] = fresh
            shift = at - wanted + shift + len(fresh) - len(hunk.old)
            end = at + len(fresh)
        if change.new:
            self._files[change.new] = lines

    def write(self, neutral: Callable[[str], bool]) -> Applied:
        for name, lines in self._files.items():
            path = self._root / name
            if lines is None:
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            write = with_original_numbers if neutral(name) else joined
            # Beside and renamed: the file may be one with another tree's.
            beside = path.with_name(f".{path.name}.lpengine")
            beside.write_bytes(write(lines))
            if path.exists():
                beside.chmod(path.stat().st_mode & 0o777)
            beside.replace(path)
        return Applied(
            tuple(sorted(self._files)), tuple(self._strangers), tuple(self._notes)
        )

    def _taken(self, fix: Fix, change: FileChange) -> list[Line]:
        """The old file's lines, which is gone now if it does not stay."""
        if not change.old:
            if self._read(change.new) is not None:
                raise InputError(
                    f"{fix.path}: {change.new} is there already",
                    hint="is the fix in the tree already?",
                )
            return [Line(b"", ADDED)]
        lines = self._read(change.old)
        if lines is None:
            raise InputError(
                f"{fix.path}: the tree has no {change.old}",
                hint="is the patch for this tree, and made with a/ and b/ in front?",
            )
        if change.new != change.old:
            self._files[change.old] = None
        return lines

    def _read(self, name: str) -> list[Line] | None:
        if name not in self._files:
            path = self._root / name
            inside = path.resolve().is_relative_to(self._root.resolve())
            if not inside or not path.is_file():
                return None
            return numbered(path.read_bytes())
        lines = self._files[name]
        return None if lines is None else list(lines)


def _place(lines: Sequence[Line], hunk: Hunk, wanted: int, first: int) -> int | None:
    """Where the hunk's old lines are: at the place it says, else at the only other
    one behind the hunk before it."""
    if _matches(lines, hunk, wanted) and wanted >= first:
        return wanted
    if not hunk.old:
        return None
    ends = len(lines) - len(hunk.old) + 1
    found = [at for at in range(first, ends) if _matches(lines, hunk, at)]
    return found[0] if len(found) == 1 else None


def _matches(lines: Sequence[Line], hunk: Hunk, at: int) -> bool:
    old = hunk.old
    if not 0 <= at <= len(lines) - len(old):
        return False
    return all(
        line.text.rstrip(b"\r") == wanted.rstrip(b"\r")
        for line, wanted in zip(lines[at:], old, strict=False)
    )


def _replaced(old: Sequence[Line], hunk: Hunk) -> list[Line]:
    fresh, at = [], 0
    for line in hunk.lines:
        if line[:1] == b"+":
            fresh.append(Line(line[1:], ADDED))
            continue
        if line[:1] == b" ":
            fresh.append(old[at])
        at += 1
    return fresh


def _misfit(
    fix: Fix, change: FileChange, hunk: Hunk, lines: Sequence[Line]
) -> InputError:
    new = tuple(line[1:] for line in hunk.lines if line[:1] != b"-")
    there = Hunk(hunk.start, tuple(b" " + line for line in new))
    applied = _place(lines, there, hunk.start - 1, 0) is not None
    where = f"{fix.path}: the hunk for {change.old}:{hunk.start}"
    if applied and hunk.old:
        return InputError(
            f"{where} is in the tree already", hint="leave this patch out"
        )
    return InputError(
        f"{where} fits nowhere, or in several places",
        hint="is the tree at the fix's parent, and other patches in their order? Fuzz "
        "is not taken: regenerate the patch for this tree",
    )
