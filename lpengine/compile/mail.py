"""Patches as mail carries them: encoded for the way, decoded here."""

import re
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from lpengine.errors import InputError

# How git begins each message of a mailbox that it writes.
_BEGINS = re.compile(rb"^From [0-9a-f]{40} Mon Sep 17 00:00:00 2001\r?$", re.MULTILINE)
_HEADER = re.compile(rb"\A(?:From [^\n]*\n)?[A-Za-z-]+:[ \t]")
_ENCODED = ("quoted-printable", "base64")


def decoded(raw: bytes, path: str) -> bytes:
    """The text of a patch file, which `path` names: what is no mail, or a plain one,
    stays as it is. InputError for a mail with attachments."""
    starts = [each.start() for each in _BEGINS.finditer(raw)]
    if not starts or starts[0]:
        starts.insert(0, 0)
    ends = [*starts[1:], len(raw)]
    messages = [raw[start:end] for start, end in zip(starts, ends, strict=True)]
    return b"".join(_message(each, path) for each in messages)


def header_text(text: str) -> str:
    """A header field on one line, as its author wrote it."""
    line = " ".join(text.split())
    try:
        return str(make_header(decode_header(line)))
    except (HeaderParseError, LookupError, ValueError):
        return line


def _message(raw: bytes, path: str) -> bytes:
    if not _HEADER.match(raw):
        return raw
    mail = message_from_bytes(raw)
    if mail.is_multipart():
        raise InputError(
            f"{path}: is a mail with attachments", hint="give the attached patch"
        )
    if str(mail["Content-Transfer-Encoding"]).strip().lower() not in _ENCODED:
        return raw
    body = mail.get_payload(decode=True)
    assert isinstance(body, bytes)
    head = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0]
    return head + b"\n\n" + body
