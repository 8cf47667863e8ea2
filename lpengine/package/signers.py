"""Who may sign updates: a file in the format of OpenSSH's allowed_signers.

A line that is not understood trusts nobody, as in OpenSSH, and is remembered, so that
a refusal can say so. Times without a Z are local, as in OpenSSH.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from lpengine.errors import NotFoundError
from lpengine.package.files import read_small
from lpengine.package.revocation import NOBODY, Revoked, load_revoked
from lpengine.package.ssh_keys import (
    KEY_TYPES,
    PublicKey,
    SshError,
    parse_key_text,
)

ALLOWED_SIGNERS = Path("/etc/lpengine/allowed_signers")
REVOKED_KEYS = Path("/etc/lpengine/revoked_keys")

_LARGEST = 16 << 20
# Only these are blanks to OpenSSH, and only a newline ends a line.
_BLANKS = " \t\r"
_WORD = re.compile(r'(?:[^ \t\r"]|"[^"]*")+')
_KEY_TYPE = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]+")
_OPTION = re.compile(r'([A-Za-z-]+)(?:=("?)([^"]*)\2)?(?:,|$)')
_TIME = re.compile(r"(\d{8}|\d{12}|\d{14})(Z|UTC)?")
_TIME_FORMATS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True)
class TrustedKey:
    """A line: a key that signs for `principals` (a list of patterns), in
    `namespaces` (likewise; None for all), between two times."""

    line: int
    principals: str
    key: PublicKey
    namespaces: str | None = None
    valid_after: datetime | None = None
    valid_before: datetime | None = None


@dataclass(frozen=True)
class Signers:
    """`ignored` are complaints about lines that were not understood."""

    path: str
    trusted: tuple[TrustedKey, ...]
    ignored: tuple[str, ...] = ()
    revoked: Revoked = NOBODY


def load_signers(path: Path, revoked: Path | None = None) -> Signers:
    """Who is trusted by the file `path`, less the keys that `revoked` revokes."""
    text = read_small(path, _LARGEST).decode("utf-8", "replace")
    trusted, ignored = parse_signers(text)
    gone = load_revoked(revoked) if revoked else NOBODY
    return Signers(str(path), trusted, ignored, gone)


def trusted_signers(path: Path | None = None, revoked: Path | None = None) -> Signers:
    """Who is trusted on this machine, or by the files that are named instead. What
    the machine's own list revokes is revoked whenever no other list is named."""
    gone = load_revoked(revoked) if revoked else None
    try:
        signers = load_signers(path or ALLOWED_SIGNERS)
    except NotFoundError as error:
        raise NotFoundError(
            error.message,
            hint="list there who may sign updates (ssh-keygen(1), ALLOWED SIGNERS), or "
            "name another file with --signers",
        ) from None
    try:
        return replace(signers, revoked=gone or load_revoked(REVOKED_KEYS))
    except NotFoundError:
        return signers


def parse_signers(text: str) -> tuple[tuple[TrustedKey, ...], tuple[str, ...]]:
    """(keys, complaints) of a file's text."""
    trusted: list[TrustedKey] = []
    ignored: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip(_BLANKS) and not line.lstrip(_BLANKS).startswith("#"):
                trusted += _parse_line(number, line)
        except SshError as error:
            ignored.append(f"line {number}: {error}")
    return tuple(trusted), tuple(ignored)


def _parse_line(number: int, line: str) -> list[TrustedKey]:
    """The line's key; none where it could not have signed an update."""
    if line.count('"') % 2:
        raise SshError("a quote that does not end")
    principals, *words = _WORD.findall(line)
    options = ""
    if words and not _KEY_TYPE.fullmatch(words[0]):
        options = words.pop(0)
    if len(words) < 2 or not _KEY_TYPE.fullmatch(words[0]):
        raise SshError("not PRINCIPALS [OPTIONS] TYPE KEY")
    settings = _parse_options(options)
    if words[0] not in KEY_TYPES:
        return []
    after, before = settings.get("valid-after"), settings.get("valid-before")
    trusted = TrustedKey(
        line=number,
        principals=principals.strip('"'),
        key=parse_key_text(words[0], words[1]),
        namespaces=settings.get("namespaces"),
        valid_after=_parse_time(after) if after is not None else None,
        valid_before=_parse_time(before) if before is not None else None,
    )
    if not trusted.principals:
        raise SshError("no principals")
    return [trusted]


def _parse_options(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        option = _OPTION.match(text, position)
        if not option:
            raise SshError(f"options that cannot be read: {text[position:]!r}")
        position = option.end()
        name = option[1].lower()
        if name == "cert-authority":
            raise SshError("certificates are not supported")
        if name not in ("namespaces", "valid-after", "valid-before"):
            raise SshError(f"an unknown option {name!r}")
        if name in found:
            raise SshError(f"{name} twice")
        if not option[2]:
            raise SshError(f"{name} needs a value in quotes")
        found[name] = option[3]
    if text.endswith(","):
        raise SshError("nothing after the last comma of the options")
    return found


def _parse_time(text: str) -> datetime:
    found = _TIME.fullmatch(text)
    try:
        if found:
            time = datetime.strptime(found[1], _TIME_FORMATS[len(found[1])])
            return time.replace(tzinfo=UTC) if found[2] else time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise SshError(f"{text!r} is no time")


def matches(value: str, patterns: str) -> bool:
    """As OpenSSH matches pattern lists: any of them, and none with a `!`."""
    matched = False
    for pattern in patterns.split(","):
        negated = pattern.startswith("!")
        escaped = re.escape(pattern.removeprefix("!"))
        expression = escaped.replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(expression, value, re.DOTALL):
            if negated:
                return False
            matched = True
    return matched
