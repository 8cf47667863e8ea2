"""What README says about an update, done word for word: from a payload and three files
to a signed update that is installed."""

import os
import re
import subprocess
import sys
from pathlib import Path

from lpengine.api.machines import call
from tests.site_cases import Workshop

README = Path(__file__).parent.parent / "README.md"


def blocks(language: str, section: str) -> list[str]:
    text = README.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def shell(script: str, directory: Path) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=directory,
        env={**os.environ, "HOME": str(directory), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_a_payload_and_three_files_to_a_host(
    workshop: Workshop, tmp_path: Path
) -> None:
    (settings,) = blocks("toml", "An update")
    (tmp_path / "update.toml").write_text(settings)
    (tmp_path / "xen-syms").symlink_to(workshop.image)
    payload = workshop.module("extra_version", workshop.image)
    (tmp_path / "hello.livepatch").symlink_to(payload)
    for name in re.findall(r'source = "(.*?)"', settings):
        (tmp_path / name).write_text(f"fixed {name}\n")
    (tmp_path / ".ssh").mkdir(mode=0o700)
    shell("ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519", tmp_path)

    signing, _, directory, _ = blocks("sh", "An update")
    assert "Signed by   security@example.org" in shell(signing, tmp_path)
    # Where nobody can be asked.
    answered = directory.replace("lpengine install", "lpengine install --yes")
    out = shell(answered, tmp_path)
    assert "No action required" in out
    machine = tmp_path / "host/machine"
    assert call(machine, "xen_extra_version", returns="string").value == "+LP1"
    assert (tmp_path / "host/etc/tool.conf").read_text() == "fixed tool.conf\n"
    assert (tmp_path / "host/etc/tool.conf").stat().st_mode & 0o777 == 0o600
