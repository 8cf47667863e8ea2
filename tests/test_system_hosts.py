"""The host contract over SSH, to a server in a network namespace of its own, and over
the line to a guest of the lab."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lpengine.hosts import Host, HostError, LocalHost, SshHost
from lpengine.hosts.lab import Guest
from lpengine.targets.host.observe import look
from tests.host_contract import HostContract

pytestmark = pytest.mark.system

SSHD = "/usr/sbin/sshd"
ADDRESS, PORT = "127.0.0.1", 2222
CONFIGURATION = """\
ListenAddress {address}:{port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""


def command(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A network namespace with nothing but a loopback interface."""
    name = f"lpengine-{os.getpid()}"
    command("ip", "netns", "add", name)
    try:
        command("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        command("ip", "netns", "delete", name)


@pytest.fixture(scope="module")
def server(
    namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, ...]]:
    """A running server; the options with which our client believes it."""
    directory = tmp_path_factory.mktemp("sshd")
    for key in ("host_key", "user_key"):
        path = directory / key
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
    text = CONFIGURATION.format(address=ADDRESS, port=PORT, directory=directory)
    (directory / "sshd_config").write_text(text)
    Path("/run/sshd").mkdir(exist_ok=True)  # where it separates privileges
    argv = ["ip", "netns", "exec", namespace, SSHD, "-D", "-e", "-f"]
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


@pytest.fixture(scope="module")
def ssh_host(
    namespace: str,
    server: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SshHost]:
    """Our client, entering the namespace where it starts ssh."""
    wrapper = tmp_path_factory.mktemp("bin") / "ssh"
    ssh = shutil.which("ssh")
    wrapper.write_text(f'#!/bin/sh\nexec ip netns exec {namespace} {ssh} "$@"\n')
    wrapper.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(wrapper.parent), prepend=":")
        host = SshHost(f"ssh://root@{ADDRESS}:{PORT}", server)
        yield host
        host.close()


def await_words(log: Path, words: str) -> None:
    deadline = time.monotonic() + 20
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


class TestSsh(HostContract):
    @pytest.fixture
    def host(self, ssh_host: SshHost) -> Host:
        return ssh_host

    @pytest.fixture
    def scratch(self, tmp_path: Path) -> str:
        return str(tmp_path)

    def test_one_connection_serves_all(self, ssh_host: SshHost, server: object) -> None:
        def connections() -> bytes:
            return ssh_host.run(["sh", "-c", "echo $SSH_CONNECTION"]).stdout

        assert connections() == connections()

    def test_it_shows_what_a_host_shows(self, ssh_host: SshHost) -> None:
        """One script, two questions: the same as from this machine itself."""
        there, here = look(ssh_host, "host"), look(LocalHost(), "host")
        assert there.state.boot_id == here.state.boot_id
        assert there.state.running == here.state.running
        assert there.state.installed == here.state.installed
        assert there.system == here.system

    def test_a_stranger_is_turned_away(self, ssh_host: SshHost) -> None:
        stranger = SshHost(
            ssh_host.name, ["-oIdentityFile=none", "-oIdentityAgent=none"]
        )
        with pytest.raises(HostError, match="cannot reach"):
            stranger.run(["true"])


class TestGuest(HostContract):
    @pytest.fixture
    def host(self, linux_guest: Guest) -> Host:
        return linux_guest

    @pytest.fixture
    def scratch(self, host: Host) -> str:
        return host.run(["mktemp", "-d"]).stdout.decode().strip()
