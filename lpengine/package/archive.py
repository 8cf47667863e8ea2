"""A bundle's file: manifest, signature, contents.

Each member is two frames, its header and its content, so a reader can step over
contents without unpacking them, and a signature can be put in without packing them
again. For zstd and tar it is one `.tar.zst`.

Opening looks at everything but the contents' bytes. Sizes are known before anything
is unpacked, and nothing is unpacked beyond them.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lpengine.errors import InputError, NotFoundError, NotPermittedError
from lpengine.package.frames import Frame, FrameError, find_frame, unpack
from lpengine.package.members import END, announced, padding

MANIFEST, SIGNATURE = "manifest.json", "manifest.json.sig"

# Lists of nothing take fifty times their text once they are read.
LARGEST_MANIFEST = 8 << 20
LARGEST_SIGNATURE = 16 << 10
MOST_MEMBERS = 1 << 14
# Nothing real shrinks like that; nor does it have to below the size that any
# machine can take.
LARGEST_RATIO = 1000
UNSUSPICIOUS_SIZE = 64 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A member as its header announces it, and where its content is."""

    name: str
    size: int
    content: Frame


def is_bomb(unpacked: int, packed: int) -> bool:
    return unpacked > max(UNSUSPICIOUS_SIZE, LARGEST_RATIO * packed)


class Archive:
    """A bundle that is open for reading. InputError for what is none, and for one
    that does what no honest bundle does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        try:
            self.file_size = os.fstat(self._file).st_size
            with self.complaints():
                self.members = self._index()
            self.manifest = self._small(0, MANIFEST, LARGEST_MANIFEST)
            self.signature = b""
            if len(self.members) > 1 and self.members[1].name == SIGNATURE:
                self.signature = self._small(1, SIGNATURE, LARGEST_SIGNATURE)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    @property
    def contents(self) -> tuple[Member, ...]:
        """The members after manifest and signature."""
        return tuple(self.members[2 if self.signature else 1 :])

    def stream(self, member: Member) -> Iterator[bytes]:
        """A member's content, in chunks."""
        with self.complaints(member.name):
            yield from unpack(self.read_at, member.content)

    def read_at(self, size: int, offset: int) -> bytes:
        return os.pread(self._file, size, offset)

    @contextmanager
    def complaints(self, name: str = "") -> Iterator[None]:
        """What is wrong with the file as an InputError that names it."""
        try:
            yield
        except FrameError as error:
            where = f"{name}: " if name else ""
            raise self.error(f"{where}{error}") from None
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}") from None

    def error(self, what: str) -> InputError:
        return InputError(
            f"{self.path}: {what}", hint="get the update again from its publisher"
        )

    def _index(self) -> list[Member]:
        members: list[Member] = []
        offset = previous = 0
        names: set[str] = set()
        while member := self._member(offset, previous):
            if member.name in names:
                raise self.error(f"{member.name} is there twice")
            if len(members) == MOST_MEMBERS:
                raise self.error(f"more than {MOST_MEMBERS} members")
            names.add(member.name)
            members.append(member)
            offset, previous = member.content.end, member.size
        unpacked = sum(member.size for member in members)
        if is_bomb(unpacked, self.file_size):
            raise self.error(f"{self.file_size} bytes that unpack to {unpacked}")
        return members

    def _member(self, offset: int, previous: int) -> Member | None:
        """The member whose header starts at `offset`, after the padding of the one
        before it; None at the end of the archive."""
        filler = padding(previous)
        frame = find_frame(self.read_at, offset, len(filler) + len(END))
        between = b"".join(unpack(self.read_at, frame))
        if between == filler + END:
            if frame.end != self.file_size:
                raise FrameError("something follows the end of the archive")
            return None
        try:
            name, size = announced(between.removeprefix(filler))
        except ValueError as error:
            raise FrameError(str(error)) from None
        content = find_frame(self.read_at, frame.end, max(size, 1))
        if content.size != size:
            raise FrameError(
                f"{name}: {content.size} bytes, and its header says {size}"
            )
        return Member(name, size, content)

    def _small(self, index: int, name: str, largest: int) -> bytes:
        if index >= len(self.members) or self.members[index].name != name:
            raise self.error(f"not a bundle: it does not start with {name}")
        if self.members[index].size > largest:
            raise self.error(f"{name} is larger than {largest} bytes")
        return b"".join(self.stream(self.members[index]))


def _open(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise NotPermittedError(f"{path}: {error.strerror}") from None
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise InputError(f"{path}: not a file")
