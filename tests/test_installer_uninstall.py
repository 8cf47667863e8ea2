"""An update taken off a host: the disk as it was, the live patch off, and what is left
to do told."""

import json
from pathlib import Path

import pytest

import lpengine
from lpengine.errors import NotFoundError, RefusedError
from lpengine.installer.request import HostOutcome
from lpengine.journal import RunStatus
from lpengine.journal.host_entries import Deed
from lpengine.package.model import Level, Task
from tests.disk_cases import tree
from tests.package_builds import PATH, build_deb, debian_root, disk_package
from tests.site_cases import (
    FIRST,
    OTHER,
    SECOND,
    TOOL,
    EmulatedHost,
    Workshop,
    api,
)

FILES = {TOOL: b"new tool", OTHER: b"new"}


def files(host: EmulatedHost) -> dict[str, tuple[object, ...]]:
    ignored = ("machine", "run", "proc", "var")
    found = tree(host.root)
    return {p: found[p] for p in found if p.split("/")[0] not in ignored}


def tasks(outcome: HostOutcome) -> list[Task]:
    return [task.task for task in outcome.tasks]


@pytest.fixture
def host(emulated_host: EmulatedHost) -> EmulatedHost:
    return emulated_host


def test_disk_and_memory_are_as_before(host: EmulatedHost, workshop: Workshop) -> None:
    before, said = files(host), host.running
    host.install(workshop.update(files=FILES))
    outcome = host.uninstall()
    assert outcome.status == "done"
    assert outcome.failed == outcome.tasks == outcome.warnings == ()
    assert files(host) == before
    assert host.running == said
    assert host.loaded == ()
    assert host.status().updates == ()
    assert [entry.verb for entry in api.history(host.here)] == ["uninstall", "install"]


def test_the_live_patch_of_an_earlier_update_comes_back(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host.install(workshop.update(files=FILES))
    later = workshop.update(
        SECOND, source="extra_version_again", to=3, files={TOOL: b"newer tool"}
    )
    host.install(later)
    outcome = host.uninstall(SECOND)
    assert outcome.failed == outcome.tasks == ()
    assert host.running == "+LP1"
    assert host.read(TOOL) == b"new tool"
    assert host.loaded == ("extra_version",)


def test_an_update_beneath_another_stays(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host.install(workshop.update(files=FILES))
    host.install(workshop.update(SECOND, source="", files={TOOL: b"newer"}))
    with pytest.raises(RefusedError) as caught:
        host.uninstall(FIRST)
    assert caught.value.codes == ("LP-DSK-709",)
    assert host.running == "+LP1"


def test_what_another_update_requires_stays(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host.install(workshop.update(files=FILES))
    host.install(
        workshop.update(SECOND, source="", files={"/etc/x": b""}, requires=(FIRST,))
    )
    with pytest.raises(RefusedError, match=f"{SECOND} requires {FIRST}") as caught:
        host.uninstall(FIRST)
    assert SECOND in caught.value.hint


def test_changed_files_are_kept_on_request(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host.install(workshop.update(files=FILES))
    (host.root / TOOL[1:]).write_bytes(b"by hand")
    (shown,) = host.status().updates
    assert shown.disk == "changed"
    with pytest.raises(RefusedError) as caught:
        host.uninstall()
    assert caught.value.codes == ("LP-DSK-708",)
    outcome = host.uninstall(keep_changed=True)
    assert len(outcome.kept) == 1
    assert host.read(TOOL) == b"by hand"
    assert host.read(OTHER) is None


def test_after_a_boot_into_the_fix_it_takes_another_to_get_rid_of_it(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host.install(workshop.update(files=FILES))
    host.boot(workshop.fixed_image)
    assert host.status().plan.no_action_required
    assert tasks(host.uninstall()) == [Task.REBOOT_HOST]


def test_a_reboot_that_was_never_made_need_not_be_made(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host.install(workshop.update(image=workshop.fixed_image, files=FILES))
    assert host.status().needs_reboot
    assert host.uninstall().tasks == ()
    assert not host.status().needs_reboot


def test_a_task_that_was_carried_out_is_to_be_carried_out_again(
    host: EmulatedHost, workshop: Workshop
) -> None:
    guidance = {Level.RECOMMENDED: ("RestartToolstack",)}
    host.install(workshop.update(source="", files=FILES, guidance=guidance))
    api.clear([Task.RESTART_TOOLSTACK], host.here)
    assert tasks(host.uninstall()) == [Task.RESTART_TOOLSTACK]


def test_a_task_that_was_not_carried_out_is_pointless(
    host: EmulatedHost, workshop: Workshop
) -> None:
    guidance = {Level.RECOMMENDED: ("RestartToolstack",)}
    host.install(workshop.update(source="", files=FILES, guidance=guidance))
    assert host.uninstall().tasks == ()


def test_a_patch_that_does_not_come_off_is_a_warning(
    host: EmulatedHost, workshop: Workshop
) -> None:
    host.install(workshop.update(source="veto", files=FILES))
    host.veto(1)
    outcome = host.uninstall()
    (failure,) = outcome.failed
    assert "hook said no" in failure.error
    assert host.read(TOOL) == b"old tool"
    assert host.running == "+VETO"


def test_a_patch_beneath_another_is_left_alone(
    host: EmulatedHost, workshop: Workshop, patch_sources: Path, tmp_path: Path
) -> None:
    """Somebody has put one of their own on top."""
    host.install(workshop.update(files=FILES))
    module = tmp_path / "own.livepatch"
    below = workshop.module("extra_version", workshop.image)
    code, function = patch_sources / "with_data.c", {"count_call": "count_call"}
    built = lpengine.build_c(code, function, workshop.image, depends=below)
    module.write_bytes(built.payload)
    lpengine.apply([module], f"emulated:{host.machine}")
    outcome = host.uninstall()
    assert outcome.status == "done"
    assert host.applied == ("extra_version", "own")
    assert host.status().observed.state.running[0].half_known


def test_an_update_that_is_not_there(host: EmulatedHost) -> None:
    with pytest.raises(NotFoundError, match="LPU-9"):
        host.uninstall("LPU-9")


def test_memory_that_came_without_a_disk_goes_without_one(
    host: EmulatedHost, workshop: Workshop
) -> None:
    from tests.site_cases import MEMORY_ONLY

    host.install(workshop.update(files=FILES), request=MEMORY_ONLY)
    outcome = host.uninstall()
    assert outcome.tasks == ()
    assert host.running != "+LP1"
    assert host.read(TOOL) == b"old tool"


def test_packages_go_with_the_update(
    host: EmulatedHost, workshop: Workshop, tmp_path: Path
) -> None:
    debian_root(host.root)
    archive = build_deb(tmp_path, "one", "1.0-1")
    package = disk_package(archive, "one", "1.0-1")
    update = workshop.update(files=FILES, packages=(package,), archives=(archive,))
    outcome = host.install(update).outcome
    assert outcome is not None
    assert [e.step.deed for e in outcome.steps] == [
        Deed.FILES,
        Deed.PACKAGES,
        Deed.LIVE_PATCH,
    ]
    assert (host.root / PATH / "one").read_text() == "1.0-1"
    assert host.uninstall().status == "done"
    assert not (host.root / PATH / "one").exists()
    assert host.read(TOOL) == b"old tool"


def test_packages_that_do_not_fit_are_refused_beforehand(
    host: EmulatedHost, workshop: Workshop, tmp_path: Path
) -> None:
    debian_root(host.root)
    archive = build_deb(tmp_path, "one", "1.0-1", fields="Depends: not-there\n")
    package = disk_package(archive, "one", "1.0-1")
    update = workshop.update(files=FILES, packages=(package,), archives=(archive,))
    found = host.install(update)
    assert found.outcome is None
    assert found.prepared.codes == ("LP-DSK-702",)
    assert "not-there" in found.prepared.reasons[0]
    assert host.read(TOOL) == b"old tool"


def test_packages_that_fail_take_the_files_back(
    host: EmulatedHost,
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DPKG_FORCE", "script-chrootless")
    debian_root(host.root)
    scripts = {"preinst": "exit 1"}
    archive = build_deb(tmp_path, "one", "1.0-1", scripts=scripts)
    package = disk_package(archive, "one", "1.0-1")
    update = workshop.update(files=FILES, packages=(package,), archives=(archive,))
    outcome = host.install(update).outcome
    assert outcome is not None
    assert outcome.status == "rolled-back"
    assert "pre-installation script" in outcome.error
    assert host.read(TOOL) == b"old tool"
    assert host.applied == ()
    assert api.history(host.here)[0].status is RunStatus.ROLLED_BACK


def test_hooks_see_it_go(host: EmulatedHost, workshop: Workshop) -> None:
    hook = host.root / "etc/lpengine/hooks.d/post-revert/tell"
    hook.parent.mkdir(parents=True)
    hook.write_text(f"#!/bin/sh\ncat > {host.root}/told\n")
    hook.chmod(0o755)
    host.install(workshop.update(files=FILES))
    host.uninstall()
    told = json.loads((host.root / "told").read_text())
    assert (told["action"], told["updates"]) == ("uninstall", [FIRST])
