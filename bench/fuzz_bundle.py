"""Throws damaged updates at their readers: bundles, manifests, signatures, packages,
updateinfo.xml.

    python -m bench.fuzz_bundle --seconds 60 --seed 1

A bundle is damaged as it is, and put together anew around a damaged manifest. Exits
with 1, and saves the bytes, where anything but a refusal comes out, something comes
out that its publisher has not signed, or a reader takes too much memory or time.
"""

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.fuzz_elf import ADDRESS_SPACE, Failure, fuzz
from lpengine.errors import InputError
from lpengine.package import content_of, open_update, write_bundle
from lpengine.package.archive import MANIFEST, SIGNATURE
from lpengine.package.distribution import read_package
from lpengine.package.doubts import Malformed
from lpengine.package.frames import pack
from lpengine.package.manifest_reader import read_manifest
from lpengine.package.members import END, header, padding
from lpengine.package.model import DiskFile, LivePatch, Update, Version
from lpengine.package.revocation import load_revoked
from lpengine.package.signers import Signers, TrustedKey, parse_signers
from lpengine.package.ssh_keys import SshError, make_key, string
from lpengine.package.sshsig import sign, verify
from lpengine.package.xenserver.updateinfo import read_updateinfo
from tests.deb_cases import tool_deb

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = make_key(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
SIGNERS = Signers("signers", (TrustedKey(1, "me", PUBLIC),))
NOW = datetime(2026, 11, 25, tzinfo=UTC)

KRL = b"SSHKRL\n\0\0\0\0\1" + bytes(32) + b"\2\0\0\0\x37" + string(PUBLIC.blob)
# What unpacks a gigabyte unpacks a kilobyte in the same buffers; xz takes 8 MiB.
BUFFERS = 12 << 20

CONTENTS = {"files/a": b"welcome\n", "files/b": bytes(range(256)) * 20}

UPDATEINFO = b"""<?xml version="1.0"?>
<updates><update type="security"><id>U-1</id><summary>s</summary>
<guidance><recommended><value>RebootHost</value></recommended></guidance>
<guidance_applicabilities><applicability><name>xen</name><arch>x86_64</arch>
<inequality>lt</inequality><epoch>1</epoch><version>4</version><release>1</release>
</applicability></guidance_applicabilities>
<livepatches><livepatch component="xen" base="4-1" to="4-2" base-buildid="ab"/>
</livepatches><issued date="2026-05-12 08:37:49"/><severity>High</severity>
</update></updates>"""

SIGNERS_TEXT = (
    b'a@b,*@c namespaces="x,lpengine-update",valid-after="20260101Z" ssh-ed25519 '
    b"AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop c\n"
)


def an_update() -> Update:
    content = {member: content_of(member, data) for member, data in CONTENTS.items()}
    files = tuple(
        DiskFile(f"/{member}", 0o644, "root", "root", each)
        for member, each in content.items()
    )
    one, two = Version("4.17.5", "8"), Version("4.17.5", "9", 1)
    livepatches = (LivePatch("xen", "ab" * 20, one, two),)
    return Update("LPU-1", components=("xen",), livepatches=livepatches, files=files)


class BundleReader:
    """Reads a bundle, and trusts what it should."""

    def __init__(self, path: Path, signed: bytes) -> None:
        self.path = path
        self.signed = signed

    def __call__(self, raw: bytes) -> None:
        self.path.write_bytes(raw)
        try:
            with open_update(self.path) as bundle:
                bundle.verify(SIGNERS, NOW)
                found = {each.member: bundle.read(each) for each in bundle.contents}
        except InputError:
            return
        if bundle.manifest != self.signed or found != CONTENTS:
            raise Failure("something that nobody has signed was taken")


def around(manifest: bytes) -> bytes:
    """A bundle of that manifest, well put together and signed."""
    members: Mapping[str, bytes] = {
        MANIFEST: manifest,
        SIGNATURE: sign(manifest, PUBLIC, KEY.sign),
        **CONTENTS,
    }
    raw, previous = b"", 0
    for name, data in members.items():
        between = padding(previous) + header(name, len(data))
        raw += b"".join((*pack(iter([between]), len(between)),
                         *pack(iter([data]), len(data))))  # fmt: skip
        previous = len(data)
    end = padding(previous) + END
    return raw + b"".join(pack(iter([end]), len(end)))


def refusing(
    read: Callable[[bytes], object], *refusals: type[Exception]
) -> Callable[[bytes], None]:
    def attempt(raw: bytes) -> None:
        try:
            read(raw)
        except refusals:
            return

    return attempt


def signed_manifest(path: Path) -> Callable[[bytes], None]:
    """A manifest that is signed as it is: whatever it says is refused or safe."""

    def attempt(raw: bytes) -> None:
        path.write_bytes(around(raw))
        with open_update(path) as bundle:
            bundle.verify(SIGNERS, NOW)
            for each in bundle.contents:
                bundle.read(each)
            if not bundle.update.livepatches and not bundle.update.defects:
                raise Failure("a live patch has gone without a word")

    return refusing(attempt, InputError)


def main() -> int:
    parser = argparse.ArgumentParser(description="fuzz the readers of updates")
    parser.add_argument("--seconds", type=float, default=60, help="of CPU, in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, default=Path("fuzz_bundle.failed"))
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    with tempfile.TemporaryDirectory() as directory:
        try:
            counts = fuzz_all(Path(directory), arguments)
        except Exception as error:
            print(f"{arguments.save}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"{told} in {arguments.seconds:g} s of CPU, seed {arguments.seed}")
    return 0


def fuzz_all(directory: Path, arguments: argparse.Namespace) -> dict[str, int]:
    honest, scratch = directory / "honest.lpu", directory / "damaged"
    write_bundle(
        an_update(), CONTENTS, honest, lambda manifest: sign(manifest, PUBLIC, KEY.sign)
    )
    with open_update(honest) as bundle:
        manifest, signature = bundle.manifest, bundle.signature

    def revoked(raw: bytes) -> None:
        scratch.write_bytes(raw)
        load_revoked(scratch)

    def package(raw: bytes) -> None:
        read_package(raw, "package")

    def signers(raw: bytes) -> None:
        parse_signers(raw.decode("latin-1"))

    def manifests(raw: bytes) -> None:
        read_manifest(raw, "manifest")

    def updateinfos(raw: bytes) -> None:
        read_updateinfo(raw, "updateinfo")

    readers: dict[str, tuple[Callable[[bytes], None], bytes]] = {
        "bundles": (BundleReader(scratch, manifest), honest.read_bytes()),
        "signed manifests": (signed_manifest(scratch), manifest),
        "manifests": (refusing(manifests, InputError), manifest),
        "signatures": (refusing(lambda raw: verify(raw, b""), SshError), signature),
        "signers": (signers, SIGNERS_TEXT),
        "revocations": (refusing(revoked, InputError), KRL),
        "packages": (refusing(package, Malformed), tool_deb()),
        "updateinfos": (refusing(updateinfos, InputError), UPDATEINFO),
    }
    share = arguments.seconds / len(readers)
    return {
        name: fuzz(share, arguments.seed, arguments.save, [reader], [corpus], BUFFERS)
        for name, (reader, corpus) in readers.items()
    }


if __name__ == "__main__":
    sys.exit(main())
