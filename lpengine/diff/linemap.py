"""Which line of a source file became which, by the patch that moved them."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_FILE = re.compile(r"^\+\+\+ (?:b/)?([^\t\n]+)")
_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


@dataclass(frozen=True, slots=True)
class FileLines:
    """One file: from the `starts[n]`-th original line on, lines are `shifts[n]`
    further down. A shift of None is for lines that are gone."""

    starts: tuple[int, ...]
    shifts: tuple[int | None, ...]

    def moved(self, line: int) -> int | None:
        """Where a line of the original is now, None where it is gone."""
        at = bisect_right(self.starts, line) - 1
        shift = self.shifts[at] if at >= 0 else 0
        return None if shift is None else line + shift


@dataclass(frozen=True, slots=True)
class LineMap:
    """All files that a patch touches, by their path in the tree."""

    files: Mapping[str, FileLines]

    def of(self, path: str) -> FileLines | None:
        """The file that a compiler called `path`, from wherever it ran."""
        plain = path.removeprefix("./")
        for name, lines in self.files.items():
            if (
                name == plain
                or name.endswith("/" + plain)
                or plain.endswith(f"/{name}")
            ):
                return lines
        return None

    def moves(self, old: int, new: int) -> bool:
        """Whether there is a file whose line `old` is line `new` now."""
        return any(lines.moved(old) == new for lines in self.files.values())


def read_line_map(patch: str) -> LineMap:
    """The map of a unified diff."""
    files: dict[str, FileLines] = {}
    for path, lines in _files(patch):
        files[path] = _file_lines(lines)
    return LineMap(files)


def _files(patch: str) -> Iterator[tuple[str, list[str]]]:
    path, body = "", list[str]()
    for line in patch.splitlines():
        found = _FILE.match(line)
        if found and (not body or body[-1].startswith("--- ")):
            if path:
                yield path, body
            path, body = found.group(1), []
        else:
            body.append(line)
    if path:
        yield path, body


def _file_lines(body: list[str]) -> FileLines:
    starts, shifts = [0], list[int | None]([0])

    def note(start: int, shift: int | None) -> None:
        if shifts[-1] != shift:
            starts.append(start)
            shifts.append(shift)

    old = new = 0
    left = right = 0
    for line in body:
        hunk = _HUNK.match(line)
        if hunk:
            old, new = int(hunk.group(1)), int(hunk.group(3))
            left, right = int(hunk.group(2) or 1), int(hunk.group(4) or 1)
            # A hunk of no original lines stands behind the line that it names.
            old, new = old + (left == 0), new + (right == 0)
        elif left <= 0 and right <= 0:
            continue
        elif line.startswith("-"):
            note(old, None)
            old, left = old + 1, left - 1
        elif line.startswith("+"):
            new, right = new + 1, right - 1
        elif not line.startswith("\\"):
            note(old, new - old)
            old, new, left, right = old + 1, new + 1, left - 1, right - 1
        if left == right == 0:
            note(old, new - old)
    return FileLines(tuple(starts), tuple(shifts))
