"""Debian packages as bytes: `ar` of a control archive and an empty data archive."""

import gzip
import io
import lzma
import tarfile

import zstandard

PACKERS = {
    "": lambda raw: raw,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def make_deb(control: str, suffix: str = ".xz", member: str = "./control") -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(control.encode())
        tar.addfile(info, io.BytesIO(control.encode()))
    return make_ar(
        ("debian-binary", b"2.0\n"),
        (f"control.tar{suffix}", PACKERS[suffix](archive.getvalue())),
        ("data.tar", bytes(1024)),
    )


def make_ar(*members: tuple[str, bytes]) -> bytes:
    raw = b"!<arch>\n"
    for name, data in members:
        raw += b"%-16b%-12d%-6d%-6d%-8b%-10d`\n" % (
            *(name.encode(), 0, 0, 0, b"100644", len(data)),
        )
        raw += data + b"\n" * (len(data) % 2)
    return raw


def tool_deb(version: str = "1:1.2-3") -> bytes:
    return make_deb(
        f"Package: tool\nVersion: {version}\nArchitecture: amd64\n"
        "Installed-Size: 12\nMaintainer: nobody\nDescription: a tool\n long text\n"
    )
