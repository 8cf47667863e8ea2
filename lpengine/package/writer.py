"""Writes a bundle: the same update gives the same bytes, whole or not at all."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from lpengine.errors import InputError, UsageError
from lpengine.package.archive import (
    LARGEST_MANIFEST,
    MANIFEST,
    SIGNATURE,
    Archive,
    is_bomb,
)
from lpengine.package.contents import Source, check_disk, chunks_of, contents_of
from lpengine.package.doubts import Malformed
from lpengine.package.files import Replacing
from lpengine.package.frames import FrameError, pack
from lpengine.package.manifest import encode
from lpengine.package.members import END, LARGEST_CONTENT, header, padding
from lpengine.package.model import Content, Update

Sign = Callable[[bytes], bytes]
"""The manifest -> its signature, armored."""

_COPIED = 1 << 20


def write_bundle(
    update: Update,
    contents: Mapping[str, Source],
    path: Path,
    sign: Sign | None = None,
) -> str:
    """Pack an update whose contents are in `contents` by member; returns its digest.
    UsageError where they do not belong together, InputError where a file is not what
    the update says it is."""
    manifest = encode(update)
    if len(manifest) > LARGEST_MANIFEST:
        raise UsageError(f"{update.id}: its manifest has more than {LARGEST_MANIFEST}")
    members = _checked(update, contents)
    signature = sign(manifest) if sign else b""
    with Replacing(path, 0o644) as file:
        writer = _Writer(file)
        writer.small(MANIFEST, manifest)
        if signature:
            writer.small(SIGNATURE, signature)
        for content in members:
            writer.member(content, contents[content.member])
        writer.end()
        unpacked = len(manifest) + len(signature)
        unpacked += sum(content.size for content in members)
        if is_bomb(unpacked, file.tell()):
            raise UsageError(
                f"{update.id}: {unpacked} bytes shrink to {file.tell()}, and no reader "
                "would believe that",
                hint="pack what is mostly zeros some other way",
            )
    return hashlib.sha256(manifest).hexdigest()


def write_signed(path: Path, signature: bytes, to: Path) -> None:
    """The bundle at `path` with that signature, at `to`. Contents are copied as they
    are, not unpacked."""
    with Archive(path) as archive, Replacing(to, 0o644) as file:
        writer = _Writer(file)
        writer.small(MANIFEST, archive.manifest)
        writer.small(SIGNATURE, signature)
        for member in archive.contents:
            writer.between(member.name, member.size)
            start, left = member.content.start, member.content.end
            while start < left:
                chunk = archive.read_at(min(_COPIED, left - start), start)
                if not chunk:
                    raise archive.error("truncated while it was copied")
                file.write(chunk)
                start += len(chunk)
        writer.end()


def _checked(update: Update, contents: Mapping[str, Source]) -> tuple[Content, ...]:
    try:
        check_disk(update)
        members = contents_of(update)
    except Malformed as error:
        raise UsageError(f"{update.id}: {error}") from None
    for content in members:
        if content.member not in contents:
            raise UsageError(f"{update.id}: nothing was given for {content.member}")
        if content.size > LARGEST_CONTENT:
            raise UsageError(f"{content.member}: larger than {LARGEST_CONTENT} bytes")
    return members


class _Writer:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.previous = 0

    def small(self, name: str, data: bytes) -> None:
        self.between(name, len(data))
        self.frame(data)

    def member(self, content: Content, source: Source) -> None:
        """InputError where the source is not the content that was announced."""
        self.between(content.member, content.size)
        digest = hashlib.sha256()
        try:
            for packed in pack(_hashed(chunks_of(source), digest), content.size):
                self.file.write(packed)
        except FrameError:
            raise _changed(content, source) from None
        if digest.hexdigest() != content.sha256:
            raise _changed(content, source)

    def end(self) -> None:
        self.frame(padding(self.previous) + END)

    def between(self, name: str, size: int) -> None:
        self.frame(padding(self.previous) + header(name, size))
        self.previous = size

    def frame(self, data: bytes) -> None:
        for packed in pack(iter([data]), len(data)):
            self.file.write(packed)


def _hashed(chunks: Iterator[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _changed(content: Content, source: Source) -> InputError:
    where = content.member if isinstance(source, bytes) else str(source)
    return InputError(f"{where}: not the {content.size} bytes that were announced")
