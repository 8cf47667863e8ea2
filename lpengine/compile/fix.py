"""A source fix as a value: unified diffs, as diff, git and mail carry them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lpengine.compile.mail import decoded, header_text
from lpengine.errors import InputError, NotFoundError, NotPermittedError

_LARGEST = 16 << 20
_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_TIMESTAMP = re.compile(rb"\t\d{4}-\d\d-\d\d .*$")
_COMMIT = re.compile(r"^(?:From |commit )([0-9a-f]{12,64})\b", re.MULTILINE)
_SUBJECT = re.compile(r"^Subject: (.*(?:\n[ \t].*)*)", re.MULTILINE)
# As git show and git log indent it.
_FIRST_LINE = re.compile(r"^    (\S.*)", re.MULTILINE)
_TAGS = re.compile(r"^(?:\s*\[[^]]*\])+\s*")
_IDENTIFIERS = re.compile(r"\b(?:XSA-\d+|CVE-\d{4}-\d{4,})\b")
_NOWHERE = b"/dev/null"
# What git says of a file above its lines (git-diff, "extended header lines").
_EXTENDED = re.compile(rb"((?:rename|copy) (?:from|to)|(?:new|deleted) file mode) (.+)")


@dataclass(frozen=True)
class Hunk:
    """`lines` as in the diff: what stays begins with a space, what goes with "-",
    what comes with "+". `start` is the first line's number in the old file."""

    start: int
    lines: tuple[bytes, ...]

    @property
    def old(self) -> tuple[bytes, ...]:
        return tuple(line[1:] for line in self.lines if line[:1] != b"+")


class Move(StrEnum):
    """What becomes of a file under its old name, where the new one is another."""

    NONE = "none"
    RENAMED = "renamed"
    COPIED = "copied"


@dataclass(frozen=True)
class FileChange:
    """What a fix does to one file; `old` or `new` is "" for one that comes or goes.
    Names are as the patch has them, which file of a tree that is says locating.py.
    Without a move two names mean one file, whichever there is."""

    old: str
    new: str
    hunks: tuple[Hunk, ...]
    move: Move = Move.NONE

    @property
    def path(self) -> str:
        return self.new or self.old


@dataclass(frozen=True)
class Fix:
    """One patch file. `title`, `commit` and `identifiers` (CVE and XSA numbers) are
    "" and empty where it does not say."""

    path: str
    changes: tuple[FileChange, ...]
    title: str = ""
    commit: str = ""
    identifiers: tuple[str, ...] = ()


def open_fix(path: Path) -> Fix:
    """A patch file on disk. NotFoundError or NotPermittedError where it cannot be
    opened, InputError where it is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"{path}: no such patch file") from error
    except PermissionError as error:
        raise NotPermittedError(f"{path}: may not be read") from error
    if len(raw) > _LARGEST:
        raise InputError(f"{path}: a patch of more than {_LARGEST >> 20} MiB")
    return parse_fix(raw, str(path))


def parse_fix(raw: bytes, path: str = "<memory>") -> Fix:
    """A patch that is in memory already; `path` is what errors call it."""
    raw = decoded(raw, path)
    changes = tuple(_Parser(raw, path).changes())
    if not changes:
        raise InputError(
            f"{path}: holds no unified diff", hint="make one with git diff or diff -u"
        )
    begins = raw.find(b"\n--- ")
    said = raw[: begins if begins >= 0 else 0].decode(errors="replace")
    commit = _COMMIT.search(said)
    subject = _SUBJECT.search(said) or _FIRST_LINE.search(said)
    title = header_text(subject[1]) if subject else ""
    return Fix(
        path,
        changes,
        title=_TAGS.sub("", title),
        commit=commit[1] if commit else "",
        identifiers=tuple(dict.fromkeys(_IDENTIFIERS.findall(said))),
    )


class _Parser:
    def __init__(self, raw: bytes, path: str) -> None:
        self._lines = raw.removesuffix(b"\n").split(b"\n")
        self._path = path
        self._at = 0

    def changes(self) -> Iterator[FileChange]:
        told: dict[bytes, bytes] = {}
        while self._at < len(self._lines):
            line = self._line().rstrip(b"\r")
            if line.startswith(b"diff --git "):
                yield from self._without_hunks(told)
                told = {b"diff --git": line.removeprefix(b"diff --git ")}
            elif extended := _EXTENDED.match(line):
                told[extended[1]] = extended[2]
            elif line.startswith((b"GIT binary patch", b"Binary files ")):
                raise self._fail("changes a binary file, which is no source")
            elif line.startswith(b"--- ") and self._peek().startswith(b"+++ "):
                yield self._file(line, _move(told))
                told = {}
        yield from self._without_hunks(told)

    def _line(self) -> bytes:
        self._at += 1
        return self._lines[self._at - 1]

    def _peek(self) -> bytes:
        return self._lines[self._at] if self._at < len(self._lines) else b""

    def _without_hunks(self, told: dict[bytes, bytes]) -> Iterator[FileChange]:
        """What git says of a file whose lines stay as they are, if it has any."""
        names = told.get(b"diff --git", b"")
        half = len(names) // 2
        move = _move(told)
        if move is not Move.NONE:
            old, new = self._moved(told, names)
            yield FileChange(old, new, (), move)
        elif b"new file mode" in told:
            yield FileChange("", self._inside(names[half + 1 :]), ())
        elif b"deleted file mode" in told:
            yield FileChange(self._inside(names[:half]), "", ())

    def _moved(self, told: dict[bytes, bytes], names: bytes) -> tuple[str, str]:
        """git says these names without what it puts in front of others."""
        old, new = (told.get(each, b"") for each in _moves_of(told))
        prefixed = names != old + b" " + new
        a, b = (b"a/", b"b/") if prefixed else (b"", b"")
        return self._inside(a + old), self._inside(b + new)

    def _file(self, first: bytes, move: Move) -> FileChange:
        old, new = self._name(first), self._name(self._line())
        hunks = []
        while match := _HUNK.match(self._peek()):
            self._at += 1
            hunks.append(self._hunk(match))
        if not hunks:
            raise self._fail(f"has no hunk for {new or old}")
        return FileChange(old, new, tuple(hunks), move)

    def _hunk(self, match: re.Match[bytes]) -> Hunk:
        old, new = int(match[2] or 1), int(match[4] or 1)
        lines = []
        while old > 0 or new > 0:
            # Some mailers cut the blank of an empty line that stays.
            line = self._line().removesuffix(b"\r") if self._more() else b"?"
            line = line or b" "
            sign = line[:1]
            if sign not in (b" ", b"+", b"-"):
                raise self._fail("breaks off inside a hunk")
            old -= sign != b"+"
            new -= sign != b"-"
            lines.append(line)
        if old or new:
            raise self._fail("counts its hunk's lines wrongly")
        while self._peek().startswith(b"\\"):  # "No newline at end of file"
            self._at += 1
        return Hunk(int(match[1]), tuple(lines))

    def _more(self) -> bool:
        if self._peek().startswith(b"\\"):
            self._at += 1
        return self._at < len(self._lines)

    def _name(self, line: bytes) -> str:
        name = _TIMESTAMP.sub(b"", line[4:]).rstrip(b"\r\t ")
        return "" if name == _NOWHERE else self._inside(name)

    def _inside(self, raw: bytes) -> str:
        name = raw.decode(errors="replace")
        parts = name.split("/")
        absolute = name.startswith("/") or name.partition("/")[2].startswith("/")
        if not name or absolute or ".." in parts or "\0" in name:
            raise self._fail(
                f"names the file {name!a}, which is outside of a tree",
                hint="paths are relative, as in a/common/domain.c",
            )
        return "/".join(part for part in parts if part not in ("", "."))

    def _fail(self, what: str, hint: str = "") -> InputError:
        return InputError(f"{self._path}: line {self._at}: {what}", hint=hint)


def _move(told: dict[bytes, bytes]) -> Move:
    if b"rename from" in told:
        return Move.RENAMED
    return Move.COPIED if b"copy from" in told else Move.NONE


def _moves_of(told: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    verb = b"rename" if b"rename from" in told else b"copy"
    return verb + b" from", verb + b" to"


def described(fixes: Sequence[Fix]) -> tuple[tuple[str, str], ...]:
    """What several patches say of themselves, as metadata of a module."""
    titles = [fix.title for fix in fixes if fix.title]
    identifiers = dict.fromkeys(each for fix in fixes for each in fix.identifiers)
    commits = [fix.commit for fix in fixes if fix.commit]
    found = (
        ("title", "; ".join(titles)),
        ("fixes", " ".join(identifiers)),
        ("commit", " ".join(commits)),
    )
    return tuple((key, value) for key, value in found if value)
