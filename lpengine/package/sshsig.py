"""Signatures in OpenSSH's format (PROTOCOL.sshsig): what `ssh-keygen -Y sign` and
`ssh-keygen -Y verify` write and read. Ed25519 only, and nothing negotiable."""

import base64
import hashlib
import re
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lpengine.package.ssh_keys import (
    ED25519_TOKEN,
    PublicKey,
    SshError,
    Wire,
    decode_base64,
    parse_key,
    string,
)

NAMESPACE = "lpengine-update"

_MAGIC = b"SSHSIG"
_VERSION = 1
# The two that the format has; ssh-keygen writes sha512 unless told otherwise.
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_OUR_HASH = "sha512"
_ARMOR = re.compile(
    rb"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n"
    rb"-----END SSH SIGNATURE-----\n?"
)
_LINE = 70
_USER_PRESENT = 0x01


def verify(armored: bytes, message: bytes) -> PublicKey:
    """The key that has signed the message for us. SshError where there is none:
    whether that key is trusted is another question."""
    wire = _open(armored)
    key = parse_key(wire.string())
    if (namespace := wire.word()) != NAMESPACE:
        raise SshError(f"made for {namespace!r}, not for {NAMESPACE!r}")
    if wire.string():
        raise SshError("something in its reserved field")
    if (hash_name := wire.word()) not in _HASHES:
        raise SshError(f"the hash {hash_name!r}")
    signature = Wire(wire.string())
    wire.end()
    _check(key, signature, _signed(message, hash_name))
    return key


def signing_key(armored: bytes) -> PublicKey:
    """The key that a signature says it is by, for showing. SshError for what is no
    signature."""
    return parse_key(_open(armored).string())


def _open(armored: bytes) -> Wire:
    """A signature's fields."""
    wire = Wire(_dearmor(armored))
    if wire.take(len(_MAGIC)) != _MAGIC:
        raise SshError("not a signature")
    if (version := wire.number()) != _VERSION:
        raise SshError(f"version {version} of the format, not {_VERSION}")
    return wire


def _check(key: PublicKey, signature: Wire, signed: bytes) -> None:
    if (kind := signature.word()) != key.type:
        raise SshError(f"a signature of type {kind} by a key of type {key.type}")
    value = signature.string()
    if key.type == ED25519_TOKEN:
        # PROTOCOL.u2f: the token signs hashes, its flags and its counter.
        rest = signature.take(5)
        if not rest[0] & _USER_PRESENT:
            raise SshError("made by a token that nobody touched")
        application = hashlib.sha256(key.application.encode()).digest()
        signed = application + rest + hashlib.sha256(signed).digest()
    signature.end()
    try:
        Ed25519PublicKey.from_public_bytes(key.point).verify(value, signed)
    except (InvalidSignature, ValueError):
        raise SshError("it does not match what it signs") from None


def sign(message: bytes, key: PublicKey, signer: Callable[[bytes], bytes]) -> bytes:
    """The message's signature by `key`, armored; `signer` makes 64 bytes of what is
    to be signed."""
    value = string(key.type.encode()) + string(signer(_signed(message, _OUR_HASH)))
    fields = (key.blob, NAMESPACE.encode(), b"", _OUR_HASH.encode(), value)
    raw = _MAGIC + _VERSION.to_bytes(4, "big") + b"".join(map(string, fields))
    text = base64.b64encode(raw)
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return b"\n".join(
        (b"-----BEGIN SSH SIGNATURE-----", *lines, b"-----END SSH SIGNATURE-----", b"")
    )


def _signed(message: bytes, hash_name: str) -> bytes:
    digest = _HASHES[hash_name](message).digest()
    fields = (NAMESPACE.encode(), b"", hash_name.encode(), digest)
    return _MAGIC + b"".join(map(string, fields))


def _dearmor(armored: bytes) -> bytes:
    found = _ARMOR.fullmatch(armored)
    if not found:
        raise SshError("not an armored SSH signature")
    return decode_base64(found[1].replace(b"\n", b""))
