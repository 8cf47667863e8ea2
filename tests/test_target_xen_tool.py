"""Xen's own program in the place of its device."""

import errno
from pathlib import Path

import pytest

from lpengine.core.hypercall import Action, Listed, Progress
from lpengine.errors import UsageError
from lpengine.targets import open_target
from lpengine.targets.xen_image import read_build_id, read_version
from lpengine.targets.xen_tool import Tool, read_row

LIST = """\
 ID                                     | status     | metadata
----------------------------------------+------------+---------------
hello                                   | APPLIED    | title=x;cve=y
other                                   | CHECKED (-22, Invalid argument)    |
plain                                   | CHECKED    |
"""


def make_tool(directory: Path, script: str) -> Tool:
    path = directory / "xen-livepatch"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Tool(str(path))


@pytest.fixture
def shows(tmp_path: Path):
    (tmp_path / "list").write_text(LIST)
    return lambda more: make_tool(
        tmp_path, f'[ "$1" = list ] && cat {tmp_path}/list\n{more}'
    )


def test_rows() -> None:
    rows = [row for line in LIST.splitlines() if (row := read_row(line))]
    assert rows == [
        Listed("hello", True, 0, b"title=x\0cve=y"),
        Listed("other", False, errno.EINVAL, b""),
        Listed("plain", False, 0, b""),
    ]


def test_its_list(shows) -> None:
    tool = shows("exit 0")
    assert [one.name for one in tool.payloads()] == ["hello", "other", "plain"]
    assert tool.get("other") == Progress(False, errno.EINVAL)
    with pytest.raises(FileNotFoundError):
        tool.get("none")


def test_success_without_a_list_is_none(tmp_path: Path) -> None:
    tool = make_tool(tmp_path, "exit 0")
    with pytest.raises(OSError, match="no list"):
        tool.payloads()


def test_whole_words_are_used(shows, tmp_path: Path) -> None:
    tool = shows(f'echo "$@" >> {tmp_path}/log; exit 0')
    tool.act("hello", Action.REVERT)
    tool.act("hello", Action.APPLY, flags=1)
    tool.upload("hello", b"bytes")
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:2] == ["revert hello", "apply hello --nodeps"]
    assert lines[2].startswith("upload hello /")


@pytest.mark.parametrize(
    ("script", "number"),
    [
        ("echo 'Error 17: File exists' >&2; exit 1", errno.EEXIST),
        ("echo 'Error 16: Device or resource busy' >&2; exit 2", errno.EBUSY),
        ("exit 1", errno.EIO),
    ],
)
def test_its_errors(shows, script: str, number: int) -> None:
    tool = shows(f'[ "$1" = list ] || {{ {script}; }}')
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno is the matter
        tool.act("hello", Action.REVERT)
    assert caught.value.errno == number


def test_the_target_is_named_xen(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LPENGINE_STATE_DIR", str(tmp_path))
    target = open_target("xen")
    assert target.name == "xen"
    assert target.state_directory == tmp_path / "xen"
    with pytest.raises(UsageError, match="not a target") as caught:
        open_target("nonsense")
    assert "xen" in caught.value.hint


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (bytes.fromhex("0a" * 20), "0a" * 20),
        (b"cut at a zero", ""),
        (b"15" * 20 + b"\n", "15" * 20),
        (b"<denied>", ""),
    ],
)
def test_the_build_id_as_bytes_or_text(tmp_path: Path, raw: bytes, found: str) -> None:
    assert read_build_id(tmp_path) == ""
    (tmp_path / "properties").mkdir()
    (tmp_path / "properties/buildid").write_bytes(raw)
    assert read_build_id(tmp_path) == found


@pytest.mark.parametrize(
    ("extra", "found"), [(".7", "4.17.7"), ("-pre", "4.17-pre"), ("+LP", "4.17")]
)
def test_the_version(tmp_path: Path, extra: str, found: str) -> None:
    assert read_version(tmp_path) == ""
    (tmp_path / "version").mkdir()
    for name, text in (("major", "4"), ("minor", "17"), ("extra", extra)):
        (tmp_path / "version" / name).write_text(f"{text}\n")
    assert read_version(tmp_path) == found
