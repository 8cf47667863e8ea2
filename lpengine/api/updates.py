"""The verbs on updates: nothing here touches a target."""

from datetime import UTC, datetime
from pathlib import Path

from lpengine.errors import InputError, UsageError
from lpengine.package import open_update, write_bundle
from lpengine.package.archive import LARGEST_SIGNATURE
from lpengine.package.authored import read_authored
from lpengine.package.bundle import Bundle
from lpengine.package.files import read_small
from lpengine.package.signers import trusted_signers
from lpengine.package.signing import Passphrase, sign_with
from lpengine.package.ssh_keys import SshError
from lpengine.package.sshsig import signing_key, verify
from lpengine.package.writer import write_signed
from lpengine.report.values import Packed, Verified


def create_bundle(
    authored: str | Path,
    output: str | Path | None = None,
    *,
    key: str | Path | None = None,
    ask: Passphrase | None = None,
) -> Packed:
    """Pack what an update.toml describes, into ID.lpu unless told otherwise, and sign
    it where a key is given."""
    update, sources = read_authored(Path(authored))
    path = Path(output or f"{update.id}.lpu")

    def sign(manifest: bytes) -> bytes:
        return sign_with(Path(key), manifest, ask or nobody_to_ask) if key else b""

    write_bundle(update, sources, path, sign)
    return inspect_bundle(path)


def inspect_bundle(path: str | Path) -> Packed:
    """What a bundle holds. Its contents are not read, its signature not judged."""
    with open_update(path) as bundle:
        return packed(bundle)


def verify_bundle(
    path: str | Path,
    *,
    signers: str | Path | None = None,
    revoked: str | Path | None = None,
    identity: str = "",
    now: datetime | None = None,
) -> Verified:
    """Whether a bundle is whole, and signed by somebody who is trusted: by the files
    that are given, or else as this machine is configured."""
    trusted = trusted_signers(
        Path(signers) if signers else None, Path(revoked) if revoked else None
    )
    with open_update(path) as bundle:
        signer = bundle.verify(trusted, now or datetime.now(UTC), identity)
        bundle.check_contents()
        return Verified(packed(bundle), signer, len(bundle.contents))


def sign_bundle(
    path: str | Path,
    key: str | Path,
    *,
    output: str | Path | None = None,
    ask: Passphrase | None = None,
) -> Packed:
    """Sign a bundle, in place or to another file; a signature that it has goes."""
    with open_update(path) as bundle:
        signature = sign_with(Path(key), bundle.manifest, ask or nobody_to_ask)
    write_signed(Path(path), signature, Path(output or path))
    return inspect_bundle(output or path)


def attach_signature(
    path: str | Path, signature: str | Path, *, output: str | Path | None = None
) -> Packed:
    """Put in a signature that was made elsewhere, with ssh-keygen -Y sign, over what
    `lpengine bundle inspect --manifest` prints."""
    armored = read_small(Path(signature), LARGEST_SIGNATURE)
    with open_update(path) as bundle:
        try:
            verify(armored, bundle.manifest)
        except SshError as error:
            raise InputError(
                f"{signature}: not a signature of {path}: {error}",
                hint="ssh-keygen -Y sign -n lpengine-update -f KEY manifest.json",
            ) from None
    write_signed(Path(path), armored, Path(output or path))
    return inspect_bundle(output or path)


def packed(bundle: Bundle) -> Packed:
    return Packed(
        path=str(bundle.path),
        size=bundle.file_size,
        digest=bundle.digest,
        signed_by=fingerprint(bundle),
        manifest=bundle.manifest,
        update=bundle.update,
    )


def fingerprint(bundle: Bundle) -> str:
    """The key that a signature names: a claim, as yet."""
    if not bundle.signature:
        return ""
    try:
        return signing_key(bundle.signature).fingerprint
    except SshError as error:
        return f"unreadable: {error}"


def nobody_to_ask() -> str:
    raise UsageError(
        "the key needs a passphrase, and there is nobody to ask",
        hint="load it with ssh-add and give its public key instead",
    )
