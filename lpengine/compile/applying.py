"""Applies fixes to source files, exactly or not at all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lpengine.compile.fix import FileChange, Fix, Hunk, Move
from lpengine.compile.lines import (
    ADDED,
    Line,
    joined,
    numbered,
    with_original_numbers,
)
from lpengine.compile.locating import located
from lpengine.errors import InputError


@dataclass(frozen=True)
class Applied:
    """What fixes did to a tree: the files they changed, made or removed, and those
    that the tree's build does not know. `notes` say which hunks had moved."""

    files: tuple[str, ...]
    strangers: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Fitted:
    """Fixes that fit a tree: what its files become, None for those that go."""

    contents: Mapping[str, Sequence[Line] | None]
    strangers: tuple[str, ...]
    notes: tuple[str, ...]

    def write(self, root: Path, neutral: Callable[[str], bool]) -> Applied:
        """Change a copy of the tree, at `root`. Where `neutral`, lines keep their
        original numbers (lines.py)."""
        for name, lines in self.contents.items():
            path = root / name
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
        return Applied(tuple(sorted(self.contents)), self.strangers, self.notes)


def fit(
    root: Path,
    fixes: Sequence[Fix],
    *,
    concerns: Callable[[str], bool] = lambda path: True,
    inner: Sequence[str] = (),
) -> Fitted:
    """Apply all patches in their order to the files below `root`, which stay as they
    are.

    Every hunk has to match to the byte, anywhere in its file but in order. Files that
    do not concern the build are left out. `inner` are directories in which patches
    are made, too.

    Raises InputError for the first hunk that fits nowhere, or in several places.
    """
    work = _Tree(root, concerns)
    for fix in fixes:
        for change in located(fix, work.exists, inner).changes:
            work.apply(fix, change)
    return work.fitted()


class _Tree:
    def __init__(self, root: Path, concerns: Callable[[str], bool]) -> None:
        self._root = root
        self._concerns = concerns
        self._files: dict[str, list[Line] | None] = {}
        self._strangers: dict[str, None] = {}
        self._notes: list[str] = []

    def exists(self, name: str) -> bool:
        if name in self._files:
            return self._files[name] is not None
        path = self._root / name
        return path.resolve().is_relative_to(self._root.resolve()) and path.is_file()

    def fitted(self) -> Fitted:
        return Fitted(self._files, tuple(self._strangers), tuple(self._notes))

    def apply(self, fix: Fix, change: FileChange) -> None:
        if not any(map(self._concerns, filter(None, (change.old, change.new)))):
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
        elif any(line.text for line in lines):
            raise InputError(
                f"{fix.path}: removes {change.old}, of which the tree has more lines",
                hint="is the patch for this tree?",
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
                hint="is the patch for this tree?",
            )
        if change.new != change.old and change.move is not Move.COPIED:
            self._files[change.old] = None
        return lines

    def _read(self, name: str) -> list[Line] | None:
        if not self.exists(name):
            return None
        lines = self._files.get(name)
        if lines is None:
            return numbered((self._root / name).read_bytes())
        return list(lines)


def _place(lines: Sequence[Line], hunk: Hunk, wanted: int, first: int) -> int | None:
    """Where the hunk's old lines are: at the place it says, else at the only other
    one behind the hunk before it."""
    if not hunk.old:
        return wanted if not any(line.text for line in lines) else None
    if _matches(lines, hunk, wanted) and wanted >= first:
        return wanted
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
    if not hunk.old:
        return InputError(
            f"{where} has no lines around it that tell its place",
            hint="make the patch with three lines of context, as git diff does",
        )
    if applied:
        return InputError(
            f"{where} is in the tree already", hint="leave this patch out"
        )
    return InputError(
        f"{where} fits nowhere, or in several places",
        hint="is the tree at the fix's parent, and other patches in their order? Fuzz "
        "is not taken: regenerate the patch for this tree",
    )
