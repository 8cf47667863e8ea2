"""Reads what an .rpm says about itself: a lead, a header of signatures, and the
header, which is an index of tags into a store of values."""

import struct
from enum import IntEnum

from lpengine.package.model import Version
from lpengine.package.package_file import PackageError, PackageFile

MAGIC = b"\xed\xab\xee\xdb"

_LEAD = 96
_HEADER = struct.Struct(">4s4xII")
_HEADER_MAGIC = b"\x8e\xad\xe8\x01"
_ENTRY = struct.Struct(">IIII")
_INT32, _STRING, _STRINGS, _TRANSLATED = 4, 6, 8, 9
_MOST_VALUES = 1 << 16


class _Tag(IntEnum):
    NAME = 1000
    VERSION = 1001
    RELEASE = 1002
    EPOCH = 1003
    SIZE = 1009
    ARCHITECTURE = 1022
    PROVIDES = 1047


def read_rpm(data: bytes) -> PackageFile:
    """What an .rpm says, from its first bytes. PackageError for what is none."""
    signatures = _Header(data, _LEAD)
    header = _Header(data, signatures.end + -signatures.end % 8)
    epoch = header.numbers(_Tag.EPOCH)
    size = header.numbers(_Tag.SIZE)
    return PackageFile(
        format="rpm",
        name=header.text(_Tag.NAME),
        architecture=header.text(_Tag.ARCHITECTURE),
        version=Version(
            header.text(_Tag.VERSION),
            header.text(_Tag.RELEASE),
            epoch[0] if epoch else None,
        ),
        installed_size=size[0] if size else 0,
        provides=header.texts(_Tag.PROVIDES),
    )


class _Header:
    """One header: `end` is where it ends in the file."""

    def __init__(self, data: bytes, start: int) -> None:
        if len(data) < start + _HEADER.size:
            raise PackageError("truncated")
        magic, entries, size = _HEADER.unpack_from(data, start)
        if magic != _HEADER_MAGIC:
            raise PackageError("it has no header where one must be")
        index = start + _HEADER.size
        store = index + entries * _ENTRY.size
        self.end = store + size
        if self.end > len(data):
            raise PackageError("truncated, or of a header that is too large")
        self._store = data[store : self.end]
        self._index = {
            tag: (kind, offset, count)
            for tag, kind, offset, count in _ENTRY.iter_unpack(data[index:store])
        }

    def text(self, tag: _Tag) -> str:
        found = self.texts(tag)
        if not found:
            raise PackageError(f"it has no {tag.name.lower()}")
        return found[0]

    def texts(self, tag: _Tag) -> tuple[str, ...]:
        kind, offset, count = self._index.get(tag, (_STRINGS, 0, 0))
        if kind not in (_STRING, _STRINGS, _TRANSLATED) or count > _MOST_VALUES:
            raise PackageError(f"its {tag.name.lower()} is not text")
        found = []
        for _ in range(count):
            end = self._store.find(b"\0", offset)
            if end < 0:
                raise PackageError(f"its {tag.name.lower()} has no end")
            found.append(self._store[offset:end].decode("utf-8", "replace"))
            offset = end + 1
        return tuple(found)

    def numbers(self, tag: _Tag) -> tuple[int, ...]:
        kind, offset, count = self._index.get(tag, (_INT32, 0, 0))
        raw = self._store[offset : offset + 4 * count]
        if kind != _INT32 or count > _MOST_VALUES or len(raw) < 4 * count:
            raise PackageError(f"its {tag.name.lower()} is not a number")
        return struct.unpack(f">{count}I", raw)
