"""The command line as its users see it: what it prints, how it exits, and that a
refusal leaves the target alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lpengine.cli import VERBS, lpengine

Run = Callable[..., Result]


@pytest.fixture
def document(cli: Callable[..., tuple[int, str, str]]) -> Callable[..., dict]:
    """Runs with --json and returns the document, with the exit code in it."""

    def call(*arguments: object) -> dict:
        code, out, _ = cli(*arguments, "--json")
        found = json.loads(out)
        assert found["schema"].startswith("lpengine/")
        return {**found, "exit": code}

    return call


@pytest.fixture
def build(cli, hv_image: Path, patch_sources: Path, tmp_path: Path):
    """Builds a fixture patch for the hypervisor-like image."""

    def make(source: str, *options: object, function: str = "xen_extra_version"):
        output = tmp_path / f"{source}.livepatch"
        arguments = ["--replace", function] if function else []
        code, _, err = cli(
            *("build", "c", patch_sources / f"{source}.c", *arguments),
            *("--image", hv_image, "-o", output, *options),
        )
        assert code == 0, err
        return output

    return make


@pytest.fixture
def machine(cli, hv_image: Path, machine_dir: Path) -> Path:
    assert cli("machine", "create", machine_dir, "--image", hv_image)[0] == 0
    return machine_dir


@pytest.fixture
def version(cli, machine: Path) -> Callable[[], str]:
    """What the machine's xen_extra_version returns now."""

    def ask() -> str:
        code, out, err = cli(
            "machine", "call", machine, "xen_extra_version", "--returns", "string"
        )
        assert code == 0, err
        return out.strip()

    return ask


def test_apply_shows_its_effect_and_revert_takes_it_back(
    cli, build, machine, version
) -> None:
    payload, target = build("extra_version"), f"emulated:{machine}"
    assert version() == ".7"
    code, out, _ = cli("apply", payload, "--target", target)
    assert code == 0
    assert "xen_extra_version, before:" in out
    assert "xen_extra_version, after:" in out
    assert "jmp" in out
    assert "No action required" in out
    assert version() == "+LP1"
    assert cli("revert", "extra_version", "--target", target)[0] == 0
    assert version() == ".7"
    assert cli("unload", "extra_version", "--target", target)[0] == 0


def test_applying_again_does_nothing_and_succeeds(document, build, machine) -> None:
    payload, target = build("extra_version"), f"emulated:{machine}"
    first = document("apply", payload, "--target", target)
    assert [step["do"] for step in first["plan"]["steps"]] == ["load", "apply"]
    again = document("apply", payload, "--target", target)
    assert again["exit"] == 0
    assert again["plan"]["verdict"] == "nothing"
    assert again["plan"]["steps"] == []


def test_status_tells_booted_and_effective_state(document, build, machine) -> None:
    payload, target = build("extra_version"), f"emulated:{machine}"
    before = document("status", "--target", target)
    assert before["booted_build_id"] == before["effective_build_id"]
    document("apply", payload, "--target", target)
    after = document("status", "--target", target)
    assert after["booted_version"] == "4.17.7"
    assert after["effective"] == ["extra_version"]
    assert after["booted_build_id"] != after["effective_build_id"]
    assert after["patches"][0]["state"] == "applied"


def test_history_tells_who_did_what(document, build, machine) -> None:
    payload, target = build("extra_version"), f"emulated:{machine}"
    document("apply", payload, "--target", target)
    document("revert", "extra_version", "--target", target)
    runs = document("history", "--target", target)["runs"]
    assert [run["verb"] for run in runs] == ["revert", "apply"]
    assert {run["status"] for run in runs} == {"done"}
    assert all(run["actor"] and run["build_id"] for run in runs)


def test_replace_puts_one_in_the_place_of_all(
    document, build, machine, version
) -> None:
    target = f"emulated:{machine}"
    document("apply", build("extra_version"), "--target", target)
    done = document("replace", build("extra_version_again"), "--target", target)
    assert done["exit"] == 0
    assert version() == "+LP2"
    state = document("status", "--target", target)
    assert state["effective"] == ["extra_version_again"]


def test_a_stack_comes_off_from_the_top(document, build, machine, version) -> None:
    target = f"emulated:{machine}"
    below = build("extra_version")
    above = build("extra_version_again", "--depends", below)
    both = document("apply", below, above, "--target", target)
    assert both["exit"] == 0
    assert version() == "+LP2"
    refused = document("revert", "extra_version", "--target", target)
    assert refused["exit"] == 10
    [finding] = [f for f in refused["plan"]["findings"] if f["severity"] == "block"]
    assert finding["code"] == "LP-DEP-503"
    assert finding["errno"] == "EBUSY"
    assert "extra_version_again" in finding["remedy"] + finding["observed"]
    assert version() == "+LP2"
    assert document("revert", "--all", "--target", target)["exit"] == 0
    assert version() == ".7"


def test_a_payload_for_another_build_is_refused(
    document, build, build_hv, machine_dir, tmp_path
) -> None:
    payload = build("extra_version")
    other = build_hv(tmp_path / "other", VERSION_EXTRA=".6")
    document("machine", "create", machine_dir, "--image", other)
    refused = document("apply", payload, "--target", f"emulated:{machine_dir}")
    assert refused["exit"] == 10
    assert refused["outcome"] is None
    codes = {f["code"] for f in refused["plan"]["findings"]}
    assert "LP-TGT-101" in codes
    assert refused["plan"]["tasks"]
    assert document("status", "--target", f"emulated:{machine_dir}")["patches"] == []


def test_live_patching_switched_off_means_reboot(document, build, machine) -> None:
    payload, target = build("extra_version"), f"emulated:{machine}"
    refused = document("apply", payload, "--target", target, "--no-live-patching")
    assert refused["exit"] == 10
    assert [f["code"] for f in refused["plan"]["findings"]] == ["LP-POL-401"]
    assert "reboot_host" in " ".join(refused["plan"]["tasks"])


def test_dry_run_changes_nothing(document, build, machine, version) -> None:
    payload, target = build("extra_version"), f"emulated:{machine}"
    planned = document("apply", payload, "--target", target, "--dry-run")
    assert planned["exit"] == 0
    assert planned["outcome"] is None
    assert version() == ".7"
    assert document("status", "--target", target)["patches"] == []


def test_a_saved_plan_is_carried_out_until_it_is_stale(
    document, cli, build, machine, version, tmp_path
) -> None:
    payload, target = build("extra_version"), f"emulated:{machine}"
    saved = tmp_path / "plan.json"
    saved.write_text(cli("plan", payload, "--target", target, "--json")[1])
    applied = document("apply", payload, "--target", target, "--plan", saved)
    assert applied["exit"] == 0
    assert version() == "+LP1"
    stale = document("apply", payload, "--target", target, "--plan", saved)
    assert stale["exit"] == 12
    assert stale["error"] == "StalePlanError"
    saved.write_text('{"schema": "lpengine/plan/1"}')
    assert document("apply", payload, "--target", target, "--plan", saved)["exit"] == 13


def test_emulate_compares_and_restores(document, build, hv_image) -> None:
    emulated = document(
        *("emulate", build("extra_version"), "--image", hv_image),
        *("--call", "xen_extra_version", "--returns", "string"),
    )
    assert emulated["exit"] == 0
    assert emulated["restored"] is True
    [call] = emulated["calls"]
    assert (call["before"], call["patched"], call["reverted"]) == (".7", "+LP1", ".7")


def test_build_asm_stops_an_entry_point(
    document, cli, hv_image, machine, tmp_path
) -> None:
    output = tmp_path / "stop.livepatch"
    code, _, err = cli(
        *("build", "asm", "--function", "count_call", "--code", "mov eax, -38; ret"),
        *("--image", hv_image, "-o", output),
    )
    assert code == 0, err
    assert document("apply", output, "--target", f"emulated:{machine}")["exit"] == 0
    called = document("machine", "call", machine, "count_call")
    assert called["value"] == 0xFFFFFFDA


def test_inspect_shows_what_is_in_a_module(document, build, cli) -> None:
    payload = build("hooks")
    shown = document("inspect", payload)
    assert shown["exit"] == 0
    assert [f["name"] for f in shown["functions"]] == ["xen_extra_version"]
    assert {"load", "unload", "preapply", "postrevert"} <= set(shown["hooks"])
    assert "record_event" in shown["undefined"]
    assert set(shown["notes"]) == {
        ".note.gnu.build-id",
        ".livepatch.depends",
        ".livepatch.xen_depends",
    }
    assert any(
        "ret" in line or "jmp" in line for line in shown["functions"][0]["disassembly"]
    )
    text = cli("inspect", payload)[1]
    assert "xen_extra_version" in text
    assert "R_X86_64_PC32" in text or "R_X86_64_PLT32" in text


def test_inspect_says_what_is_wrong_with_a_file(document, tmp_path) -> None:
    rubbish = tmp_path / "rubbish.livepatch"
    rubbish.write_bytes(b"this is no ELF file at all, but it is long enough" * 4)
    shown = document("inspect", rubbish)
    assert shown["exit"] == 13
    assert shown["violations"][0]["cause"] == "not-elf"


def test_call_passes_integers_strings_and_buffers(document, machine) -> None:
    added = document("machine", "call", machine, "ends_in_thunk", "37")
    assert added["value"] == 42
    length = document("machine", "call", machine, "strlen", "seven77")
    assert length["value"] == 7


def test_a_faulting_call_says_where_and_changes_nothing(cli, machine) -> None:
    code, out, err = cli("machine", "call", machine, "raises_fault")
    assert code == 23
    assert out == ""
    assert "raises_fault" in err
    assert "ud2" in err


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["inspect", "missing.livepatch"], 4, "missing.livepatch"),
        (["status", "--target", "emulated:missing"], 4, "missing"),
        (["status", "--target", "moon:landing"], 2, "moon"),
        (["revert", "x"], 2, "--target"),
        (["explain", "LP-NOT-999"], 4, "LP-NOT-999"),
        (["machine", "create", "here", "--image", "missing"], 4, "missing"),
        (["revert", "--target", "emulated:missing"], 2, "--all"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_bad_input_gets_a_clear_line_and_a_code(
    cli, tmp_path, monkeypatch, arguments, code, word
) -> None:
    monkeypatch.chdir(tmp_path)
    got, out, err = cli(*arguments)
    assert got == code
    assert word in err
    assert out == ""
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_errors_are_documents_with_json(document, tmp_path) -> None:
    error = document("inspect", tmp_path / "missing.livepatch")
    assert error["schema"] == "lpengine/error/1"
    assert error["exit"] == error["exit_code"] == 4
    assert "missing.livepatch" in error["message"]


def test_a_defect_of_ours_is_no_traceback(cli, monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("LPENGINE_DEBUG", raising=False)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("lpengine.api.modules.inspect", broken)
    code, _, err = cli("inspect", tmp_path)
    assert code == 1
    assert "planted" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb) -> None:
    result = CliRunner().invoke(lpengine, [verb, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.output or "COMMAND" in result.output


def test_explain_lists_and_explains(cli, document) -> None:
    code, out, _ = cli("explain")
    assert code == 0
    assert "LP-SHP-171" in out
    by_code = document("explain", "LP-SHP-171")
    by_name = document("explain", "FUNCTION_TOO_SHORT")
    assert by_code == by_name
    assert by_code["remedy"]
