"""Who includes what in a source tree, told from the texts alone.

Where a directive may mean several files it counts as including all of them, so that
nothing that a change reaches is left out.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from lpengine.command import complete

_SECONDS = 600
FILES = ("*.c", "*.h", "*.S", "*.inc", "*.lds", "*.tbl")
# A macro that names a file is for an #include of it.
_WANTED = (
    r"^[[:space:]]*#[[:space:]]*(include|define[[:space:]]+[A-Za-z0-9_]+)"
    r'[[:space:]]*[<"][^>"]+\.[A-Za-z]+[>"]'
)
_FOUND = re.compile(r'\./([^:]+):\s*#\s*(include|define\s+\w+)\s*([<"])([^>"]+)[>"]')
_UPWARDS = re.compile(r"^(?:\.{1,2}/)+")
# User space's, where sources are for both: acpi/platform/acenv.h in the kernel.
_STANDARD = frozenset(
    f"{name}.h"
    for name in (
        *("assert", "ctype", "errno", "fcntl", "float", "limits", "locale", "math"),
        *("poll", "pthread", "sched", "setjmp", "signal", "stdarg", "stdbool"),
        *("stddef", "stdint", "stdio", "stdlib", "string", "time", "unistd"),
    )
)


@dataclass(frozen=True, slots=True)
class Directive:
    """`text` is what stands between quotes or angle brackets."""

    includer: str
    text: str
    quoted: bool


def scan(root: Path) -> str:
    """All directives below a directory, one a line, for `parse`."""
    patterns = [f"--include={each}" for each in FILES]
    argv = ["grep", "-rHoE", *patterns, _WANTED, "."]
    said = complete(argv, cwd=root, timeout=_SECONDS)
    return said.stdout.decode(errors="replace")


def parse(scanned: str) -> Iterator[Directive]:
    for line in scanned.splitlines():
        found = _FOUND.match(line)
        if found:
            yield Directive(found[1], found[4], found[3] == '"')


class Includes:
    """`directories` are searched for what is included, before any that makefiles
    add; `files` are all there are."""

    def __init__(
        self,
        directives: Iterable[Directive],
        files: Iterable[str],
        directories: Sequence[str],
    ) -> None:
        self._directories = tuple(directories)
        self._files = frozenset(files)
        self._by_name: dict[str, list[Directive]] = defaultdict(list)
        for each in directives:
            self._by_name[posixpath.basename(each.text)].append(each)

    def reaching(self, files: Iterable[str]) -> Set[str]:
        """The files, and all that include them, through others too."""
        reached: set[str] = set()
        waiting = list(files)
        while waiting:
            file = waiting.pop()
            if file not in reached:
                reached.add(file)
                waiting += self._includers(file)
        return reached

    def _includers(self, file: str) -> Iterator[str]:
        for each in self._by_name.get(posixpath.basename(file), ()):
            if self._may_mean(each, file):
                yield each.includer

    def _may_mean(self, directive: Directive, file: str) -> bool:
        text = directive.text
        if directive.quoted:
            beside = posixpath.join(posixpath.dirname(directive.includer), text)
            if posixpath.normpath(beside) in self._files:
                return posixpath.normpath(beside) == file
        for directory in self._directories:
            there = posixpath.normpath(f"{directory}/{text}")
            if there in self._files:
                return there == file
        if not directive.quoted and text in _STANDARD:
            return False
        rest = _UPWARDS.sub("", posixpath.normpath(text))
        return file == rest or file.endswith(f"/{rest}")
