"""Archives put together by hand, honest or not."""

from collections.abc import Sequence

from lpengine.package.frames import pack
from lpengine.package.members import END, header, padding


def frame(data: bytes) -> bytes:
    return b"".join(pack(iter([data]), len(data)))


def archive(
    members: Sequence[tuple[str | bytes, bytes | str]],
    end: bytes = END,
    tail: bytes = b"",
) -> bytes:
    """An archive of those members; a name may be a whole header instead."""
    raw, previous = b"", 0
    for name, content in members:
        data = content.encode() if isinstance(content, str) else content
        block = header(name, len(data)) if isinstance(name, str) else name
        raw += frame(padding(previous) + block) + frame(data)
        previous = len(data)
    return raw + frame(padding(previous) + end) + tail
