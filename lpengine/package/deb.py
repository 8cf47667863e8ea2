"""Reads what a .deb says about itself (deb(5)): an `ar` archive whose second member
is a compressed tar with the file `control`."""

import io
import re
import tarfile
from collections.abc import Iterator

from lpengine.package.package_file import PackageError, PackageFile
from lpengine.package.unpack import UnpackError, unpack
from lpengine.package.versions import parse_debian

MAGIC = b"!<arch>\n"

_CONTROL = (
    *(b"control.tar", b"control.tar.gz"),
    *(b"control.tar.xz", b"control.tar.zst"),
)
_MEMBER = re.compile(rb"(.{16}).{32}([0-9]{1,10}) {0,9}`\n", re.DOTALL)
_LARGEST_CONTROL = 32 << 20
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
            version=parse_debian(fields["Version"]),
            installed_size=_kibibytes(fields.get("Installed-Size", "0")) << 10,
        )
    except KeyError as error:
        raise PackageError(f"its control file has no {error.args[0]}") from None
    except ValueError as error:
        raise PackageError(f"its control file: {error}") from None


def _kibibytes(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ValueError(f"not an installed size: {text!r}")
    return int(text)


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
    if name not in _CONTROL:
        raise PackageError("its control archive is not where it must be")
    try:
        return _member_of_tar(unpack(packed, _LARGEST_CONTROL))
    except (UnpackError, tarfile.TarError, ValueError, OSError) as error:
        raise PackageError(f"its control archive is damaged: {error}") from None


def _member_of_tar(raw: bytes) -> str:
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
        for member in archive:
            if member.name in ("control", "./control") and member.isreg():
                file = archive.extractfile(member)
                assert file
                return file.read().decode("utf-8", "replace")
    raise PackageError("it has no control file")


def _fields(text: str) -> dict[str, str]:
    """The fields of the first paragraph; of long ones only the first line."""
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(text.strip("\n").partition("\n\n")[0]):
        fields.setdefault(name, value)
    return fields
