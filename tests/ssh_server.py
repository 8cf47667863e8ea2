"""An SSH server in a network namespace of its own, and a client that finds it there."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SSHD = "/usr/sbin/sshd"
ADDRESS, PORT = "127.0.0.1", 2222
URI = f"ssh://root@{ADDRESS}:{PORT}"
CONFIGURATION = """\
ListenAddress {address}:{port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
SetEnv PATH={path}
"""


def command(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)


@contextmanager
def namespace() -> Iterator[str]:
    """A network namespace with nothing but a loopback interface."""
    name = f"lpengine-{os.getpid()}"
    command("ip", "netns", "add", name)
    try:
        command("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        command("ip", "netns", "delete", name)


@contextmanager
def serving(space: str, directory: Path, path: str) -> Iterator[tuple[str, ...]]:
    """A running server, whose programs are found on `path`; the options with which our
    client believes it."""
    for key in ("host_key", "user_key"):
        command(*("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f"), directory / key)
    text = CONFIGURATION.format(
        address=ADDRESS, port=PORT, directory=directory, path=path
    )
    (directory / "sshd_config").write_text(text)
    Path("/run/sshd").mkdir(exist_ok=True)  # where it separates privileges
    argv = ["ip", "netns", "exec", space, SSHD, "-D", "-e", "-f"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([*argv, directory / "sshd_config"], stderr=log)
    try:
        await_words(directory / "log", "Server listening")
        yield (
            f"-oIdentityFile={directory}/user_key",
            "-oIdentitiesOnly=yes",
            "-oStrictHostKeyChecking=accept-new",
            f"-oUserKnownHostsFile={directory}/known_hosts",
        )
    finally:
        process.terminate()
        process.wait()


def make_client(directory: Path, space: str, options: tuple[str, ...] = ()) -> Path:
    """A directory with an `ssh` that enters the namespace first."""
    wrapper, ssh = directory / "ssh", shutil.which("ssh")
    words = " ".join(options)
    wrapper.write_text(f'#!/bin/sh\nexec ip netns exec {space} {ssh} {words} "$@"\n')
    wrapper.chmod(0o755)
    return directory


def await_words(log: Path, words: str) -> None:
    deadline = time.monotonic() + 20
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
