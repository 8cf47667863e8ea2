"""`lpengine install` and the verbs around it as their users see them: what they print,
how they exit, and that --json is what docs/json.md says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.cli import run
from lpengine.package.model import Level
from tests.site_cases import FIRST, SECOND, TOOL, EmulatedHost, Workshop

FILES = {TOOL: b"new tool"}
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def host(emulated_host: EmulatedHost) -> EmulatedHost:
    return emulated_host


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], host: EmulatedHost) -> Cli:
    """Runs a verb on the emulated host: (exit code, stdout, stderr)."""

    def call(*words: object) -> tuple[int, str, str]:
        where = ("--root", host.root, "--component", f"xen=emulated:{host.machine}")
        code = run([str(word) for word in (*words, *where)])
        output = capfd.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def document(cli: Cli) -> Callable[..., dict]:
    def call(*words: object) -> dict:
        code, out, _ = cli(*words, "--json")
        return {**json.loads(out), "exit": code}

    return call


@pytest.fixture
def trusting(workshop: Workshop) -> tuple[str, str]:
    return "--signers", str(workshop.signers)


def test_the_plan_reads_as_an_operator_expects(
    cli: Cli, workshop: Workshop, trusting: tuple[str, str]
) -> None:
    update = workshop.update(files=FILES, cves=("CVE-2026-1111",))
    code, out, _ = cli("install", update, *trusting, "--dry-run")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == (
        f"Update     {FIRST}  (signed by security@example.org, 1 module, disk: 1 file)"
    )
    assert lines[1] == "Fixes      CVE-2026-1111"
    assert lines[2].split() == ["SERVER", "XEN", "DISK", "TASK", "AFTERWARDS"]
    assert lines[3].endswith("can apply  ok    No action required")


def test_nothing_happens_without_a_word(
    cli: Cli, host: EmulatedHost, workshop: Workshop, trusting: tuple[str, str]
) -> None:
    code, _, err = cli("install", workshop.update(files=FILES), *trusting)
    assert code == 3
    assert "--yes" in err
    assert host.read(TOOL) == b"old tool"


def test_installed_shown_and_taken_off(
    cli: Cli, host: EmulatedHost, workshop: Workshop, trusting: tuple[str, str]
) -> None:
    update = workshop.update(files=FILES)
    code, out, _ = cli("install", update, *trusting, "--yes")
    assert code == 0
    assert "Remains    No action required" in out
    code, out, _ = cli("status")
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("xen"))
    assert "4.17.4-2" in row
    assert "applied  matches" in row
    assert cli("uname", "xen")[:2] == (0, "4.17.4-2\n")
    assert cli("needs-reboot")[:2] == (0, "no\n")
    code, out, _ = cli("history")
    assert f"install {FIRST}" in out
    code, out, _ = cli("uninstall", FIRST)
    assert code == 0
    assert cli("uname", "xen")[:2] == (0, "4.17.7\n")


@pytest.fixture
def install(cli: Cli, trusting: tuple[str, str]) -> Callable[..., int]:
    def act(update: Path, *options: str) -> int:
        return cli("install", update, *trusting, "--yes", *options)[0]

    return act


def test_exit_20_tasks_remain(
    cli: Cli, install: Callable[..., int], workshop: Workshop
) -> None:
    guidance = {Level.RECOMMENDED: ("RestartToolstack",)}
    update = workshop.update(source="", files=FILES, guidance=guidance)
    assert install(update) == 20
    assert install(update) == 20
    assert cli("status")[0] == 20
    assert cli("clear", "restart_toolstack")[0] == 0
    assert install(update) == 0


def test_exit_21_the_disk_is_missing(
    install: Callable[..., int], workshop: Workshop
) -> None:
    update = workshop.update(files=FILES)
    assert install(update, "--no-disk") == 21
    assert install(update) == 0


def test_exit_22_a_live_patch_failed(
    cli: Cli, install: Callable[..., int], host: EmulatedHost, workshop: Workshop
) -> None:
    host.veto(1)
    update = workshop.update(source="veto", files=FILES)
    assert install(update) == 22
    code, out, _ = cli("needs-reboot")
    assert (code, out) == (1, f"yes: {FIRST}, live-patch:xen\n")
    host.veto(0)
    assert install(update) == 0
    assert cli("needs-reboot")[0] == 0


def test_exits_of_what_is_refused(
    install: Callable[..., int], host: EmulatedHost, workshop: Workshop
) -> None:
    """10: for good; 12: for now; 13: the bundle itself."""
    assert install(workshop.update(source="", files={"/usr": b""})) == 10
    issued = "2999-01-01T00:00:00Z"
    later = workshop.update(SECOND, source="", files={"/y": b""}, issued=issued)
    (host.root / "etc/lpengine/policy.toml").write_text('delay = "1d"\n')
    assert install(later) == 12
    later.write_bytes(later.read_bytes()[:-1])
    assert install(later) == 13


def test_documents(
    document: Callable[..., dict],
    host: EmulatedHost,
    workshop: Workshop,
    trusting: tuple[str, str],
) -> None:
    update = workshop.update(files=FILES)
    planned = document("install", update, *trusting, "--dry-run")
    assert planned["schema"] == "lpengine/install/1"
    assert planned["status"] == ""
    assert planned["plan"]["verdict"] == "ready"
    done = document(
        "install", update, *trusting, "--yes", "--expect", planned["plan_id"]
    )
    assert (done["exit"], done["status"]) == (0, "done")
    assert [step["deed"] for step in done["steps"]] == ["files", "live-patch"]
    assert done["updates"][0]["signed_by"] == "security@example.org"
    stale = document("install", update, *trusting, "--yes", "--expect", "0" * 12)
    assert (stale["schema"], stale["exit"]) == ("lpengine/error/1", 12)
    status = document("status")
    (xen,) = [one for one in status["components"] if one["component"] == "xen"]
    assert (xen["memory"], xen["disk"]) == ("applied", "matches")
    assert status["remembered"]["installed_updates"] == [FIRST]
    assert status["remembered"]["versions"] == [
        {
            "component": "xen",
            "name": "extra_version",
            "to": {"version": "4.17.4", "release": "2", "epoch": None},
        }
    ]
    host.boot()
    behind = document("status")
    assert behind["exit"] == 20
    assert [one["memory"] for one in behind["components"]] == ["behind"]
    booted = document("boot")
    assert (booted["action"], booted["status"]) == ("boot", "done")
    assert document("uname")["versions"]["xen"] == "4.17.4-2"
    assert document("needs-reboot")["needs_reboot"] is False
    assert [run["verb"] for run in document("history")["runs"]] == ["boot", "install"]
    gone = document("uninstall", FIRST)
    assert (gone["action"], gone["status"], gone["plan"]) == ("uninstall", "done", None)
    assert document("recover")["host"] is None


def test_a_refusal_is_told_as_one(
    document: Callable[..., dict], workshop: Workshop, trusting: tuple[str, str]
) -> None:
    update = workshop.update(source="", files={"/usr/bin": b""})
    refused = document("install", update, *trusting, "--yes")
    assert (refused["status"], refused["exit"]) == ("refused", 10)
    assert refused["codes"] == ["LP-DSK-706"]
    assert "/usr/bin" in refused["message"]
    assert refused["hint"]


def test_recover_ends_what_was_broken_off(
    cli: Cli, host: EmulatedHost, workshop: Workshop, trusting: tuple[str, str]
) -> None:
    from tests.dying import LPENGINE, count_lines, dies

    sources = (LPENGINE / "targets/disk/commit.py",)
    update = workshop.update(files=FILES)
    act = lambda: host.install(update)  # noqa: E731
    spared = count_lines(act, sources)
    host.uninstall()
    assert dies(act, sources, spared // 2)
    code, out, _ = cli("status")
    assert "Broken off run" in out
    assert "Half done  files" in out
    code, out, _ = cli("recover")
    assert code == 0
    assert "had broken off" in out
    assert cli("status")[1].count("Broken off") == 0


def test_the_unit_can_be_put_in_place(cli: Cli, host: EmulatedHost) -> None:
    assert cli("boot", "--install-unit")[0] == 0
    units = host.root / "etc/systemd/system"
    assert "ExecStart=" in (units / "lpengine-boot.service").read_text()
    link = units / "multi-user.target.wants/lpengine-boot.service"
    assert str(link.readlink()) == "/etc/systemd/system/lpengine-boot.service"
    out = cli("boot", "--print-unit")[1]
    assert out == (units / "lpengine-boot.service").read_text()
