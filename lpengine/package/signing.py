"""Signs with the keys that people have: OpenSSH's private keys, and, through
ssh-keygen, those in an agent or in a FIDO token."""

from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
)

from lpengine.command import CommandError, run
from lpengine.errors import InputError, NotPermittedError, UsageError
from lpengine.package.files import read_small
from lpengine.package.ssh_keys import (
    ED25519,
    KEY_TYPES,
    SshError,
    Wire,
    decode_base64,
    make_key,
    parse_key,
)
from lpengine.package.sshsig import NAMESPACE, sign, verify

Passphrase = Callable[[], str]
"""Asks whoever is there for the key's passphrase."""

_LARGEST_KEY = 64 << 10
_BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_END = b"-----END OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"
# A person may have to find the token and touch it.
_TOKEN_SECONDS = 120


def sign_with(key: Path, message: bytes, ask: Passphrase) -> bytes:
    """The message's signature by the key in a file, armored. A public key stands for
    its private half in ssh-agent or in a token."""
    raw = read_small(key, _LARGEST_KEY)
    try:
        if raw.startswith(_BEGIN):
            kind, encrypted = _look_at(raw)
        else:
            kind, encrypted = _public_type(raw), None
    except SshError as error:
        raise InputError(f"{key}: {error}", hint="ssh-keygen -t ed25519") from None
    if kind not in KEY_TYPES:
        raise UsageError(
            f"{key}: a key of type {kind}", hint="make one: ssh-keygen -t ed25519"
        )
    if encrypted is not None and key.stat().st_mode & 0o077:
        raise NotPermittedError(
            f"{key}: a private key that others can read", hint=f"chmod 600 {key}"
        )
    if kind == ED25519 and encrypted is not None:
        signature = _sign_ourselves(key, raw, message, ask if encrypted else None)
    else:
        signature = _ask_ssh_keygen(key, message)
    try:
        verify(signature, message)
    except SshError as error:
        raise InputError(f"{key}: nobody would take its signature: {error}") from None
    return signature


def _look_at(raw: bytes) -> tuple[str, bool]:
    """(type, whether it needs a passphrase) of a private key, from what is not
    encrypted of it."""
    text = raw.strip().removeprefix(_BEGIN).removesuffix(_END)
    wire = Wire(decode_base64(b"".join(text.split())))
    if wire.take(len(_MAGIC)) != _MAGIC:
        raise SshError("not a private key of OpenSSH")
    cipher = wire.word()
    wire.string()
    wire.string()
    if wire.number() != 1:
        raise SshError("not one private key but several")
    return Wire(wire.string()).word(), cipher != "none"


def _public_type(raw: bytes) -> str:
    words = raw.split(maxsplit=2)
    try:
        blob = decode_base64(words[1]) if len(words) > 1 else b""
        if (kind := Wire(blob).word()).encode() != words[0]:
            raise SshError(f"says it is of type {kind}")
    except SshError:
        raise SshError("not a key of OpenSSH") from None
    return parse_key(blob).type if kind in KEY_TYPES else kind


def _sign_ourselves(
    path: Path, raw: bytes, message: bytes, ask: Passphrase | None
) -> bytes:
    password = ask().encode() if ask else None
    try:
        key = load_ssh_private_key(raw, password)
    except (ValueError, UnsupportedAlgorithm):
        why = "not the right passphrase, or damaged" if ask else "damaged"
        raise InputError(f"{path}: {why}") from None
    assert isinstance(key, Ed25519PrivateKey)
    point = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return sign(message, make_key(point), key.sign)


def _ask_ssh_keygen(path: Path, message: bytes) -> bytes:
    argv = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(path)]
    try:
        return run(argv, input=message, timeout=_TOKEN_SECONDS).stdout
    except CommandError as error:
        raise NotPermittedError(
            f"{path}: cannot sign: {error.line or error.message}",
            hint="is its private half in ssh-agent (ssh-add -l), or the token there?",
        ) from None
