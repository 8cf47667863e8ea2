"""The headers between a bundle's contents: POSIX tar (ustar), one form only.

What a header says is known from the manifest before it is read, so a reader compares
it with what it must be. Whatever else tar can express, links, devices, long names,
holes, is refused by that one comparison; the rest of this file says by which name.
"""

import re

BLOCK = 512
LARGEST_CONTENT = (1 << 33) - 1  # eleven octal digits

# Plain names only: no empty, "." or ".." part, nothing that a shell or a terminal
# would take for something else, nothing that needs tar's long names.
_NAME = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.+~@=,-]*/)*[A-Za-z0-9_][A-Za-z0-9_.+~@=,-]*"
)
_NAME_MAX = 99

_TYPES = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a directory",
    b"6": "a named pipe",
    b"7": "a contiguous file",
    b"D": "a directory listing",
    b"K": "a long link name",
    b"L": "a long name",
    b"M": "part of a file of another volume",
    b"S": "a file with holes",
    b"V": "a volume label",
    b"g": "a global header",
    b"x": "an extended header",
}


def is_member_name(name: str) -> bool:
    return len(name) <= _NAME_MAX and _NAME.fullmatch(name) is not None


def header(name: str, size: int) -> bytes:
    """The header before a member: a plain file of root, from 1970."""
    fields = (
        name.encode().ljust(100, b"\0"),
        b"0000644\0" + b"0000000\0" * 2,
        b"%011o\0" % size,
        b"00000000000\0",
        b" " * 8,
        b"0".ljust(101, b"\0"),
        b"ustar\00000",
        b"root".ljust(32, b"\0") * 2,
        b"0000000\0" * 2,
    )
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padding(size: int) -> bytes:
    """What fills a member up to whole blocks."""
    return bytes(-size % BLOCK)


END = bytes(2 * BLOCK)


def announced(block: bytes) -> tuple[str, int]:
    """(name, size) of a header that is as `header` writes it; ValueError, saying
    what is wrong with it, for any other."""
    if len(block) != BLOCK or block[257:262] != b"ustar":
        raise ValueError("no tar header")
    name = block[:100].rstrip(b"\0").decode("ascii", "backslashreplace")
    if why := oddity(name, block[156:157]):
        raise ValueError(why)
    digits = block[124:135]
    if not re.fullmatch(rb"[0-7]{11}", digits):
        raise ValueError(f"{name}: its size is no number")
    size = int(digits, 8)
    if header(name, size) != block:
        raise ValueError(f"{name}: not a header as lpengine writes it")
    return name, size


def oddity(name: str, kind: bytes) -> str:
    """What is wrong with a member of that name and type; "" if nothing."""
    shown = name.encode("unicode_escape").decode()
    if kind not in (b"0", b"\0"):
        return f"{shown}: {_TYPES.get(kind, 'of a type nobody knows')}"
    if name.startswith("/"):
        return f"{shown}: an absolute name"
    if ".." in name.split("/"):
        return f"{shown}: leads out of the archive"
    if not is_member_name(name):
        return f"{shown!r}: not a name a member may have"
    return ""
