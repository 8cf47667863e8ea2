"""An update in one file, opened."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Self

from lpengine.errors import InputError, UsageError
from lpengine.package.archive import Archive
from lpengine.package.contents import check_disk, contents_of
from lpengine.package.distribution import PREFIX, check_package
from lpengine.package.doubts import Malformed
from lpengine.package.files import Replacing
from lpengine.package.manifest_reader import read_manifest
from lpengine.package.model import Content
from lpengine.package.modules import check_module, read_module
from lpengine.package.signers import Signers
from lpengine.package.trust import Signer, check_signature

# What `read` takes into memory: above the largest patch module that is looked at.
LARGEST_READ = 64 << 20


class Bundle:
    """An update's file, open for reading; use it in a `with`.

    `digest` is the SHA-256 of the manifest, which pins everything else: it is the
    update's identity, whoever has signed it. Contents are checked as they are read,
    so the file may change under an open bundle and nothing wrong comes out of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = Archive(path)
        try:
            self.manifest = self._archive.manifest
            self.signature = self._archive.signature
            self.digest = hashlib.sha256(self.manifest).hexdigest()
            self.update, unused = read_manifest(self.manifest, f"{path}: manifest")
            self.contents = self._matched(unused)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def file_size(self) -> int:
        return self._archive.file_size

    def close(self) -> None:
        self._archive.close()

    def verify(self, signers: Signers, now: datetime, identity: str = "") -> Signer:
        """Who has signed the update. SignatureError where that is nobody, or nobody
        that `signers` trust at that time (for `identity`, if it is given). It is the
        manifest that is signed; contents are checked against it as they are read."""
        return check_signature(self.manifest, self.signature, signers, now, identity)

    def stream(self, content: Content) -> Iterator[bytes]:
        """A content in chunks. InputError, at the latest after the last chunk, where
        it is not what the manifest says: use nothing before the end."""
        if content.member not in self._members:
            raise UsageError(f"{self.path}: holds no {content.member}")
        digest = hashlib.sha256()
        for chunk in self._archive.stream(self._members[content.member]):
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != content.sha256:
            raise self._archive.error(f"{content.member} is not what the manifest says")

    def read(self, content: Content, limit: int = LARGEST_READ) -> bytes:
        """A content, whole. InputError for more than `limit` bytes."""
        if content.size > limit:
            raise InputError(
                f"{self.path}: {content.member} has {content.size} bytes, more than "
                f"{limit}"
            )
        return b"".join(self.stream(content))

    def extract(self, content: Content, to: Path, mode: int = 0o600) -> None:
        """Write a content to a file, synced: whole and right, or not at all."""
        with Replacing(to, mode) as file:
            for chunk in self.stream(content):
                file.write(chunk)

    def check_contents(self) -> None:
        """Read every content. InputError where one is not what the manifest says, or
        a module or package says something else of itself than the manifest does."""
        checked = set()
        try:
            for livepatch in self.update.livepatches:
                if content := livepatch.content:
                    module = read_module(self.read(content), content.member)
                    check_module(livepatch, module)
                    checked.add(content)
            for package in self.update.packages:
                check_package(package, self._beginning(package.content))
                checked.add(package.content)
        except Malformed as error:
            raise self._archive.error(str(error)) from None
        for content in self.contents:
            if content not in checked:
                for _ in self.stream(content):
                    pass

    def _beginning(self, content: Content) -> bytes:
        """The first bytes of a content, all of which is checked."""
        data = bytearray()
        for chunk in self.stream(content):
            if len(data) < PREFIX:
                data += chunk
        return bytes(data)

    def _matched(self, unused: Iterable[Content]) -> tuple[Content, ...]:
        """The contents that the manifest names, once they are known to be the
        members of the archive, no more and no less."""
        try:
            check_disk(self.update)
            contents = contents_of(self.update, unused)
        except Malformed as error:
            raise self._archive.error(str(error)) from None
        self._members = {member.name: member for member in self._archive.contents}
        for content in contents:
            member = self._members.get(content.member)
            if member is None:
                raise self._archive.error(f"{content.member} is missing")
            if member.size != content.size:
                raise self._archive.error(
                    f"{content.member}: {member.size} bytes, and the manifest says "
                    f"{content.size}"
                )
        named = [content.member for content in contents]
        if surplus := self._members.keys() - set(named):
            raise self._archive.error(f"{min(surplus)} is not in the manifest")
        if list(self._members) != named:
            raise self._archive.error("its members are not in order")
        return contents


def open_update(path: str | Path) -> Bundle:
    """Open an update's file. Everything but the contents' bytes is checked now,
    these when they are read. NotFoundError, and InputError for what is no bundle or
    not an honest one."""
    return Bundle(Path(path))
