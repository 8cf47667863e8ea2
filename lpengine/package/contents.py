"""What an archive holds for an update, and that it can be put on a disk."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from lpengine.errors import NotFoundError
from lpengine.package.archive import MANIFEST, MOST_MEMBERS, SIGNATURE
from lpengine.package.doubts import Malformed
from lpengine.package.members import is_member_name
from lpengine.package.model import Content, Update

CHUNK = 1 << 20

Source = bytes | Path


def content_of(member: str, source: Source) -> Content:
    """What `source` holds, as the member of that name."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks_of(source):
        digest.update(chunk)
        size += len(chunk)
    return Content(member, digest.hexdigest(), size)


def chunks_of(source: Source) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    try:
        with source.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise NotFoundError(f"{source}: {error.strerror}") from None


def contents_of(update: Update, unused: Iterable[Content] = ()) -> tuple[Content, ...]:
    """What the archive holds for an update, and for parts that are not relied on, in
    its order there. Malformed where two parts disagree about a member, or its name
    cannot be one."""
    found: dict[str, Content] = {}
    for content in (*_all_contents(update), *unused):
        reserved = content.member in (MANIFEST, SIGNATURE)
        if reserved or not is_member_name(content.member):
            raise Malformed(repr(content.member), "not a name a member may have")
        if found.setdefault(content.member, content) != content:
            raise Malformed(content.member, "two different contents in one member")
    if len(found) > MOST_MEMBERS - 2:
        raise Malformed("contents", f"more than {MOST_MEMBERS - 2}")
    return tuple(found[member] for member in sorted(found))


def _all_contents(update: Update) -> Iterator[Content]:
    yield from (each.content for each in update.livepatches if each.content)
    yield from (each.content for each in update.files)
    yield from (each.content for each in update.packages)


def check_disk(update: Update) -> None:
    """Malformed where two files, or two packages, cannot both be on one disk."""
    paths: set[str] = set()
    for file in update.files:
        if file.path in paths:
            raise Malformed(file.path, "is there twice")
        paths.add(file.path)
    for path in paths:
        for parent in map(str, PurePosixPath(path).parents):
            if parent in paths:
                raise Malformed(parent, f"cannot be a file with {path} in it")
    packages: set[tuple[str, str]] = set()
    for package in update.packages:
        key = (package.name, package.architecture)
        if key in packages:
            raise Malformed(package.name, "is there twice, for one architecture")
        packages.add(key)
