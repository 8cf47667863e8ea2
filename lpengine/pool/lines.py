"""Where in a TOML file something is: parsers tell it of bad syntax only."""

import tomllib
from collections.abc import Sequence


def line_of(text: str, path: Sequence[str]) -> int:
    """The line on which the key at `path` has got its value; where that is not there,
    the one of the innermost table that is. 1 for none of them."""
    lines = text.splitlines()
    for depth in range(len(path), 0, -1):
        if _holds(lines, len(lines), path[:depth]):
            return _first(lines, path[:depth])
    return 1


def _first(lines: Sequence[str], path: Sequence[str]) -> int:
    """The shortest beginning of the file that has it, by halves. Once it is there it
    stays."""
    low, high = 1, len(lines)
    while low < high:
        middle = (low + high) // 2
        if _holds(lines, middle, path):
            high = middle
        else:
            low = middle + 1
    return low


def _holds(lines: Sequence[str], count: int, path: Sequence[str]) -> bool:
    """Whether the first lines have it; a value that goes on belongs to its first."""
    for end in range(count, len(lines) + 1):
        try:
            found: object = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        for key in path:
            if not isinstance(found, dict) or key not in found:
                return False
            found = found[key]
        return True
    return False
