"""Signatures of updates: OpenSSH agrees in both directions, and nobody else does."""

import base64
import hashlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from lpengine.errors import (
    InputError,
    LpengineError,
    NotPermittedError,
    SignatureError,
    UsageError,
)
from lpengine.package import open_update, write_bundle
from lpengine.package.revocation import load_revoked
from lpengine.package.signers import Signers, load_signers, matches, parse_signers
from lpengine.package.signing import sign_with
from lpengine.package.ssh_keys import SshError, make_key, parse_key_text, string
from lpengine.package.sshsig import NAMESPACE, sign, verify
from lpengine.package.trust import check_signature
from tests.update_cases import CONTENTS, an_update

MESSAGE = b'{"id": "LPU-2026-0001"}\n'
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WHO = "xen-security@example.org"


def keygen(*arguments: object, message: bytes = b"") -> subprocess.CompletedProcess:
    return subprocess.run(
        ["ssh-keygen", *map(str, arguments)],
        input=message,
        capture_output=True,
        timeout=60,
        check=False,
    )


def make_private_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    # Sixteen rounds of bcrypt are what makes a passphrase slow to guess.
    quick = ("-a", "1") if passphrase else ()
    made = keygen("-q", "-t", kind, "-N", passphrase, "-C", "", *quick, "-f", path)
    assert made.returncode == 0, made.stderr
    return path


def public_text(path: Path) -> str:
    return path.with_name(path.name + ".pub").read_text().strip()


def nobody() -> str:
    pytest.fail("asked for a passphrase")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys")
    make_private_key(directory / "good")
    make_private_key(directory / "other")
    make_private_key(directory / "locked", passphrase="open sesame")
    return directory


@pytest.fixture
def signers(tmp_path: Path) -> Callable[[str], Signers]:
    def load(text: str) -> Signers:
        (tmp_path / "allowed_signers").write_text(text)
        return load_signers(tmp_path / "allowed_signers")

    return load


def openssh_verifies(
    signature: bytes,
    message: bytes,
    allowed: Path,
    *options: object,
    identity: str = WHO,
) -> bool:
    file = allowed.parent / "signature"
    file.write_bytes(signature)
    arguments = ("-Y", "verify", "-f", allowed, "-I", identity, "-n", NAMESPACE)
    done = keygen(*arguments, "-s", file, *options, message=message)
    return done.returncode == 0


def we_verify(
    signature: bytes, message: bytes, allowed: Path, identity: str = WHO
) -> bool:
    try:
        check_signature(
            message, signature, load_signers(allowed), datetime.now(UTC), identity
        )
    except SignatureError:
        return False
    return True


@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_what_openssh_signs_we_verify(keys: Path, hash_name: str) -> None:
    options = ("-n", NAMESPACE, "-O", f"hashalg={hash_name}", "-f", keys / "good")
    signature = keygen("-Y", "sign", *options, message=MESSAGE).stdout
    expected = parse_key_text(*public_text(keys / "good").split()[:2])
    assert verify(signature, MESSAGE) == expected
    with pytest.raises(SshError, match="does not match"):
        verify(signature, MESSAGE + b" ")


@pytest.mark.parametrize(("name", "secret"), [("good", ""), ("locked", "open sesame")])
def test_what_we_sign_openssh_verifies(
    keys: Path, tmp_path: Path, name: str, secret: str
) -> None:
    signature = sign_with(keys / name, MESSAGE, lambda: secret)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"{WHO} {public_text(keys / name)}\n")
    assert openssh_verifies(signature, MESSAGE, allowed)
    assert not openssh_verifies(signature, MESSAGE + b" ", allowed)
    allowed.write_text(f"{WHO} {public_text(keys / 'other')}\n")
    assert not openssh_verifies(signature, MESSAGE, allowed)


def test_both_sign_alike(keys: Path) -> None:
    """Ed25519 is deterministic, so the two must agree to the byte."""
    options = ("-n", NAMESPACE, "-f", keys / "good")
    theirs = keygen("-Y", "sign", *options, message=MESSAGE).stdout
    assert sign_with(keys / "good", MESSAGE, nobody) == theirs


def token_signature(flags: int, message: bytes) -> tuple[str, bytes]:
    """(public key, signature) as a FIDO token makes them (PROTOCOL.u2f)."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    point = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    kind, application = b"sk-ssh-ed25519@openssh.com", b"ssh:"
    blob = b"".join(map(string, (kind, point, application)))
    inner = hashlib.sha512(message).digest()
    fields = (NAMESPACE.encode(), b"", b"sha512", inner)
    signed = b"SSHSIG" + b"".join(map(string, fields))
    rest = bytes([flags]) + (7).to_bytes(4, "big")
    hashed = hashlib.sha256(application).digest() + rest
    value = private.sign(hashed + hashlib.sha256(signed).digest())
    signature = string(kind) + string(value) + rest
    outer = (blob, NAMESPACE.encode(), b"", b"sha512", signature)
    raw = b"SSHSIG\0\0\0\1" + b"".join(map(string, outer))
    return f"{kind.decode()} {base64.b64encode(blob).decode()}", armored(raw)


def armored(raw: bytes) -> bytes:
    text = base64.b64encode(raw).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    begin, end = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
    return "\n".join((begin, *lines, end, "")).encode()


def test_a_token_signs_too(tmp_path: Path) -> None:
    key, signature = token_signature(1, MESSAGE)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"{WHO} {key}\n")
    assert openssh_verifies(signature, MESSAGE, allowed)
    assert we_verify(signature, MESSAGE, allowed)
    assert not openssh_verifies(signature, MESSAGE + b"!", allowed)
    assert not we_verify(signature, MESSAGE + b"!", allowed)


def test_a_token_must_have_been_touched() -> None:
    _, signature = token_signature(0, MESSAGE)
    with pytest.raises(SshError, match="touched"):
        verify(signature, MESSAGE)


@pytest.fixture
def agent(keys: Path, tmp_path: Path) -> Iterator[None]:
    """An ssh-agent that holds the good key."""
    socket = tmp_path / "agent"
    started = subprocess.run(
        ["ssh-agent", "-s", "-a", socket], capture_output=True, check=True, text=True
    )
    pid = int(started.stdout.split("SSH_AGENT_PID=")[1].split(";")[0])
    os.environ["SSH_AUTH_SOCK"] = str(socket)
    try:
        subprocess.run(["ssh-add", "-q", keys / "good"], check=True)
        yield
    finally:
        del os.environ["SSH_AUTH_SOCK"]
        os.kill(pid, signal.SIGTERM)


@pytest.mark.usefixtures("agent")
def test_a_public_key_stands_for_its_half_in_the_agent(
    keys: Path, tmp_path: Path
) -> None:
    for name in ("good", "other"):
        (tmp_path / name).write_text(public_text(keys / name))
    signature = sign_with(tmp_path / "good", MESSAGE, nobody)
    assert signature == sign_with(keys / "good", MESSAGE, nobody)
    with pytest.raises(NotPermittedError, match="other: cannot sign"):
        sign_with(tmp_path / "other", MESSAGE, nobody)


def test_keys_that_cannot_sign(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="passphrase"):
        sign_with(keys / "locked", MESSAGE, lambda: "wrong")
    rsa = make_private_key(tmp_path / "rsa", "ecdsa")
    for path in (rsa, tmp_path / "rsa.pub"):
        with pytest.raises(UsageError, match="ecdsa"):
            sign_with(path, MESSAGE, nobody)
    for text in ("", "hello\n", 'id = "LPU-1"\ntitle = "A title"\n', "a AAAA\n"):
        (tmp_path / "text").write_text(text)
        with pytest.raises(InputError, match="not a key"):
            sign_with(tmp_path / "text", MESSAGE, nobody)
    raw = (keys / "good").read_bytes()
    (tmp_path / "damaged").write_bytes(raw[:200] + b"AAAA" + raw[204:])
    (tmp_path / "damaged").chmod(0o600)
    with pytest.raises(InputError, match="damaged"):
        sign_with(tmp_path / "damaged", MESSAGE, nobody)
    (tmp_path / "open").write_bytes(raw)
    (tmp_path / "open").chmod(0o644)
    with pytest.raises(NotPermittedError, match="others can read"):
        sign_with(tmp_path / "open", MESSAGE, nobody)


KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = make_key(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
SIGNED = sign(MESSAGE, PUBLIC, KEY.sign)
RAW = base64.b64decode("".join(SIGNED.decode().splitlines()[1:-1]))


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_no_byte_of_a_signature_may_change(place: int, change: int) -> None:
    raw = bytearray(RAW)
    raw[place] ^= change
    with pytest.raises(SshError):
        verify(armored(bytes(raw)), MESSAGE)


@given(st.integers(0, len(SIGNED) - 2), st.binary(min_size=1, max_size=3))
def test_armor_is_taken_strictly(place: int, rubbish: bytes) -> None:
    for text in (SIGNED[:place], SIGNED[:place] + rubbish + SIGNED[place:]):
        try:
            verify(text, MESSAGE)
        except SshError:
            continue
        # Line breaks may be anywhere within.
        assert text.replace(b"\n", b"") == SIGNED.replace(b"\n", b"")


def altered(number: int, value: bytes) -> bytes:
    """The signature with one of its strings exchanged."""
    fields = [
        PUBLIC.blob,
        NAMESPACE.encode(),
        b"",
        b"sha512",
        RAW[-83:],
    ]
    fields[number] = value
    return armored(b"SSHSIG\0\0\0\1" + b"".join(map(string, fields)))


def test_signatures_are_put_together_as_they_are_taken_apart() -> None:
    assert altered(2, b"") == SIGNED


@pytest.mark.parametrize(
    ("number", "value", "complaint"),
    [
        (0, string(b"ssh-rsa") + bytes(40), "ssh-rsa"),
        (0, string(b"ssh-ed25519") + string(bytes(31)), "31 bytes"),
        (0, PUBLIC.blob + b"\0", "1 bytes too many"),
        (1, b"file", "'file'"),
        (1, b"", "''"),
        (2, b"x", "reserved"),
        (3, b"sha1", "sha1"),
        (4, string(b"ssh-ed25519") + string(bytes(63)), "does not match"),
        (4, string(b"ssh-rsa") + string(bytes(64)), "ssh-rsa"),
        (4, RAW[-83:] + b"\0", "too many"),
        (4, b"\xff\xff\xff\xff", "truncated"),
    ],
)
def test_every_field_is_looked_at(number: int, value: bytes, complaint: str) -> None:
    with pytest.raises(SshError, match=complaint):
        verify(altered(number, value), MESSAGE)


def test_a_signature_ends_where_it_ends() -> None:
    with pytest.raises(SshError, match="too many"):
        verify(armored(RAW + b"\0"), MESSAGE)
    with pytest.raises(SshError, match="version 2"):
        verify(armored(RAW[:9] + b"\2" + RAW[10:]), MESSAGE)
    with pytest.raises(SshError, match="armored"):
        verify(SIGNED.replace(b"\n", b"\r\n"), MESSAGE)


# What the trusted signers' file says. OpenSSH is asked about every case as well.

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)

LINES = [
    ("WHO KEY", True),
    ('WHO KEY a comment with "quotes" in it', True),
    ("# a comment\n\nother@example.org KEY\n  WHO KEY", True),
    ("other@example.org KEY", False),
    ("*@example.org KEY", True),
    ("!xen-security@example.org,*@example.org KEY", False),
    ("a@b,xen-?ecurity@example.org KEY", True),
    ('"WHO" KEY', True),
    ("WHO OTHER", False),
    ('WHO namespaces="file,lpengine-update" KEY', True),
    ('WHO namespaces="lpengine-*" KEY', True),
    ('WHO namespaces="file" KEY', False),
    ('WHO namespaces="" KEY', False),
    ('WHO namespaces="lpengine-update", KEY', False),
    ("WHO\x0bKEY", False),
    ("# not a\u2028WHO KEY", False),
    ("WHO KEY\r", True),
    ('WHO NAMESPACES="lpengine-update" KEY', True),
    ('WHO valid-after="YESTERDAY" KEY', True),
    ('WHO valid-after="TOMORROW" KEY', False),
    ('WHO valid-before="TOMORROW" KEY', True),
    ('WHO valid-before="YESTERDAY" KEY', False),
    ('WHO valid-after="YESTERDAY",valid-before="TOMORROW" KEY', True),
    ('WHO namespaces="file" KEY\nWHO KEY', True),
    ('WHO valid-before="YESTERDAY" KEY\nWHO valid-after="YESTERDAY" KEY', True),
    ("WHO cert-authority KEY", False),
    ('WHO cert-authority,namespaces="lpengine-update" KEY', False),
    ("WHO namespaces=lpengine-update KEY", False),
    ("WHO no-such-option KEY", False),
    ('WHO valid-after="soon" KEY', False),
    ('WHO valid-after="20261340" KEY', False),
    ('WHO namespaces="a",namespaces="lpengine-update" KEY', False),
    ('WHO namespaces="lpengine-update KEY', False),
    ("WHO ssh-ed25519", False),
    ("WHO", False),
    ("KEY", False),
    ("WHO ssh-ed25519 AAAA", False),
    ("WHO KEY\ngarbage here", True),
]


@pytest.mark.parametrize(("text", "trusted"), LINES)
def test_openssh_reads_signers_alike(
    keys: Path, tmp_path: Path, text: str, trusted: bool
) -> None:
    for name, value in (
        ("WHO", WHO),
        ("KEY", public_text(keys / "good")),
        ("OTHER", public_text(keys / "other")),
        ("YESTERDAY", f"{YESTERDAY:%Y%m%d%H%M%SZ}"),
        ("TOMORROW", f"{TOMORROW:%Y%m%d%H%MZ}"),
    ):
        text = text.replace(name, value)
    allowed = tmp_path / "allowed"
    allowed.write_text(text + "\n")
    signature = sign_with(keys / "good", MESSAGE, nobody)
    assert openssh_verifies(signature, MESSAGE, allowed) is trusted
    assert we_verify(signature, MESSAGE, allowed) is trusted


def test_times_without_a_zone_are_local(
    keys: Path, signers: Callable[[str], Signers]
) -> None:
    text = f'{WHO} valid-after="202611250930" {public_text(keys / "good")}'
    (trusted,) = signers(text).trusted
    assert trusted.valid_after == datetime(2026, 11, 25, 9, 30).astimezone()


def test_a_refusal_names_the_key_the_file_and_the_reason(
    keys: Path, signers: Callable[[str], Signers]
) -> None:
    signature = sign_with(keys / "good", MESSAGE, nobody)
    fingerprint = verify(signature, MESSAGE).fingerprint
    trusted = signers(
        f'{WHO} valid-before="20200101Z" {public_text(keys / "good")}\nrubbish here\n'
    )
    with pytest.raises(SignatureError) as caught:
        check_signature(MESSAGE, signature, trusted, NOW)
    assert caught.value.codes == ("LP-POL-404",)
    assert fingerprint in caught.value.message
    assert "line 1: only before 2020-01-01T00:00:00Z" in caught.value.message
    assert "line 2" in caught.value.message


# Revocation. OpenSSH is asked here too.


@pytest.mark.parametrize(
    "form", ["key", "fingerprint", "krl", "krl-sha1", "krl-sha256"]
)
@pytest.mark.parametrize("name", ["good", "other"])
def test_openssh_revokes_alike(
    keys: Path, tmp_path: Path, form: str, name: str
) -> None:
    revoked, allowed = tmp_path / "revoked", tmp_path / "allowed"
    key = public_text(keys / name)
    if form == "key":
        revoked.write_text(f"# gone\n{key}\n")
    elif form == "fingerprint":
        revoked.write_text(parse_key_text(*key.split()[:2]).fingerprint + " gone\n")
    else:
        kind = form.partition("-")[2]
        (tmp_path / "list").write_text(f"{kind}:{key}\n" if kind else f"{key}\n")
        made = keygen("-q", "-k", "-f", revoked, tmp_path / "list")
        assert made.returncode == 0, made.stderr
    signature = sign_with(keys / "good", MESSAGE, nobody)
    allowed.write_text(f"{WHO} {public_text(keys / 'good')}\n")
    signers = load_signers(allowed, revoked)
    if name == "good":
        with pytest.raises(SignatureError, match="is revoked") as caught:
            check_signature(MESSAGE, signature, signers, NOW)
        assert caught.value.codes == ("LP-POL-404",)
    else:
        assert check_signature(MESSAGE, signature, signers, NOW).principals == WHO
    if form != "fingerprint":  # OpenSSH takes these in a KRL only
        theirs = openssh_verifies(signature, MESSAGE, allowed, "-r", revoked)
        assert theirs is (name == "other")


@pytest.mark.parametrize(
    "raw",
    [
        b"ssh-ed25519\n",
        b"ssh-ed25519 AAAA\n",
        b"SHA256:abc\n",
        b"MD5:00:11\n",
        b"SSHKRL\n\0",
        b"SSHKRL\n\0\0\0\0\2" + bytes(40),
        b"SSHKRL\n\0\0\0\0\1" + bytes(32) + b"\x09\0\0\0\0",
        b"SSHKRL\n\0\0\0\0\1" + bytes(32) + b"\xff\0\0\0\5\0\0\0\0\1",
    ],
)
def test_a_revocation_that_is_not_understood_stops_everything(
    raw: bytes, tmp_path: Path
) -> None:
    (tmp_path / "revoked").write_bytes(raw)
    with pytest.raises(InputError, match="revoked"):
        load_revoked(tmp_path / "revoked")


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parsers(raw: bytes) -> None:
    text = raw.decode("utf-8", "replace")
    parse_signers(text)
    for tried in (raw, armored(raw), armored(b"SSHSIG\0\0\0\1" + raw)):
        with pytest.raises(SshError):
            verify(tried, MESSAGE)


@given(st.binary(max_size=200))
def test_no_krl_breaks_the_parser(tmp_path_factory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "krl"
    path.write_bytes(b"SSHKRL\n\0\0\0\0\1" + bytes(32) + raw)
    with suppress(InputError):
        load_revoked(path)


@pytest.mark.parametrize(
    ("value", "patterns", "matched"),
    [
        ("a", "a", True),
        ("a", "A", False),
        ("ab", "a?", True),
        ("a", "a?", False),
        ("a.b", "a?b", True),
        ("axb", "a.b", False),
        ("abc", "*", True),
        ("abc", "!abc,*", False),
        ("abc", "*,!abc", False),
        ("abc", "!x", False),
    ],
)
def test_pattern_lists(value: str, patterns: str, matched: bool) -> None:
    assert matches(value, patterns) is matched


# Bundles.


def test_a_bundle_says_who_signed_it(
    keys: Path, tmp_path: Path, signers: Callable[[str], Signers]
) -> None:
    path = tmp_path / "update.lpu"
    digest = write_bundle(
        an_update(), CONTENTS, path, lambda m: sign_with(keys / "good", m, nobody)
    )
    trusted = signers(f"{WHO} {public_text(keys / 'good')}")
    with open_update(path) as bundle:
        assert bundle.digest == digest
        assert bundle.verify(trusted, NOW).principals == WHO
        bundle.check_contents()
        with pytest.raises(SignatureError) as caught:
            bundle.verify(signers(f"{WHO} {public_text(keys / 'other')}"), NOW)
        assert caught.value.codes == ("LP-POL-404",)
        assert caught.value.exit_code == 13
        # What everybody can do who has no lpengine.
        (tmp_path / "allowed").write_text(f"{WHO} {public_text(keys / 'good')}\n")
        assert openssh_verifies(bundle.signature, bundle.manifest, tmp_path / "allowed")


def test_an_unsigned_bundle_is_nobodys(
    tmp_path: Path, signers: Callable[[str], Signers]
) -> None:
    write_bundle(an_update(), CONTENTS, tmp_path / "update.lpu")
    with (
        open_update(tmp_path / "update.lpu") as bundle,
        pytest.raises(SignatureError, match="not signed") as caught,
    ):
        bundle.verify(signers(""), NOW)
    assert caught.value.codes == ("LP-POL-407",)


def test_a_signature_of_another_update_is_not_good(
    keys: Path, tmp_path: Path, signers: Callable[[str], Signers]
) -> None:
    path = tmp_path / "update.lpu"
    stolen = sign_with(keys / "good", MESSAGE, nobody)
    write_bundle(an_update(), CONTENTS, path, lambda _: stolen)
    trusted = signers(f"{WHO} {public_text(keys / 'good')}")
    with open_update(path) as bundle, pytest.raises(LpengineError) as caught:
        bundle.verify(trusted, NOW)
    assert isinstance(caught.value, SignatureError)
    assert caught.value.codes == ("LP-POL-403",)
