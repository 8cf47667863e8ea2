"""Updates on one host: disk first, then memory, and the truth about what is left."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lpengine.errors import (
    InconclusiveError,
    InputError,
    LpengineError,
    SignatureError,
    StalePlanError,
)
from lpengine.installer.request import HostOutcome, Installation, Request
from lpengine.journal import RunStatus
from lpengine.journal.host_entries import Deed
from lpengine.package.model import Level, Task
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.state import LivePatching, Mode
from tests import host_tree, xapi_state
from tests.fake_xe import FakeXapi
from tests.site_cases import (
    FIRST,
    MEMORY_ONLY,
    OTHER,
    SECOND,
    TOOL,
    EmulatedHost,
    Workshop,
    api,
)

FILES = {TOOL: b"new tool", OTHER: b"new"}
DISK_ONLY = Request(live_patching=LivePatching.DISABLED)


@pytest.fixture
def host(emulated_host: EmulatedHost) -> EmulatedHost:
    return emulated_host


def done(installation: Installation) -> HostOutcome:
    assert installation.outcome is not None, installation.prepared.reasons
    assert installation.outcome.warnings == ()
    return installation.outcome


def tasks(outcome: HostOutcome) -> list[Task]:
    return [task.task for task in outcome.tasks]


def deeds(outcome: HostOutcome) -> list[tuple[str, str, str]]:
    return [(e.step.deed, e.step.subject, e.state) for e in outcome.steps]


def test_disk_and_memory(host: EmulatedHost, workshop: Workshop) -> None:
    outcome = done(host.install(workshop.update(files=FILES)))
    assert outcome.status == "done"
    assert outcome.failed == outcome.tasks == ()
    assert host.read(TOOL) == b"new tool"
    assert host.read(OTHER) == b"new"
    assert host.running == "+LP1"
    assert deeds(outcome) == [
        (Deed.FILES, FIRST, "done"),
        (Deed.LIVE_PATCH, "xen", "done"),
    ]


def test_a_second_time_there_is_nothing_to_do(
    host: EmulatedHost, workshop: Workshop
) -> None:
    update = workshop.update(files=FILES)
    host.install(update)
    again = host.install(update)
    assert again.prepared.verdict is Verdict.NOTHING
    assert done(again).status == "nothing"
    assert len(api.history(host.here)) == 1


def test_a_plan_changes_nothing(host: EmulatedHost, workshop: Workshop) -> None:
    update = workshop.update(files=FILES)
    before = sorted(host.root.rglob("*"))
    prepared = api.plan_install([update], host.here, trust=workshop.trust)
    assert prepared.verdict is Verdict.READY
    assert prepared.plan.no_action_required
    assert sorted(host.root.rglob("*")) == before


def test_a_cumulative_update_takes_the_place_of_the_earlier_one(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host.install(workshop.update(files=FILES))
    later = workshop.update(
        SECOND, source="extra_version_again", to=3, files={TOOL: b"newer tool"}
    )
    outcome = done(host.install(later))
    assert outcome.tasks == ()
    assert host.running == "+LP2"
    assert host.read(TOOL) == b"newer tool"
    assert host.loaded == ("extra_version_again",)


def test_two_updates_at_once(host: EmulatedHost, workshop: Workshop) -> None:
    """Only the newest live patch goes on; the files of both."""
    one = workshop.update(files={OTHER: b"new"})
    two = workshop.update(
        SECOND, source="extra_version_again", to=3, files=FILES, requires=(FIRST,)
    )
    outcome = done(host.install(two, one))
    assert host.running == "+LP2"
    assert host.loaded == ("extra_version_again",)
    assert outcome.tasks == ()
    assert deeds(outcome)[:2] == [
        (Deed.FILES, FIRST, "done"),
        (Deed.FILES, SECOND, "done"),
    ]


def test_an_update_without_a_live_patch_leaves_its_guidance(
    host: EmulatedHost, workshop: Workshop
) -> None:
    guidance = {Level.RECOMMENDED: ("RestartToolstack",)}
    outcome = done(
        host.install(workshop.update(source="", files=FILES, guidance=guidance))
    )
    assert tasks(outcome) == [Task.RESTART_TOOLSTACK]
    assert not host.status().needs_reboot
    after = api.clear([Task.RESTART_TOOLSTACK], host.here)
    assert after.plan.no_action_required


def test_files_for_nothing_that_runs_ask_for_nothing(
    host: EmulatedHost, workshop: Workshop
) -> None:
    outcome = done(host.install(workshop.update(source="", files=FILES)))
    assert outcome.tasks == ()


def test_a_build_without_a_live_patch_has_to_reboot(
    host: EmulatedHost, workshop: Workshop
) -> None:
    outcome = done(
        host.install(workshop.update(image=workshop.fixed_image, files=FILES))
    )
    assert tasks(outcome) == [Task.REBOOT_HOST]
    assert host.read(TOOL) == b"new tool"
    assert host.applied == ()
    assert host.status().needs_reboot


def test_one_of_two_components_is_not_covered(
    host: EmulatedHost, workshop: Workshop
) -> None:
    """The kernel runs, as far as anybody knows, and has no live patch."""
    host.show_kernel()
    update = workshop.update(files=FILES, components=("xen", "kernel"))
    prepared = api.plan_install([update], host.here, trust=workshop.trust)
    assert prepared.plan.uncovered == ("kernel",)
    outcome = done(host.install(update))
    assert host.running == "+LP1"
    assert tasks(outcome) == [Task.REBOOT_HOST]


def test_live_patching_disabled_by_policy(
    host: EmulatedHost, workshop: Workshop
) -> None:
    (host.root / "etc/lpengine/policy.toml").write_text('live_patching = "disabled"\n')
    outcome = done(host.install(workshop.update(files=FILES)))
    assert tasks(outcome) == [Task.REBOOT_HOST]
    assert host.applied == ()


def test_disk_only_on_request(host: EmulatedHost, workshop: Workshop) -> None:
    update = workshop.update(files=FILES)
    outcome = done(host.install(update, request=DISK_ONLY))
    assert tasks(outcome) == [Task.REBOOT_HOST]
    assert host.applied == ()
    outcome = done(host.install(update))
    assert outcome.tasks == ()
    assert host.running == "+LP1"


def test_memory_only_on_request(host: EmulatedHost, workshop: Workshop) -> None:
    update = workshop.update(files=FILES)
    outcome = done(host.install(update, request=MEMORY_ONLY))
    assert outcome.disk_missing
    assert host.read(TOOL) == b"old tool"
    assert host.running == "+LP1"
    (shown,) = host.status().updates
    assert shown.disk == "missing"
    outcome = done(host.install(update))
    assert not outcome.disk_missing
    assert host.read(TOOL) == b"new tool"
    assert host.running == "+LP1"


def test_a_mandatory_reboot_suppresses_the_live_patch(
    host: EmulatedHost, workshop: Workshop
) -> None:
    guidance = {Level.MANDATORY: ("RebootHost",)}
    outcome = done(host.install(workshop.update(files=FILES, guidance=guidance)))
    assert tasks(outcome) == [Task.REBOOT_HOST]
    assert host.applied == ()
    other = workshop.update(SECOND, source="", files={OTHER: b"x"})
    refused = host.install(other)
    assert refused.outcome is None
    assert refused.prepared.codes == ("LP-DEP-507",)
    host.boot(workshop.fixed_image)
    assert done(host.install(other)).status == "done"


# A live patch that does not go on.


def test_a_live_patch_that_fails_is_a_warning(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host.veto(1)
    update = workshop.update(source="veto", files=FILES)
    outcome = done(host.install(update))
    (failure,) = outcome.failed
    assert failure.component == "xen"
    assert "hook said no" in failure.error
    assert host.read(TOOL) == b"new tool"
    assert tasks(outcome) == [Task.REBOOT_HOST]
    assert host.status().needs_reboot
    (shown,) = host.status().failed
    assert shown.component == "xen"


def test_the_next_run_tries_again_and_success_clears_it(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host.veto(1)
    update = workshop.update(source="veto", files=FILES)
    host.install(update)
    host.veto(0)
    outcome = done(host.install(update))
    assert outcome.failed == outcome.tasks == ()
    assert host.running == "+VETO"
    assert host.status().failed == ()
    assert not host.status().needs_reboot


def test_a_boot_clears_a_failure(host: EmulatedHost, workshop: Workshop) -> None:
    host.veto(1)
    host.install(workshop.update(source="veto", files=FILES))
    host.boot(workshop.fixed_image)
    status = host.status()
    assert status.failed == ()
    assert not status.needs_reboot


def test_the_build_is_looked_at_once_more_before_the_patch_goes_on(
    host: EmulatedHost, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is another one by the time the disk is done."""
    from lpengine.installer import disk_half

    put_on = disk_half.put_on

    def and_boot(*arguments: object) -> None:
        put_on(*arguments)  # type: ignore[arg-type]
        boot_id = host.root / "proc/sys/kernel/random/boot_id"
        before = boot_id.read_text()
        host.boot(workshop.fixed_image)
        boot_id.write_text(before)

    monkeypatch.setattr(disk_half, "put_on", and_boot)
    outcome = done(host.install(workshop.update(files=FILES)))
    (failure,) = outcome.failed
    assert "runs build" in failure.error


# What is refused.


def refused(host: EmulatedHost, update: Path) -> Installation:
    before = sorted(host.root.rglob("*"))
    found = host.install(update)
    assert found.outcome is None
    after = [path for path in sorted(host.root.rglob("*")) if "lock" not in path.name]
    assert [path for path in after if path not in before and path.is_file()] == []
    return found


def test_a_path_that_is_a_directory(host: EmulatedHost, workshop: Workshop) -> None:
    found = refused(host, workshop.update(files={"/usr/bin": b"x"}))
    assert found.prepared.codes == ("LP-DSK-706",)


def test_another_update_of_the_same_id(host: EmulatedHost, workshop: Workshop) -> None:
    host.install(workshop.update(files=FILES))
    found = host.install(workshop.update(files={TOOL: b"other"}))
    assert found.outcome is None
    assert "LP-DEP-504" in found.prepared.codes


def test_a_held_host(host: EmulatedHost, workshop: Workshop) -> None:
    (host.root / "etc/lpengine/policy.toml").write_text(f'hold = ["{FIRST}"]\n')
    found = refused(host, workshop.update(files=FILES))
    assert found.prepared.codes == ("LP-UPD-813",)


def test_outside_the_window(host: EmulatedHost, workshop: Workshop) -> None:
    """It opens for a minute, a day from now at the latest."""
    from datetime import UTC, datetime, timedelta

    closed = datetime.now(UTC) + timedelta(hours=5)
    text = f'utc = true\n[[windows]]\nstart = "{closed:%H:%M}"\n'
    text += f'end = "{closed + timedelta(minutes=1):%H:%M}"\n'
    (host.root / "etc/lpengine/policy.toml").write_text(text)
    update = workshop.update(files=FILES)
    assert refused(host, update).prepared.codes == ("LP-POL-406",)
    assert done(host.install(update, request=Request(any_time=True))).status == "done"


def test_a_missing_prerequisite(host: EmulatedHost, workshop: Workshop) -> None:
    found = refused(host, workshop.update(files=FILES, requires=("LPU-0",)))
    assert found.prepared.codes == ("LP-DEP-501",)


def test_a_tampered_bundle(host: EmulatedHost, workshop: Workshop) -> None:
    update = workshop.update(files=FILES)
    raw = bytearray(update.read_bytes())
    raw[-200] ^= 1
    update.write_bytes(raw)
    with pytest.raises(InputError):
        host.install(update)
    assert host.read(TOOL) == b"old tool"


def test_an_untrusted_signer(
    host: EmulatedHost, workshop: Workshop, tmp_path: Path
) -> None:
    nobody = tmp_path / "signers"
    nobody.write_text("# nobody\n")
    with pytest.raises(SignatureError) as caught:
        api.install([workshop.update(files=FILES)], host.here, trust=api.Trust(nobody))
    assert caught.value.codes == ("LP-POL-404",)


def test_a_plan_that_is_not_the_expected_one(
    host: EmulatedHost, workshop: Workshop
) -> None:
    update = workshop.update(files=FILES)
    plan = api.plan_install([update], host.here, trust=workshop.trust)
    host.boot(workshop.fixed_image)
    with pytest.raises(StalePlanError):
        host.install(update, request=Request(expect=plan.id))
    again = api.plan_install([update], host.here, trust=workshop.trust)
    outcome = done(host.install(update, request=Request(expect=again.id)))
    assert outcome.status == "done"


# A disk that fails in the middle.


def test_a_failure_of_the_second_update_takes_the_first_back(
    host: EmulatedHost, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lpengine.errors import TargetError
    from lpengine.targets.disk import Disk

    install = Disk.install

    def failing(disk: Disk, update: str, *rest: object) -> object:
        if update == SECOND:
            raise TargetError("the disk is full", cause="disk-failed")
        return install(disk, update, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Disk, "install", failing)
    one = workshop.update(files={OTHER: b"new"})
    two = workshop.update(SECOND, source="", files=FILES, requires=(FIRST,))
    outcome = done(host.install(one, two))
    assert outcome.status == "rolled-back"
    assert "disk is full" in outcome.error
    assert host.read(OTHER) is None
    assert host.applied == ()
    (entry,) = api.history(host.here)
    assert entry.status is RunStatus.ROLLED_BACK
    assert host.status().updates == ()


# Beside it.


def test_tasks_are_carried_out_in_automatic_mode(
    host: EmulatedHost, workshop: Workshop
) -> None:
    done_file = host.root / "restarted"
    (host.root / "etc/lpengine/host.toml").write_text(
        f'[commands]\nrestart_toolstack = ["touch", "{done_file}"]\n'
        f'reboot_host = ["touch", "{host.root}/rebooted"]\n'
    )
    guidance = {Level.RECOMMENDED: ("RestartToolstack",)}
    update = workshop.update(source="", files=FILES, guidance=guidance)
    outcome = done(host.install(update, request=Request(mode=Mode.AUTOMATIC)))
    assert done_file.exists()
    assert outcome.tasks == ()
    assert [task.task for task in outcome.carried_out] == [Task.RESTART_TOOLSTACK]
    assert not (host.root / "rebooted").exists()


def test_no_automatic_reboot_for_a_failed_live_patch(
    host: EmulatedHost, workshop: Workshop
) -> None:
    rebooted = host.root / "rebooted"
    (host.root / "etc/lpengine/host.toml").write_text(
        f'[commands]\nreboot_host = ["touch", "{rebooted}"]\n'
    )
    host.veto(1)
    update = workshop.update(source="veto", files=FILES)
    outcome = done(host.install(update, request=Request(mode=Mode.AUTOMATIC)))
    assert outcome.failed
    assert tasks(outcome) == [Task.REBOOT_HOST]
    assert not rebooted.exists()
    planned = workshop.update(
        SECOND, image=workshop.fixed_image, to=3, files={OTHER: b"x"}
    )
    host.install(planned, request=Request(mode=Mode.AUTOMATIC))
    assert rebooted.exists()


def test_markers_follow(host: EmulatedHost, workshop: Workshop) -> None:
    host.install(workshop.update(image=workshop.fixed_image, files=FILES))
    run = host.root / "run"
    assert (run / "reboot-required.pkgs").read_text() == f"lpengine:{FIRST}\n"
    effective = json.loads((run / "lpengine/effective.json").read_text())
    assert effective["reboot_required"] is True
    assert effective["updates"] == [FIRST]
    (xen,) = [one for one in effective["components"] if one["component"] == "xen"]
    assert xen["build_id"] == workshop.build_id
    host.boot(workshop.fixed_image)
    api.boot(host.here)
    assert not (run / "reboot-required").exists()


def test_history_tells_who_did_what(host: EmulatedHost, workshop: Workshop) -> None:
    host.install(workshop.update(files=FILES))
    (entry,) = api.history(host.here)
    assert entry.verb == "install"
    assert entry.updates == (FIRST,)
    assert entry.status is RunStatus.DONE
    assert entry.boot_id == host.status().observed.state.boot_id
    (patch,) = [e.step for e in entry.steps if e.step.deed is Deed.LIVE_PATCH]
    assert patch.build_id == workshop.build_id


def test_two_at_once_are_told_apart(host: EmulatedHost, workshop: Workshop) -> None:
    from lpengine.errors import LockedError
    from lpengine.journal import lock

    held = []

    def other(_: object) -> None:
        import threading

        def try_it() -> None:
            try:
                host.install(workshop.update(SECOND, source="", files={OTHER: b"x"}))
            except LockedError as error:
                held.append(error.message)

        if not held:
            thread = threading.Thread(target=try_it)
            thread.start()
            thread.join()

    api.install(
        [workshop.update(files=FILES)],
        host.here,
        trust=workshop.trust,
        notify=other,
    )
    assert "lpengine install" in held[0]
    assert lock is not None


def test_an_error_names_what_is_wrong_in_a_policy(
    host: EmulatedHost, workshop: Workshop
) -> None:
    (host.root / "etc/lpengine/policy.toml").write_text('delay = "soon"\n')
    with pytest.raises(LpengineError, match=r"policy\.toml: delay: 'soon'"):
        host.install(workshop.update(files=FILES))


def test_a_patch_of_somebodys_own_is_not_taken_off(
    host: EmulatedHost, workshop: Workshop
) -> None:
    """An update's live patch would go on in its place."""
    import lpengine

    module = workshop.module("extra_version_again", workshop.image)
    lpengine.apply([module], f"emulated:{host.machine}")
    outcome = done(host.install(workshop.update(files=FILES)))
    assert host.running == "+LP2"
    assert tasks(outcome) == [Task.REBOOT_HOST]


def test_two_updates_with_modules_of_one_name(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host.install(workshop.update(files=FILES, name="fix"))
    outcome = done(
        host.install(
            workshop.update(
                SECOND, source="extra_version_again", to=3, name="fix", files={}
            )
        )
    )
    assert outcome.failed == outcome.tasks == ()
    assert host.running == "+LP2"
    assert host.applied == ("lp_4.17.4-1-4.17.4-3",)
    assert host.uninstall(SECOND).failed == ()
    assert host.running == "+LP1"
    assert host.applied == ("fix",)


# What the toolstack of a XenServer says.


@pytest.fixture
def xenserver(
    host: EmulatedHost, tmp_path: Path
) -> Iterator[Callable[..., EmulatedHost]]:
    """`xenserver(pool={...}, host={...})`: the host in a pool whose XAPI says so."""
    with FakeXapi(tmp_path / "xapi.json") as xapi:
        host_tree.toolstack(host.root, xapi.port, xapi_state.ONE)

        def make(**changes: Any) -> EmulatedHost:
            roots = {xapi_state.ONE: host.root, xapi_state.TWO: tmp_path / "two"}
            state = xapi_state.pool_of_two(roots)
            state["vms"] = {}
            state["pools"][xapi_state.POOL].update(changes.get("pool", {}))
            state["hosts"][xapi_state.ONE].update(changes.get("host", {}))
            xapi_state.save(xapi.path, state)
            return host

        yield make


def test_a_pool_with_live_patching(xenserver: Any, workshop: Workshop) -> None:
    host = xenserver()
    assert done(host.install(workshop.update(files=FILES))).tasks == ()
    assert host.running == "+LP1"


@pytest.mark.parametrize(
    ("changes", "suppressed"),
    [
        ({"pool": {"live-patching-disabled": True}}, "live-patching-disabled"),
        ({"host": {"licence": {"restrict_updates": "false"}}}, "not-licensed"),
    ],
)
def test_a_pool_without_live_patching(
    xenserver: Any, workshop: Workshop, changes: dict[str, Any], suppressed: str
) -> None:
    host = xenserver(**changes)
    found = host.install(workshop.update(files=FILES))
    assert found.prepared.plan.suppressed == suppressed
    assert tasks(done(found)) == [Task.REBOOT_HOST]
    assert host.applied == ()


def test_mandatory_tasks_of_the_toolstack_block(
    xenserver: Any, workshop: Workshop
) -> None:
    host = xenserver(host={"pending-guidances": ["reboot_host"]})
    found = host.install(workshop.update(files=FILES))
    assert found.prepared.codes == ("LP-DEP-507",)


def test_a_toolstack_that_does_not_answer(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host_tree.toolstack(host.root, 1, xapi_state.ONE)
    with pytest.raises(InconclusiveError):
        host.install(workshop.update(files=FILES))
    assert api.boot(host.here).outcome is not None
