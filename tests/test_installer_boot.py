"""After a boot: what it has done is no longer left to do, live patches go on again
where the old build runs once more, and one that the host did not survive does not."""

import sys
from pathlib import Path

import pytest

from lpengine.installer import boot as booting
from lpengine.installer.request import HostOutcome
from lpengine.journal.host import HostJournal
from lpengine.journal.host_entries import Trial
from lpengine.package.model import Level, Task
from tests.site_cases import FIRST, OTHER, TOOL, EmulatedHost, Workshop, api

FILES = {TOOL: b"new tool", OTHER: b"new"}


@pytest.fixture
def host(emulated_host: EmulatedHost, workshop: Workshop) -> EmulatedHost:
    """With an update on it."""
    emulated_host.install(workshop.update(files=FILES))
    return emulated_host


def boot(host: EmulatedHost, **options: bool) -> HostOutcome:
    outcome = api.boot(host.here, **options).outcome
    assert outcome is not None
    return outcome


def crash(host: EmulatedHost) -> None:
    """The host goes down while the live patch is being applied."""
    status = host.status()
    site = host.here.site
    with HostJournal(site.state) as journal:
        boot_id = status.observed.state.boot_id
        journal.begin_trial(Trial("xen", "extra_version", "{}", boot_id, "", 1))
    host.boot()


def test_the_fixed_build_needs_nothing(host: EmulatedHost, workshop: Workshop) -> None:
    host.boot(workshop.fixed_image)
    outcome = boot(host)
    assert outcome.status == "nothing"
    assert outcome.tasks == ()
    assert host.applied == ()


def test_the_old_build_is_patched_again(host: EmulatedHost) -> None:
    host.boot()
    assert host.running != "+LP1"
    outcome = boot(host)
    assert outcome.status == "done"
    assert outcome.tasks == outcome.failed == ()
    assert host.running == "+LP1"
    assert boot(host).status == "nothing"


def test_a_host_without_updates_is_left_alone(emulated_host: EmulatedHost) -> None:
    outcome = boot(emulated_host)
    assert outcome.status == "nothing"
    assert not (emulated_host.root / "var/lib/lpengine/host.sqlite").exists()


def test_the_kernels_command_line_may_forbid_it(host: EmulatedHost) -> None:
    host.boot()
    (host.root / "proc/cmdline").write_text("quiet lpengine.enable=0\n")
    outcome = boot(host)
    assert outcome.status == "nothing"
    assert host.applied == ()
    assert [task.task for task in outcome.tasks] == [Task.REBOOT_HOST]


def test_what_the_host_did_not_survive_is_left_off(host: EmulatedHost) -> None:
    crash(host)
    for _ in range(2):
        installation = api.boot(host.here)
        (component,) = installation.prepared.plan.components
        (finding,) = component.findings
        assert finding.code == "LP-ENV-607"
        assert host.applied == ()
    (shown,) = host.status().crashed
    assert (shown.component, shown.name) == ("xen", "extra_version")


def test_it_is_tried_again_on_request_and_then_is_forgotten(host: EmulatedHost) -> None:
    crash(host)
    outcome = boot(host, retry_crashed=True)
    assert outcome.status == "done"
    assert host.running == "+LP1"
    assert host.status().crashed == ()
    host.boot()
    boot(host)
    assert host.running == "+LP1"


def test_a_process_that_died_is_no_host_that_did(host: EmulatedHost) -> None:
    """The mark is of this boot."""
    status = host.status()
    site = host.here.site
    with HostJournal(site.state) as journal:
        boot_id = status.observed.state.boot_id
        journal.begin_trial(Trial("xen", "extra_version", "", boot_id, "", 1))
    boot(host)
    host.boot()
    boot(host)
    assert host.running == "+LP1"


def test_guidance_of_before_the_boot_is_gone(
    host: EmulatedHost, workshop: Workshop
) -> None:
    guidance = {
        Level.MANDATORY: ("RestartToolstack",),
        Level.RECOMMENDED: ("RebootHost",),
    }
    update = workshop.update("LPU-2", source="", files={"/x": b""}, guidance=guidance)
    host.install(update)
    assert [t.task for t in host.status().plan.after] == [Task.REBOOT_HOST]
    pending = host.status().observed.state.pending
    assert pending.mandatory == (Task.RESTART_TOOLSTACK,)
    host.boot(workshop.fixed_image)
    assert host.status().plan.no_action_required
    boot(host)
    with HostJournal(host.here.site.state) as journal:
        assert journal.pending() == ()


def test_a_patch_that_fails_at_boot_is_said(
    emulated_host: EmulatedHost, workshop: Workshop
) -> None:
    emulated_host.install(workshop.update(source="veto", files=FILES))
    emulated_host.boot()
    emulated_host.veto(1)
    outcome = boot(emulated_host)
    assert [failure.component for failure in outcome.failed] == ["xen"]
    assert [task.task for task in outcome.tasks] == [Task.REBOOT_HOST]


def test_nothing_is_applied_without_its_module(host: EmulatedHost) -> None:
    """A journal that lost it says so and boots on."""
    import sqlite3

    with sqlite3.connect(host.root / "var/lib/lpengine/host.sqlite") as connection:
        connection.execute("DELETE FROM modules")
    host.boot()
    (failure,) = boot(host).failed
    assert "not at hand" in failure.error


def test_xenservers_own_module_goes_on_from_the_disk(
    emulated_host: EmulatedHost, workshop: Workshop
) -> None:
    """The update only announces the live patch; its file is where XenServer's packages
    put it, named as they name it."""
    from lpengine.package.model import LivePatch
    from tests.site_cases import version

    announced = LivePatch("xen", workshop.build_id, version(1), version(2))
    directory = f"/usr/lib/xen-livepatch/{workshop.build_id}"
    name = "lp_4_17_4__1__4_17_4__2.livepatch"
    module = workshop.module("extra_version", workshop.image).read_bytes()
    update = workshop.update(
        source="",
        files={f"{directory}/{name}": module},
        livepatches=(announced,),
        components=("xen",),
    )
    link = emulated_host.root / directory[1:] / "livepatch.livepatch"
    link.parent.mkdir(parents=True)
    link.symlink_to(name)
    outcome = emulated_host.install(update).outcome
    assert outcome is not None
    assert outcome.failed == ()
    assert emulated_host.applied == ("lp_4.17.4-1-4.17.4-2",)
    emulated_host.boot()
    boot(emulated_host)
    assert emulated_host.running == "+LP1"


def test_the_unit_runs_this_very_program() -> None:
    text = booting.unit()
    program = Path(sys.executable).with_name("lpengine")
    assert f"ExecStart={program} boot\n" in text
    assert "ConditionKernelCommandLine=!lpengine.enable=0" in text
    assert "@" not in text


def test_the_id_of_the_update_is_known_after_the_boot(host: EmulatedHost) -> None:
    host.boot()
    boot(host)
    (update,) = host.status().updates
    assert (update.kept.id, update.in_effect, update.disk) == (FIRST, True, "matches")
