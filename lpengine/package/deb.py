"""Reads what a .deb says about itself (deb(5)): an `ar` archive whose second member
is a compressed tar with the file `control`."""

import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator

import zstandard

from lpengine.package.frames import LARGEST_WINDOW
from lpengine.package.package_file import PackageError, PackageFile, parse_version

MAGIC = b"!<arch>\n"

_MEMBER = re.compile(rb"(.{16}).{32}([0-9]{1,10}) {0,9}`\n", re.DOTALL)
_LARGEST_CONTROL = 32 << 20
_LARGEST_LZMA = 256 << 20
_FIELD = re.compile(r"^([^\s:]+):[ \t]*(.*?)[ \t]*$", re.MULTILINE)


def read_deb(data: bytes) -> PackageFile:
    """What a .deb says, from its first bytes. PackageError for what is none."""
    members = _members(data)
    name, content = next(members, (b"", b""))
    if name != b"debian-binary" or not content.startswith(b"2."):
        raise PackageError("not a Debian package of format 2")
    fields = _fields(_control(*next(members, (b"", b""))))
    try:
        return PackageFile(
            format="deb",
            name=fields["Package"],
            architecture=fields["Architecture"],
            version=parse_version(fields["Version"]),
            installed_size=int(fields.get("Installed-Size") or "0") << 10,
        )
    except KeyError as error:
        raise PackageError(f"its control file has no {error.args[0]}") from None
    except ValueError:
        raise PackageError("its installed size is no number") from None


def _members(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(MAGIC)
    while found := _MEMBER.match(data, position):
        start = found.end()
        end = start + int(found[2])
        if end > len(data):
            raise PackageError("truncated")
        yield found[1].rstrip(b" /"), data[start:end]
        position = end + end % 2


def _control(name: bytes, packed: bytes) -> str:
    unpack = _UNPACK.get(name)
    if unpack is None:
        raise PackageError("its control archive is not where it must be")
    try:
        raw = unpack(packed)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise PackageError(f"its control archive is damaged: {error}") from None
    if len(raw) > _LARGEST_CONTROL:
        raise PackageError("its control archive is too large")
    return _member_of_tar(raw)


def _member_of_tar(raw: bytes) -> str:
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
            for member in archive:
                if member.name in ("control", "./control") and member.isreg():
                    file = archive.extractfile(member)
                    assert file
                    return file.read().decode("utf-8", "replace")
    except (tarfile.TarError, ValueError, OSError) as error:
        raise PackageError(f"its control archive is damaged: {error}") from None
    raise PackageError("it has no control file")


def _fields(text: str) -> dict[str, str]:
    """The fields of the first paragraph; of long ones only the first line."""
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(text.strip("\n").partition("\n\n")[0]):
        fields.setdefault(name, value)
    return fields


def _gunzip(packed: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(packed, _LARGEST_CONTROL + 1)


def _unxz(packed: bytes) -> bytes:
    decompressor = lzma.LZMADecompressor(memlimit=_LARGEST_LZMA)
    return decompressor.decompress(packed, _LARGEST_CONTROL + 1)


def _unzstd(packed: bytes) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
    with decompressor.stream_reader(packed) as stream:
        return stream.read(_LARGEST_CONTROL + 1)


_UNPACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"control.tar": lambda packed: packed,
    b"control.tar.gz": _gunzip,
    b"control.tar.xz": _unxz,
    b"control.tar.zst": _unzstd,
}
