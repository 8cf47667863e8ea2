"""A script's answers, taken apart: each under its name, with its status."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files

from lpengine.errors import InconclusiveError
from lpengine.hosts import Host

NOT_THERE = 127
_TIMEOUT = timedelta(minutes=3)


@dataclass(frozen=True)
class Answer:
    """What a program or a file said. Status 127: there is no such program."""

    status: int
    data: bytes

    @property
    def text(self) -> str:
        """With what is not UTF-8 shown as escapes; nothing is lost to an error."""
        return self.data.decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Answers:
    """All of one look. What was not asked counts as not there."""

    found: Mapping[str, Answer] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Answer:
        return self.found.get(name, Answer(NOT_THERE, b""))

    def text(self, name: str) -> str | None:
        """What was said, stripped; None where that failed."""
        answer = self[name]
        return None if answer.status else answer.text.strip()

    def lacks(self, name: str) -> bool:
        """Whether the host has no such program, which is no failure of one."""
        return self[name].status == NOT_THERE

    def hexadecimal(self, name: str) -> bytes | None:
        """Bytes that were sent as hex (od -tx1)."""
        text = self.text(name)
        try:
            return None if text is None else bytes.fromhex(text)
        except ValueError:
            return None


def ask(host: Host, script: str, arguments: Sequence[str]) -> Answers:
    """Run a script of this room on the host. Its frames are made of a word that what
    is shown cannot know. `HostError` where the host does not answer,
    `InconclusiveError` where it breaks off."""
    word = secrets.token_hex(16)
    text = files("lpengine.targets.host").joinpath(script).read_text()
    done = host.run(
        ["sh", "-s", "--", word, *arguments], input=text.encode(), timeout=_TIMEOUT
    )
    try:
        return split(done.stdout, word.encode())
    except ValueError as error:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InconclusiveError(
            f"{host.name} cannot be looked at: {said[-1] if said else error}",
            hint="it needs a POSIX shell and coreutils",
        ) from None


def split(output: bytes, word: bytes) -> Answers:
    """`ValueError` where a frame is missing."""
    found: dict[str, Answer] = {}
    for piece in output.split(word + b" begin ")[1:]:
        name, _, rest = piece.partition(b"\n")
        data, end, tail = rest.rpartition(b"\n" + word + b" end " + name + b" ")
        status = tail.partition(b"\n")[0]
        if not end or not status.isdigit():
            raise ValueError(f"the answer {name.decode(errors='replace')} breaks off")
        found[name.decode(errors="replace")] = Answer(int(status), data)
    if not found:
        raise ValueError("there is no answer")
    return Answers(found)
