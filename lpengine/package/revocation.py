"""Keys that are trusted no more: a list of keys and fingerprints, or a KRL.

Anything in the file that is not understood makes it unusable: a key that was to be
revoked must not go on signing because of a slip in its line.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lpengine.errors import InputError
from lpengine.package.files import read_small
from lpengine.package.ssh_keys import PublicKey, SshError, Wire, decode_base64

_LARGEST = 16 << 20
_KRL_MAGIC = b"SSHKRL\n\0"
_KRL_VERSION = 1
# PROTOCOL.krl: sections on certificates and on the list's own signature name no key
# that could sign an update.
_CERTIFICATES, _KEYS, _SHA1, _SIGNATURE, _SHA256, _EXTENSION = 1, 2, 3, 4, 5, 255


@dataclass(frozen=True)
class Revoked:
    """`keys` are blobs, the others their hashes."""

    keys: frozenset[bytes] = frozenset()
    sha1: frozenset[bytes] = frozenset()
    sha256: frozenset[bytes] = frozenset()

    def __contains__(self, key: PublicKey) -> bool:
        return (
            key.blob in self.keys
            or hashlib.sha256(key.blob).digest() in self.sha256
            or hashlib.sha1(key.blob, usedforsecurity=False).digest() in self.sha1
        )


NOBODY = Revoked()


def load_revoked(path: Path) -> Revoked:
    """The keys revoked by a file: OpenSSH's public keys and SHA256 fingerprints, one
    a line, or a key revocation list of `ssh-keygen -k`."""
    raw = read_small(path, _LARGEST)
    try:
        return _krl(raw) if raw.startswith(_KRL_MAGIC) else _lines(raw)
    except SshError as error:
        raise InputError(
            f"{path}: {error}",
            hint="public keys or SHA256: fingerprints, one a line, or a KRL",
        ) from None


def _lines(raw: bytes) -> Revoked:
    keys, hashes = set(), set()
    for number, line in enumerate(raw.decode("utf-8", "replace").split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if words[0].startswith("SHA256:"):
                hashes.add(_fingerprint(words[0]))
            else:
                keys.add(_blob(words))
        except SshError as error:
            raise SshError(f"line {number}: {error}") from None
    return Revoked(frozenset(keys), sha256=frozenset(hashes))


def _fingerprint(word: str) -> bytes:
    digest = decode_base64(word.removeprefix("SHA256:").encode() + b"=")
    if len(digest) != hashlib.sha256().digest_size:
        raise SshError("not a fingerprint")
    return digest


def _blob(words: list[str]) -> bytes:
    """The blob of a key of any type: its line says the type twice."""
    if len(words) < 2:
        raise SshError("neither a public key nor a fingerprint")
    blob = decode_base64(words[1].encode("ascii", "replace"))
    if Wire(blob).word() != words[0]:
        raise SshError("not a public key")
    return blob


def _krl(raw: bytes) -> Revoked:
    wire = Wire(raw[len(_KRL_MAGIC) :])
    if (version := wire.number()) != _KRL_VERSION:
        raise SshError(f"a KRL of version {version}")
    wire.take(3 * 8)  # its number, its date, flags
    wire.string()
    wire.string()
    found: dict[int, set[bytes]] = {_KEYS: set(), _SHA1: set(), _SHA256: set()}
    while wire.left:
        kind, section = wire.number(1), Wire(wire.string())
        if kind in found:
            while section.left:
                found[kind].add(section.string())
        elif kind == _EXTENSION:
            name, critical = section.word(), section.number(1)
            if critical:
                raise SshError(f"a KRL with the extension {name!r}")
        elif kind not in (_CERTIFICATES, _SIGNATURE):
            raise SshError(f"a KRL with a section of kind {kind}")
    return Revoked(
        frozenset(found[_KEYS]), frozenset(found[_SHA1]), frozenset(found[_SHA256])
    )
