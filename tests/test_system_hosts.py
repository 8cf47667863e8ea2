"""The host contract over SSH, to a server in a network namespace of its own, and over
the line to a guest of the lab."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lpengine.hosts import Host, HostError, LocalHost, SshHost
from lpengine.hosts.lab import Guest
from lpengine.targets.host.observe import look
from tests.host_contract import HostContract
from tests.ssh_server import URI, make_client, namespace, serving

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def space() -> Iterator[str]:
    with namespace() as name:
        yield name


@pytest.fixture(scope="module")
def server(
    space: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, ...]]:
    directory = tmp_path_factory.mktemp("sshd")
    with serving(space, directory, os.environ["PATH"]) as options:
        yield options


@pytest.fixture(scope="module")
def ssh_host(
    space: str,
    server: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SshHost]:
    """Our client, entering the namespace where it starts ssh."""
    wrapper = make_client(tmp_path_factory.mktemp("bin"), space)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(wrapper), prepend=":")
        host = SshHost(URI, server)
        yield host
        host.close()


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
