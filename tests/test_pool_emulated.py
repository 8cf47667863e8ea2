"""Pools of emulated hosts, each updated by the real `lpengine install`: what runs in
their machines, what is on their disks, and what remains."""

import json
from pathlib import Path

import pytest

from lpengine.api import hosts
from lpengine.api import pools as api
from lpengine.cli import pool_verdicts
from lpengine.elf import open_image
from lpengine.installer.request import Request
from lpengine.package.model import Task
from lpengine.planner.updates.state import LivePatching
from lpengine.pool.outcome import FleetOutcome, HostOutcome, Status
from lpengine.report import pool_shapes, pool_text
from lpengine.report.documents import to_json
from tests.emulated_fleet import EmulatedFleet, hotfix
from tests.in_process import InProcess
from tests.site_cases import TOOL, Workshop

DISABLED = LivePatching.DISABLED


class Fleet(EmulatedFleet):
    """The verbs over pools, as Python calls them."""

    @property
    def wanted(self) -> api.Wanted:
        return api.Wanted(
            self.path,
            signers=self.workshop.signers,
            opener=lambda _: InProcess(),
        )

    def plan(self, *bundles: Path) -> api.Draft:
        return api.plan_pools(bundles, self.wanted)

    def install(self, *bundles: Path) -> FleetOutcome:
        return api.install_pools(
            self.plan(*bundles), opener=self.wanted.opener, poll=0.01
        )

    def left(self) -> dict[str, str]:
        """What `pool status` says remains to be done, by host."""
        document = pool_shapes.status_document(api.pool_status(self.wanted))
        return {
            host.host: pool_text.pending_text(host)
            for pool in document.pools
            for host in pool.hosts
        }


@pytest.fixture
def fleet(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setenv("LPENGINE_STATE_DIR", str(tmp_path / "state"))
    return Fleet(workshop, tmp_path)


def outcomes(outcome: FleetOutcome) -> dict[str, HostOutcome]:
    return {host.host: host for pool in outcome.pools for host in pool.hosts}


def test_memory_and_disk_of_all_hosts(fleet: Fleet) -> None:
    bundle = hotfix(fleet.workshop)
    assert fleet.plan(bundle).planned.plan.no_action_required
    outcome = fleet.install(bundle)
    assert outcomes(outcome) == {
        name: HostOutcome(name, Status.DONE) for name in fleet.hosts
    }
    assert pool_verdicts.of_outcome(outcome) == 0
    for host in fleet.hosts.values():
        assert host.running == "+LP1"
        assert host.read(TOOL) == b"new tool"
    assert set(fleet.left().values()) == {"-"}
    assert {pool.status for pool in fleet.install(bundle).pools} == {Status.NOTHING}


def test_a_pool_that_reboots_runs_what_is_on_its_disk(fleet: Fleet) -> None:
    fleet.configure({"one": "live_patching = false"})
    bundle = hotfix(fleet.workshop)
    plan = fleet.plan(bundle).planned.plan
    assert [host.needs_reboot for pool in plan.pools for host in pool.hosts] == [
        True,
        True,
        False,
        False,
    ]
    outcome = fleet.install(bundle)
    assert pool_verdicts.of_outcome(outcome) == 0
    fixed = open_image(fleet.workshop.fixed_image).build_id
    for name in ("host1", "host2"):
        host = fleet.hosts[name]
        assert host.running == "+FIXED"
        assert host.applied == ()
        (build,) = host.status().observed.seen.builds
        assert build.build_id == fixed
    assert fleet.hosts["host3"].running == "+LP1"
    assert set(fleet.left().values()) == {"-"}


def test_a_payload_that_does_not_go_on_waits_for_a_reboot(fleet: Fleet) -> None:
    """Its own hook says no, which nobody can foresee."""
    bundle = hotfix(fleet.workshop, "veto")
    for name in ("host1", "host2"):
        fleet.hosts[name].veto(22)
    outcome = fleet.install(bundle)
    assert pool_verdicts.of_outcome(outcome) == 22
    found = outcomes(outcome)
    for name in ("host1", "host2"):
        assert found[name].failed == ("xen",)
        assert [one.task for one in found[name].left] == [Task.REBOOT_HOST]
        assert fleet.hosts[name].read(TOOL) == b"new tool"
        assert fleet.hosts[name].applied == ()
    assert found["host3"] == HostOutcome("host3", Status.DONE)
    assert fleet.left() == {
        "host1": "reboot_host",
        "host2": "reboot_host",
        "host3": "-",
        "host4": "-",
    }


def test_a_host_that_refuses_in_the_middle_of_its_pool(fleet: Fleet) -> None:
    """What nobody sees from outside: a directory is in the way of a file."""
    bundle = hotfix(fleet.workshop)
    tool = fleet.hosts["host2"].root / TOOL[1:]
    tool.unlink()
    tool.mkdir()
    outcome = fleet.install(bundle)
    assert pool_verdicts.of_outcome(outcome) == 30
    assert outcome.open
    found = outcomes(outcome)
    assert found["host1"].status is Status.DONE
    assert found["host2"].status is Status.FAILED
    assert TOOL in str(found["host2"].error)
    assert found["host4"].status is Status.DONE
    assert fleet.hosts["host2"].running != "+LP1"

    tool.rmdir()
    again = fleet.install(bundle)
    assert again.run == outcome.run
    assert {one.status for one in outcomes(again).values()} == {Status.DONE}
    assert fleet.hosts["host2"].running == "+LP1"


def test_a_host_by_itself_comes_to_the_same_decision(fleet: Fleet) -> None:
    bundle = hotfix(fleet.workshop)
    for live_patching in (True, False):
        setting = f"live_patching = {str(live_patching).lower()}"
        fleet.configure({"one": setting, "two": setting})
        plan = fleet.plan(bundle).planned.plan.pools[0].hosts[0]
        request = Request(live_patching=None if live_patching else DISABLED)
        alone = hosts.plan_install(
            [bundle], fleet.hosts["host1"].here, request, fleet.workshop.trust
        ).plan
        assert plan.updates_digest == alone.updates_digest
        for field in ("verdict", "status", "effective", "components", "uncovered"):
            assert getattr(plan, field) == getattr(alone, field), field
        for field in ("install", "apply", "guidance", "before", "after"):
            assert getattr(plan, field) == getattr(alone, field), field


def test_the_document_of_a_run(fleet: Fleet) -> None:
    bundle = hotfix(fleet.workshop)
    draft = fleet.plan(bundle)
    outcome = api.install_pools(draft, opener=fleet.wanted.opener)
    document = pool_shapes.install_document(draft.planned, outcome)
    found = json.loads(to_json(document))
    assert found["schema"] == "lpengine/pool-install/1"
    assert not found["open"]
    assert {host["status"] for pool in found["pools"] for host in pool["hosts"]} == {
        "done"
    }
