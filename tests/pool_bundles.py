"""Signed bundles for pools, and who may sign them."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lpengine.package import content_of, write_bundle
from lpengine.package.model import Update
from lpengine.package.signing import sign_with

WHO = "xen-security@example.org"


class Publisher:
    """A key of its own, and a file that trusts it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.key, self.signers = directory / "id_ed25519", directory / "signers"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key]
        subprocess.run(command, check=True)
        public = self.key.with_suffix(".pub").read_text()
        self.signers.write_text(f"{WHO} {public}")

    def publish(self, update: Update, contents: Mapping[str, bytes], to: Path) -> Path:
        write_bundle(update, contents, to, lambda raw: sign_with(self.key, raw, str))
        return to

    def hotfix(self, update: Update, to: Path) -> Path:
        """An update of pool_cases, whose one file has something in it. Its live patches
        are announced only, as XenServer's are."""
        data = b"the fixed hypervisor"
        file = replace(update.files[0], content=content_of("files/xen.gz", data))
        return self.publish(replace(update, files=(file,)), {"files/xen.gz": data}, to)
