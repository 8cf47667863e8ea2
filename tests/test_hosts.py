"""Hosts: this machine, and how the others are named. SSH and guests are in
test_system_hosts.py."""

from pathlib import Path

import pytest

from lpengine.cli import run
from lpengine.cli.forwarding import without_host
from lpengine.errors import NotFoundError, UsageError
from lpengine.hosts import Host, open_host
from lpengine.hosts.ssh import destination
from tests.host_contract import HostContract


class TestLocal(HostContract):
    @pytest.fixture
    def host(self) -> Host:
        return open_host("local")

    @pytest.fixture
    def scratch(self, tmp_path: Path) -> str:
        return str(tmp_path)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ssh://host", ["--", "host"]),
        ("ssh://root@host", ["-l", "root", "--", "host"]),
        ("ssh://root@host:2222", ["-l", "root", "-p", "2222", "--", "host"]),
        ("ssh://[::1]:22/", ["-p", "22", "--", "::1"]),
    ],
)
def test_ssh_uris(uri: str, words: list[str]) -> None:
    assert destination(uri) == words


@pytest.mark.parametrize(
    "uri",
    [
        "ssh://",
        "ssh://-oProxyCommand=id",
        "ssh://-lroot@host",
        "ssh://user:secret@host",
        "ssh://host/path",
        "ssh://host:port",
        "ssh://a b",
        "ssh://[",
    ],
)
def test_what_ssh_could_misunderstand_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="not a host"):
        open_host(uri)


@pytest.mark.parametrize("uri", ["", "qemu:", "telnet://host", "localhost"])
def test_unknown_hosts_are_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="not a host"):
        open_host(uri)


def test_a_guest_that_is_not_there_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LPENGINE_LAB", str(tmp_path))
    with pytest.raises(NotFoundError, match="no guest is named nobody"):
        open_host("qemu:nobody")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["a.ko", "--host", "qemu:x", "--json"], ["a.ko", "--json"]),
        (["--host=qemu:x", "a.ko"], ["a.ko"]),
        (["--", "--host", "a"], ["--", "--host", "a"]),
        ([], []),
    ],
)
def test_the_far_side_is_not_told_to_go_further(
    given: list[str], kept: list[str]
) -> None:
    assert without_host(given) == kept


def test_an_unreachable_host_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri = "ssh://nobody@127.0.0.1:1"
    assert run(["status", "--target", "xen", "--host", uri]) == 4
    line, hint = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lpengine: cannot reach {uri}: ")
    assert "ssh -l nobody -p 1 -- 127.0.0.1" in hint
