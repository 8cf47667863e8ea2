"""OpenSSH's public keys, as far as updates are signed with them: Ed25519, in a file or
in a FIDO token."""

import base64
import binascii
import hashlib
from dataclasses import dataclass

ED25519 = "ssh-ed25519"
ED25519_TOKEN = "sk-ssh-ed25519@openssh.com"
KEY_TYPES = (ED25519, ED25519_TOKEN)


class SshError(Exception):
    """Something of OpenSSH's is malformed, or not of the kinds we take."""


class Wire:
    """Reads SSH's encoding (RFC 4251, section 5). SshError at its end and at what
    is too much."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise SshError("truncated")
        self._position += size
        return self._data[self._position - size : self._position]

    def number(self, size: int = 4) -> int:
        return int.from_bytes(self.take(size), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def word(self) -> str:
        return self.string().decode("ascii", "backslashreplace")

    def end(self) -> None:
        if self.left:
            raise SshError(f"{self.left} bytes too many")


def string(data: bytes) -> bytes:
    """Data with its length before it, as SSH has it."""
    return len(data).to_bytes(4, "big") + data


@dataclass(frozen=True)
class PublicKey:
    """A public key: `blob` as it goes over the wire, `point` its 32 bytes;
    `application` is for keys in a token, else ""."""

    blob: bytes
    type: str
    point: bytes
    application: str = ""

    @property
    def fingerprint(self) -> str:
        digest = base64.b64encode(hashlib.sha256(self.blob).digest())
        return "SHA256:" + digest.decode().rstrip("=")


def parse_key(blob: bytes) -> PublicKey:
    """The key in a blob. SshError for any but Ed25519."""
    wire = Wire(blob)
    kind = wire.word()
    if kind not in KEY_TYPES:
        raise SshError(f"a key of type {kind}, not Ed25519")
    point = wire.string()
    application = wire.word() if kind == ED25519_TOKEN else ""
    wire.end()
    if len(point) != 32:
        raise SshError(f"an Ed25519 key of {len(point)} bytes")
    return PublicKey(blob, kind, point, application)


def make_key(point: bytes) -> PublicKey:
    return parse_key(string(ED25519.encode()) + string(point))


def decode_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise SshError("not base64") from None


def parse_key_text(kind: str, text: str) -> PublicKey:
    """A key as a line of text has it: its type, and base64 that must agree."""
    key = parse_key(decode_base64(text.encode("ascii", "replace")))
    if key.type != kind:
        raise SshError(f"says {kind} and is {key.type}")
    return key
