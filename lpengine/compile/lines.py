"""Source lines that remember which line of the original they are.

A fix that adds lines moves everything behind it, and __LINE__ with it: functions
that nobody touched would come out different. #line directives take that back.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

ADDED = 0

_CONDITIONAL = re.compile(rb"\s*#\s*(?:else|elif|elifdef|elifndef|endif)\b")
# What changes whether a line break means anything: comments, and whatever may hide
# the beginning of one.
_TOKEN = re.compile(
    rb"""//[^\n]*|/\*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Line:
    """`number` is the line's in the original, ADDED for one that was not there."""

    text: bytes
    number: int


def numbered(text: bytes) -> list[Line]:
    return [
        Line(line, number) for number, line in enumerate(text.split(b"\n"), start=1)
    ]


def joined(lines: Iterable[Line]) -> bytes:
    return b"\n".join(line.text for line in lines)


def with_original_numbers(lines: Sequence[Line]) -> bytes:
    """The source with #line directives, so that every line of the original has its
    old number. They stand only where they mean something: not within a comment or a
    continued line; and again behind #else and #endif, since what was skipped does
    not count."""
    return b"\n".join(_directed(lines))


def _directed(lines: Sequence[Line]) -> Iterator[bytes]:
    natural, in_comment, moved, unsure = 1, False, False, False
    continued = False
    for line in lines:
        if line.number and line.number != natural:
            moved = unsure = True
        if unsure and line.number and not in_comment and not continued:
            yield b"#line %d" % line.number
            natural, unsure = line.number, False
        yield line.text
        natural += 1
        continued = line.text.rstrip(b"\r").endswith(b"\\")
        in_comment = _ends_in_comment(line.text, in_comment)
        if moved and _CONDITIONAL.match(line.text):
            unsure = True


def _ends_in_comment(text: bytes, inside: bool) -> bool:
    at = 0
    while True:
        if inside:
            end = text.find(b"*/", at)
            if end < 0:
                return True
            at, inside = end + 2, False
        match = _TOKEN.search(text, at)
        if match is None:
            return False
        at, inside = match.end(), match[0] == b"/*"
