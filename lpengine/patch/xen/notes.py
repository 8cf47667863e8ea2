"""Reads the three build-id notes and the metadata."""

from collections.abc import Iterator

from lpengine.elf.constants import NT_GNU_BUILD_ID
from lpengine.elf.layout import NOTE_HEADER
from lpengine.patch.xen import layout
from lpengine.patch.xen.payload_file import FileSection
from lpengine.patch.xen.references import View

_OWNER = layout.NOTE_OWNER.encode() + b"\0"
_WORD = 1 << 32
_METADATA_MAX = 1024


def read_build_id(view: View, name: str) -> str:
    """The build id in a note section as hex, "" where there is none. Rules:
    common/livepatch.c, prepare_payload; common/version.c, xen_build_id_check."""
    section = view.file.first(name)
    if section is None or not section.size or not section.readable:
        return ""
    view.refuse_strays(section, -1, (), section.size)
    observed, build_id = _parse(view, section)
    if observed:
        view.violations.refuse(
            "note-malformed",
            name,
            observed,
            f"a note of {layout.NOTE_OWNER}, type {NT_GNU_BUILD_ID}, with a build id",
        )
    return build_id.hex()


def _parse(view: View, section: FileSection) -> tuple[str, bytes]:
    """What is wrong with the note ("" if nothing), and its build id."""
    if section.size <= NOTE_HEADER.size:
        return f"{section.size} bytes", b""
    header = view.file.contents(section, 0, NOTE_HEADER.size)
    owner_size, size, type_ = NOTE_HEADER.unpack(header)
    if type_ != NT_GNU_BUILD_ID:
        return f"type {type_}", b""
    whole = owner_size + size
    if owner_size < len(_OWNER) or whole >= _WORD:
        return f"an owner of {owner_size} bytes", b""
    if whole > section.size - NOTE_HEADER.size:
        return f"{whole} bytes in a section of {section.size}", b""
    owner = view.file.contents(section, NOTE_HEADER.size, len(_OWNER))
    if owner != _OWNER:
        return f"owner {owner!a}", b""
    if not size:
        return "a build id of 0 bytes", b""
    start = NOTE_HEADER.size + (owner_size + 3 & -4)
    return "", view.file.contents(section, start, size)


def read_metadata(view: View) -> tuple[tuple[str, str], ...]:
    """The pairs of .modinfo; a string without "=" is a key without a value."""
    section = view.file.first(layout.MODINFO)
    if section is None or not section.readable:
        return ()
    if not section.size:
        view.violations.suffer(
            "unchecked-pointer",
            section.name,
            "0 bytes, of which the last has to be NUL",
            "contents, or no such section",
        )
        return ()
    view.refuse_strays(section, -1, (), section.size)
    if view.file.contents(section, section.size - 1, 1) != b"\0":
        view.violations.refuse(
            "modinfo-not-terminated", section.name, "no NUL at its end", "NUL"
        )
    return tuple(_pairs(view, section))


def _pairs(view: View, section: FileSection) -> Iterator[tuple[str, str]]:
    if section.zero_filled:
        return
    data = view.file.contents(section, 0, section.size)
    for string in data.split(b"\0", _METADATA_MAX)[:_METADATA_MAX]:
        if string:
            key, _, value = string.decode("utf-8", "backslashreplace").partition("=")
            yield key, value
