"""The verbs as a test harness calls them."""

from contextlib import contextmanager
from pathlib import Path

import pytest

import lpengine
from lpengine.api import targets as api
from lpengine.journal import lock


@pytest.fixture
def payload(hv_image: Path, patch_sources: Path, tmp_path: Path) -> Path:
    built = lpengine.build_c(
        patch_sources / "extra_version.c", {"xen_extra_version": ""}, hv_image
    )
    path = tmp_path / "hello.livepatch"
    path.write_bytes(built.payload)
    return path


@pytest.fixture
def target(hv_image: Path, machine_dir: Path) -> str:
    lpengine.create_machine(machine_dir, hv_image)
    return f"emulated:{machine_dir}"


def test_what_happens_while_waiting_for_the_lock_is_seen(
    payload: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds the lock, applies the patch and lets go."""

    @contextmanager
    def contended(directory: Path, what: str):
        monkeypatch.setattr(api, "lock", lock)
        assert lpengine.apply([payload], target).outcome is not None
        with lock(directory, what):
            yield

    monkeypatch.setattr(api, "lock", contended)
    acted = lpengine.apply([payload], target)
    assert acted.planned.plan.verdict is lpengine.Verdict.NOTHING
    assert acted.outcome is not None
    assert acted.outcome.status == "nothing"


def test_a_machine_that_is_not_there(payload: Path, tmp_path: Path) -> None:
    with pytest.raises(lpengine.LpengineError) as caught:
        lpengine.apply([payload], f"emulated:{tmp_path / 'missing'}")
    assert caught.value.exit_code == 4
    assert not (tmp_path / "missing").exists()


def test_status_names_a_run_that_broke_off_but_not_one_that_goes_on(
    payload: Path, target: str, machine_dir: Path
) -> None:
    seen = []

    def look(_: object) -> None:
        seen.append(lpengine.status(target).broken_off)

    lpengine.apply([payload], target, notify=look)
    assert set(seen) == {None}


def test_a_harness_patches_a_machine_in_memory(
    payload: Path, hv_image: Path, tmp_path: Path
) -> None:
    machine = lpengine.EmulatedMachine.from_image(lpengine.open_image(hv_image))
    target = lpengine.MachineTarget(machine, "emulated:harness", tmp_path)
    lpengine.apply([payload], target)
    pointer = machine.call_by_name("xen_extra_version", [])
    assert machine.read_string(pointer) == "+LP1"
    lpengine.revert(["hello"], target)
    lpengine.unload(["hello"], target)
    pointer = machine.call_by_name("xen_extra_version", [])
    assert machine.read_string(pointer) == ".7"


def test_calls_take_buffers_and_give_bytes(target: str, machine_dir: Path) -> None:
    text = lpengine.call(machine_dir, "copy_upper", ["hex:" + "00" * 8, "abc", "8"])
    assert text.value == 3
    greeting = lpengine.call(machine_dir, "xen_banner", returns="bytes:2")
    assert greeting.value == b"hv"
    with pytest.raises(lpengine.LpengineError, match="cannot return"):
        lpengine.call(machine_dir, "xen_banner", returns="tuple")


def test_every_public_name_is_there() -> None:
    for name in lpengine.__all__:
        assert getattr(lpengine, name) is not None
    assert set(lpengine.__all__) <= set(dir(lpengine))
