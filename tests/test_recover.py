"""`lpengine recover` and `status` tell the truth about a run that was broken off."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import lpengine
from lpengine.cli import run
from lpengine.engine.stack import Stack
from lpengine.journal import Journal, StepState, lock
from lpengine.planner import plan_apply
from lpengine.targets import HOST_TARGETS, open_target
from tests.dying import LPENGINE, count_lines, dies

STUCK, LOCKED = 24, 6


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict]]:
    def call(*arguments: object) -> tuple[int, dict]:
        code = run([*map(str, arguments), "--json"])
        return code, json.loads(capfd.readouterr().out)

    return call


@pytest.fixture
def payload(hv_image: Path, patch_sources: Path, tmp_path: Path) -> Path:
    source = patch_sources / "extra_version.c"
    replaced = {"xen_extra_version": "xen_extra_version"}
    path = tmp_path / "hello.livepatch"
    path.write_bytes(lpengine.build_c(source, replaced, hv_image).payload)
    return path


@pytest.fixture
def machine(hv_image: Path, tmp_path: Path) -> str:
    lpengine.create_machine(tmp_path / "machine", hv_image)
    return f"emulated:{tmp_path / 'machine'}"


def test_nothing_was_broken_off(cli, machine: str) -> None:
    code, said = cli("recover", "--target", machine)
    assert code == 0
    assert said["targets"] == [
        {
            "target": machine,
            "interrupted": "",
            "started": "",
            "outcome": None,
            "effective": [],
        }
    ]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
def test_a_killed_run_is_named_and_put_right(
    cli, machine: str, payload: Path, share: float
) -> None:
    sources = (LPENGINE / "engine/run.py",)
    spared = f"{machine}-spared"
    lpengine.create_machine(
        spared.removeprefix("emulated:"), open_target(machine).machine.image.image.path
    )
    lines = count_lines(lambda: lpengine.apply([payload], spared), sources)
    assert dies(lambda: lpengine.apply([payload], machine), sources, int(lines * share))
    code, status = cli("status", "--target", machine)
    assert (code, status["interrupted"]) == (0, "apply")
    assert not status["booted_since"]
    code, said = cli("recover", "--target", machine)
    (row,) = said["targets"]
    assert (code, row["interrupted"]) == (0, "apply")
    assert row["outcome"]["status"] in ("recovered", "done")
    done = row["outcome"]["status"] == "done"
    assert row["effective"] == (["hello"] if done else [])
    _, status = cli("status", "--target", machine)
    assert (status["interrupted"], status["effective"]) == ("", row["effective"])
    assert cli("recover", "--target", machine)[1]["targets"][0]["outcome"] is None


def test_a_run_that_goes_on_is_left_alone(cli, machine: str, payload: Path) -> None:
    lpengine.apply([payload], machine)
    directory = Path(machine.removeprefix("emulated:"))
    begin_run(directory, machine, payload)
    with lock(directory, "apply"):
        # The lock is this thread's, as it were another process's.
        assert lpengine.status(machine).broken_off is None
        child = cli_in_child("recover", "--target", machine)
    assert child == LOCKED


def test_a_host_is_asked_for_all_it_is_the_target_of(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LPENGINE_STATE_DIR", str(tmp_path / "state"))
    assert set(HOST_TARGETS) == {"linux", "xen"}
    code, said = cli("recover")
    assert code == 0
    assert {row["target"] for row in said["targets"]} == set(HOST_TARGETS)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("target", ["linux", "xen"])
def test_a_boot_has_undone_it(
    cli, payload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """Found broken off after a boot, with or without the hypervisor that it was for."""
    monkeypatch.setenv("LPENGINE_STATE_DIR", str(tmp_path / "state"))
    begin_run(tmp_path / "state" / target, target, payload, boot="an earlier one")
    code, status = cli("status", "--target", target)
    assert (code, status["interrupted"]) == (0, "apply")
    assert status["booted_since"]
    assert status["effective"] == []
    code, said = cli("recover")
    rows = {row["target"]: row for row in said["targets"]}
    assert code == 0
    assert rows[target]["outcome"]["status"] == "recovered"
    assert "has booted since" in rows[target]["outcome"]["error"]
    (other,) = set(HOST_TARGETS) - {target}
    assert rows[other]["outcome"] is None
    (entry,) = cli("history", "--target", target)[1]["runs"]
    assert entry["status"] == "recovered"


def begin_run(directory: Path, target: str, payload: Path, boot: str = "") -> None:
    """A run whose process has died right after it began."""
    patch = lpengine.load_patch(payload)
    facts = open_target(target).facts()
    start = Stack.of(facts)
    if boot:
        start = Stack(start.build_id, start.stacking, (), (), boot)
    with Journal(directory) as journal:
        plan = plan_apply([patch], facts)
        number = journal.begin_run(plan, start.build_id, start.to_json(), {})
        for step in plan.steps[:1]:
            index = journal.begin_step(number, step)
            journal.end_step(number, index, StepState.DONE)


def cli_in_child(*arguments: str) -> int:
    child = os.fork()
    if child == 0:
        os._exit(run([*arguments, "--json"]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
