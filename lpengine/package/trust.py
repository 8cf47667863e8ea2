"""Whether an update is signed by somebody who is trusted here."""

from dataclasses import dataclass
from datetime import datetime

from lpengine.errors import SignatureError
from lpengine.package.signers import Signers, TrustedKey, matches
from lpengine.package.ssh_keys import PublicKey, SshError
from lpengine.package.sshsig import NAMESPACE, verify

MISSING, INVALID, UNTRUSTED = "LP-POL-407", "LP-POL-403", "LP-POL-404"


@dataclass(frozen=True)
class Signer:
    """Who has signed: the principals of the line that trusts the key."""

    principals: str
    fingerprint: str


def check_signature(
    manifest: bytes,
    signature: bytes,
    signers: Signers,
    now: datetime,
    identity: str = "",
) -> Signer:
    """Who has signed the manifest. SignatureError where nobody has, where the
    signature is not good, and where its key is not trusted, or not at that time, or
    not for `identity`, if that is given."""
    if not signature:
        raise SignatureError(
            "the update is not signed",
            code=MISSING,
            hint="`lpengine bundle sign` signs it, once you know where it is from",
        )
    try:
        key = verify(signature, manifest)
    except SshError as error:
        raise SignatureError(
            f"the update's signature is not good: {error}",
            code=INVALID,
            hint="get it again; if it stays wrong, treat it as a security incident",
        ) from None
    return _trusted(key, signers, now, identity)


def _trusted(key: PublicKey, signers: Signers, now: datetime, identity: str) -> Signer:
    if key in signers.revoked:
        raise _untrusted(key, "is revoked", "ask its publisher for one signed anew")
    reasons = []
    for each in signers.trusted:
        if each.key.blob != key.blob:
            continue
        reason = _objection(each, now, identity)
        if not reason:
            return Signer(each.principals, key.fingerprint)
        reasons.append(f"line {each.line}: {reason}")
    where = f"{signers.path}: {'; '.join(reasons) or 'it is not there'}"
    ignored = f" (not understood: {'; '.join(signers.ignored)})"
    raise _untrusted(
        key,
        f"is not trusted by {where}{ignored if signers.ignored else ''}",
        "compare the fingerprint with the publisher's, then add the key there",
    )


def _objection(each: TrustedKey, now: datetime, identity: str) -> str:
    """Why a line does not trust its own key here and now; "" if it does."""
    if each.namespaces is not None and not matches(NAMESPACE, each.namespaces):
        return f"only for {each.namespaces or 'no namespace'}"
    if each.valid_after and now < each.valid_after:
        return f"only after {each.valid_after:%Y-%m-%dT%H:%M:%SZ}"
    if each.valid_before and now > each.valid_before:
        return f"only before {each.valid_before:%Y-%m-%dT%H:%M:%SZ}"
    if identity and not matches(identity, each.principals):
        return f"for {each.principals}, not for {identity}"
    return ""


def _untrusted(key: PublicKey, what: str, hint: str) -> SignatureError:
    return SignatureError(
        f"the update's signature is by the key {key.fingerprint}, which {what}",
        code=UNTRUSTED,
        hint=hint,
    )
