"""Updates carried over pools: the right tasks before, the right state after."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from lpengine.cli.pool_verdicts import of_outcome
from lpengine.errors import (
    InputError,
    RefusedError,
    StalePlanError,
    TargetError,
    UsageError,
)
from lpengine.hosts import HostError
from lpengine.package.model import Level, Task, Update, Version
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.plan import FleetPlan, HostPlan
from lpengine.planner.updates.state import Mode
from lpengine.pool.outcome import (
    Event,
    FleetOutcome,
    HostOutcome,
    Phase,
    PhaseBegun,
    PhaseEnded,
    PoolOutcome,
    Status,
)
from lpengine.pool.record import unfinished
from lpengine.report.pool_progress import progress
from tests import host_tree
from tests.pool_cases import OTHER_BUILD_ID, Site, update


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def two_pools(site: Site) -> Site:
    site.pool("one", ["host1", "host2", "host3"], 'coordinator = "host2"')
    site.pool("two", ["host4"])
    return site


def tasks_in(plan: HostPlan) -> list[Task]:
    return [one.task for one in plan.after]


def planned(plan: FleetPlan) -> dict[str, list[Task]]:
    return {host.host: tasks_in(host) for pool in plan.pools for host in pool.hosts}


def in_pool(outcome: FleetOutcome, name: str) -> PoolOutcome:
    return next(pool for pool in outcome.pools if pool.pool == name)


def on_host(outcome: FleetOutcome, name: str) -> HostOutcome:
    found = (host for pool in outcome.pools for host in pool.hosts)
    return next(host for host in found if host.host == name)


def nothing_remains(site: Site, updates: list[Update]) -> bool:
    _, plan = site.plan(updates)
    return all(
        pool.verdict is Verdict.NOTHING and pool.no_action_required
        for pool in plan.pools
    )


def test_no_action_required(two_pools: Site) -> None:
    _, plan = two_pools.plan([update()])
    assert plan.no_action_required
    outcome = two_pools.run([update()])
    assert {pool.pool: pool.status for pool in outcome.pools} == {
        "one": Status.DONE,
        "two": Status.DONE,
    }
    assert not outcome.open
    assert [one for one in two_pools.installed if one != "host4"] == [
        "host2",
        "host1",
        "host3",
    ]
    assert of_outcome(outcome) == 0
    assert all(two_pools.log(f"host{n}") == [] for n in (1, 2, 3, 4))
    assert nothing_remains(two_pools, [update()])


def test_a_second_run_finds_nothing_to_do(two_pools: Site) -> None:
    first = two_pools.run([update()])
    two_pools.installed.clear()
    outcome = two_pools.run([update()])
    assert {pool.status for pool in outcome.pools} == {Status.NOTHING}
    assert two_pools.installed == []
    assert of_outcome(outcome) == 0
    records = (two_pools.directory / "runs").glob("*.jsonl")
    assert [one.stem for one in records] == [first.run]


def test_hosts_of_a_pool_one_after_another_and_pools_side_by_side(site: Site) -> None:
    site.pool("one", ["a1", "a2"])
    site.pool("two", ["b1", "b2"])
    both = threading.Barrier(2, timeout=20)
    installing = site.install

    def meet(*arguments: Any) -> object:
        if arguments[3].host in ("a1", "b1"):
            both.wait()
        return installing(*arguments)

    site.install = meet  # type: ignore[assignment, method-assign]
    outcome = site.run([update()])
    assert {pool.status for pool in outcome.pools} == {Status.DONE}
    hosts = [
        e.host for e in site.events if isinstance(e, PhaseBegun) and e.pool == "one"
    ]
    assert hosts == sorted(hosts)


# What makes an update take a reboot.


def reboots(site: Site, updates: list[Update]) -> None:
    """The plan says so, an automatic run does so, and then nothing remains."""
    _, plan = site.plan(updates)
    assert planned(plan) == {"host1": [Task.REBOOT_HOST]}
    outcome = site.run(updates)
    assert on_host(outcome, "host1") == HostOutcome("host1", Status.DONE)
    assert site.log("host1") == ["reboot"]
    assert of_outcome(outcome) == 0
    assert nothing_remains(site, updates)


@pytest.mark.parametrize(
    "setting",
    ["live_patching = false", 'features = ["updates"]'],
    ids=["off", "licence"],
)
def test_where_live_patching_is_not_allowed(site: Site, setting: str) -> None:
    site.pool("one", ["host1"], setting)
    reboots(site, [update()])


def test_a_build_that_no_live_patch_is_for(site: Site) -> None:
    site.pool("one", ["host1"])
    reboots(site, [update(livepatches=[OTHER_BUILD_ID])])


def test_one_of_two_components_covered(site: Site) -> None:
    site.pool("one", ["host1"])
    updates = [update(components=("xen", "kernel"))]
    _, plan = site.plan(updates)
    (host,) = plan.pools[0].hosts
    assert host.uncovered == ("kernel",)
    reboots(site, updates)


def test_an_update_without_live_patch(site: Site) -> None:
    site.pool("one", ["host1"])
    reboots(site, [update(livepatches=[], components=[])])


def test_a_mandatory_reboot(site: Site) -> None:
    site.pool("one", ["host1"])
    updates = [update(guidance={Level.MANDATORY: ("reboot_host",)})]
    _, plan = site.plan(updates)
    assert plan.pools[0].hosts[0].apply == ()
    reboots(site, updates)


def test_an_end_of_life_baseline(site: Site) -> None:
    """The newest live patches are for another build only."""
    site.pool("one", ["host1"])
    newer = update("U2", livepatches=[OTHER_BUILD_ID], to=Version("4.17.5", "10"))
    reboots(site, [update(), newer])


def test_a_superseded_live_patch_is_covered_by_the_newest(site: Site) -> None:
    site.pool("one", ["host1"])
    newer = update("U2", to=Version("4.17.5", "10"))
    outcome = site.run([update(), newer])
    assert on_host(outcome, "host1") == HostOutcome("host1", Status.DONE)
    assert site.log("host1") == []
    (observed,) = site.gather()
    assert observed.state.hosts[0].running[0].to == Version("4.17.5", "10")


def test_a_toolstack_restart(site: Site) -> None:
    site.pool("one", ["host1"])
    updates = [update(guidance={Level.RECOMMENDED: (), Level.FULL: ()}), toolstack()]
    _, plan = site.plan(updates)
    assert planned(plan) == {"host1": [Task.RESTART_TOOLSTACK]}
    outcome = site.run(updates)
    assert on_host(outcome, "host1") == HostOutcome("host1", Status.DONE)
    assert site.log("host1") == ["toolstack"]


def toolstack() -> Update:
    wanted = {Level.RECOMMENDED: ("restart_toolstack",)}
    return update("U2", livepatches=[], components=[], guidance=wanted)


def test_a_payload_that_is_refused_at_run_time(site: Site) -> None:
    """A warning and a reboot that is left, but none that is carried out."""
    site.pool("one", ["host1", "host2"])
    site.refusing = {"host1"}
    outcome = site.run([update()])
    one = on_host(outcome, "host1")
    assert (one.status, one.failed) == (Status.DONE, ("xen",))
    assert of_outcome(outcome) == 22
    assert [task.task for task in one.left] == [Task.REBOOT_HOST]
    assert site.log("host1") == []
    assert on_host(outcome, "host2") == HostOutcome("host2", Status.DONE)
    assert not outcome.open

    # The next run tries again.
    site.refusing = set()
    again = site.run([update()])
    assert on_host(again, "host1") == HostOutcome("host1", Status.DONE)
    assert on_host(again, "host2").status is Status.NOTHING
    assert nothing_remains(site, [update()])


# What stops a pool, and that pool only.


def test_a_full_disk_is_refused_beforehand(two_pools: Site) -> None:
    outcome = two_pools.run([update(size=1 << 60)])
    assert {pool.status for pool in outcome.pools} == {Status.REFUSED}
    assert isinstance(outcome.pools[0].error, RefusedError)
    assert "LP-DSK-701" in outcome.pools[0].error.codes
    assert of_outcome(outcome) == 10
    assert two_pools.installed == []
    assert not outcome.open


def test_an_unreachable_host_stops_its_pool_only(two_pools: Site) -> None:
    two_pools.deaf = {"host3"}
    outcome = two_pools.run([update()])
    one = in_pool(outcome, "one")
    assert one.status is Status.REFUSED
    assert isinstance(one.error, RefusedError)
    assert one.error.codes == ("LP-ENV-601",)
    assert {host.status for host in one.hosts} == {Status.SKIPPED}
    assert of_outcome(outcome) == 31
    assert in_pool(outcome, "two").status is Status.DONE
    assert two_pools.installed == ["host4"]


def test_a_host_that_is_off_is_switched_on(site: Site) -> None:
    site.pool("one", ["host1", "host2"])
    site.text = site.text.replace(
        "[pools.one.hosts]",
        f'power_on = {{run = "touch {site.directory}/{{host}}.on", on = "here"}}\n'
        "[pools.one.hosts]",
    )
    site.deaf = {"host2"}
    assert site.run([update()]).pools[0].status is Status.REFUSED
    outcome = site.run([update()], resolve=True)
    assert [host.status for host in outcome.pools[0].hosts] == [Status.DONE] * 2


def test_a_host_that_fails_in_the_middle(two_pools: Site) -> None:
    two_pools.failing = {"host1": TargetError("the disk said EIO")}
    outcome = two_pools.run([update()])
    one = in_pool(outcome, "one")
    assert one.status is Status.FAILED
    assert {host.host: host.status for host in one.hosts} == {
        "host2": Status.DONE,
        "host1": Status.FAILED,
        "host3": Status.SKIPPED,
    }
    assert in_pool(outcome, "two").status is Status.DONE
    assert outcome.open
    assert of_outcome(outcome) == 30

    # The same command goes on where it stopped.
    two_pools.failing = {}
    two_pools.installed.clear()
    again = two_pools.run([update()])
    assert again.run == outcome.run
    assert {pool.status for pool in again.pools} == {Status.DONE}
    assert two_pools.installed == ["host1", "host3"]
    assert not again.open
    assert nothing_remains(two_pools, [update()])


def test_other_updates_have_to_wait_for_a_run_that_is_open(two_pools: Site) -> None:
    two_pools.failing = {"host1": TargetError("the disk said EIO")}
    two_pools.run([update()])
    with pytest.raises(UsageError, match="not finished"):
        two_pools.run([update("U2")])


def test_a_run_over_more_pools_is_open_until_all_are_through(two_pools: Site) -> None:
    two_pools.failing = {"host1": TargetError("no"), "host4": TargetError("no")}
    first = two_pools.run([update()])
    two_pools.failing = {}
    observed, plan = two_pools.plan([update()])
    one = FleetPlan(tuple(pool for pool in plan.pools if pool.pool == "one"))
    again = two_pools.carry_out([update()], observed, one)
    assert again.run == first.run
    assert again.open
    assert in_pool(again, "one").status is Status.DONE
    assert not two_pools.run([update()]).open


def test_a_host_that_has_changed_since_the_plan(two_pools: Site) -> None:
    observed, plan = two_pools.plan([update()])
    name = host_tree.HEADING + "lp_4.17.5-8-4.17.5-8.1| APPLIED    | \n"
    host_tree.printing(
        two_pools.root("host2"), "/usr/sbin/xen-livepatch", {"list": name}
    )
    outcome = two_pools.carry_out([update()], observed, plan)
    one = in_pool(outcome, "one")
    assert one.status is Status.FAILED
    assert isinstance(one.error, StalePlanError)
    assert of_outcome(outcome) == 12
    assert in_pool(outcome, "two").status is Status.DONE
    assert two_pools.installed == ["host4"]
    assert not outcome.open


def test_a_host_that_does_not_come_back(site: Site) -> None:
    site.pool(
        "one", ["host1", "host2"], "live_patching = false", 'reboot_deadline = "1s"'
    )
    (site.root("host1") / "lost").touch()
    outcome = site.run([update()])
    one = on_host(outcome, "host1")
    assert isinstance(one.error, HostError)
    assert "did not come back within 1 s" in one.error.message
    assert of_outcome(outcome) == 31
    assert on_host(outcome, "host2").status is Status.SKIPPED

    # Somebody has brought it up meanwhile.
    (site.root("host1") / "lost").unlink()
    site.fleet_command("host1", "reboot_host")
    again = site.run([update()])
    assert site.log("host1") == ["reboot", "reboot"]
    assert {host.status for host in again.pools[0].hosts} == {Status.DONE}
    assert nothing_remains(site, [update()])


def test_what_was_not_put_there_is_noticed(site: Site) -> None:
    site.pool("one", ["host1"])
    site.install = lambda *_: site_installed_nothing()  # type: ignore[assignment, method-assign]
    outcome = site.run([update()])
    error = on_host(outcome, "host1").error
    assert isinstance(error, TargetError)
    assert "reading back it still lacks U1, xen" in error.message


def site_installed_nothing() -> object:
    from lpengine.pool.installing import Installed

    return Installed()


def test_in_manual_mode_tasks_are_left(site: Site) -> None:
    site.pool("one", ["host1", "host2"], "live_patching = false")
    outcome = site.run([update(), toolstack()], mode=Mode.MANUAL)
    assert of_outcome(outcome) == 20
    for name in ("host1", "host2"):
        one = on_host(outcome, name)
        assert one.status is Status.DONE
        assert [task.task for task in one.left] == [Task.REBOOT_HOST]
        assert site.log(name) == []


# Stopped, and gone on with.


class PowerCut(BaseException):
    """The machine that the run is on goes off."""


def ends(event: Event) -> tuple[str, str, str] | None:
    if isinstance(event, PhaseBegun):
        return ("begun", event.phase, event.detail)
    if isinstance(event, PhaseEnded):
        return ("ended", event.phase, event.detail)
    return None


MOMENTS = [
    (when, phase, detail)
    for phase, detail in (
        (Phase.CHECK, ""),
        (Phase.EVACUATE, ""),
        (Phase.INSTALL, ""),
        (Phase.TASK, "reboot_host"),
        (Phase.VERIFY, ""),
        (Phase.ENABLE, ""),
    )
    for when in ("begun", "ended")
]


@pytest.mark.parametrize("moment", MOMENTS, ids="-".join)
def test_killed_at_any_moment_it_goes_on(
    site: Site, moment: tuple[str, str, str]
) -> None:
    site.pool("one", ["host1", "host2"], "live_patching = false")

    def cut(event: Event) -> None:
        if ends(event) == moment:
            raise PowerCut

    with pytest.raises(PowerCut):
        site.run([update()], notify=cut)
    (record,) = unfinished(site.directory / "runs")

    outcome = site.run([update()])
    assert outcome.run == record.name
    assert [host.status for host in outcome.pools[0].hosts] == [Status.DONE] * 2
    assert not any(host.closed or host.left for host in outcome.pools[0].hosts)
    assert site.log("host1") == site.log("host2") == ["reboot"]
    assert site.installed == ["host1", "host2"]
    assert nothing_remains(site, [update()])


def test_a_line_that_was_cut_off_says_nothing(site: Site) -> None:
    site.pool("one", ["host1", "host2"])
    site.failing = {"host2": TargetError("no")}
    site.run([update()])
    (record,) = unfinished(site.directory / "runs")
    whole = record.path.read_bytes()
    record.path.write_bytes(whole + b'{"kind":"beg')
    site.failing = {}
    outcome = site.run([update()])
    assert outcome.run == record.name
    assert record.path.read_bytes().startswith(whole)
    assert {host.status for host in outcome.pools[0].hosts} == {Status.DONE}


def test_a_damaged_record_is_named(site: Site) -> None:
    site.pool("one", ["host1"])
    site.failing = {"host1": TargetError("no")}
    site.run([update()])
    (record,) = unfinished(site.directory / "runs")
    record.path.write_bytes(b"nonsense\n" + record.path.read_bytes())
    with pytest.raises(InputError, match="damaged record of a run"):
        site.run([update()])


@pytest.mark.parametrize("style", ["lines", "json", "none"])
def test_progress_in_words_and_for_programs(
    site: Site, style: str, capfd: pytest.CaptureFixture[str]
) -> None:
    site.pool("one", ["host1", "host2"], "live_patching = false")
    site.failing = {"host2": TargetError("no")}
    with progress(style, [("one", "host1"), ("one", "host2")]) as notify:
        site.run([update()], notify=notify)
    output = capfd.readouterr()
    assert output.out == ""
    lines = output.err.splitlines()
    if style == "none":
        assert lines == []
    elif style == "lines":
        assert lines[0] == "one/host1: check ..."
        assert "one/host1: done" in lines
        assert lines[-2:] == ["one/host2: failed", "one: failed"]
    else:
        events = [json.loads(line) for line in lines]
        assert {event["schema"] for event in events} == {"lpengine/pool-event/1"}
        told = [(e["event"], e["host"], e["phase"], e["detail"]) for e in events]
        assert ("done", "host1", "task", "reboot_host") in told
        failed = next(event for event in events if event["event"] == "failed")
        assert (failed["phase"], failed["error"]) == ("install", "no")
        assert events[-1]["status"] == "failed"


def test_stopped_by_the_operator_it_ends_what_it_is_doing(site: Site) -> None:
    site.pool("one", ["host1", "host2"])
    stop = threading.Event()

    def notify(event: Event) -> None:
        if ends(event) == ("begun", Phase.INSTALL, ""):
            stop.set()

    outcome = site.run([update()], notify=notify, cancelled=stop)
    assert in_pool(outcome, "one").status is Status.CANCELLED
    assert of_outcome(outcome) == 130
    assert on_host(outcome, "host1").status is Status.CANCELLED
    assert on_host(outcome, "host2").status is Status.SKIPPED
    assert site.installed == ["host1"]
    assert outcome.open
    again = site.run([update()])
    assert site.installed == ["host1", "host2"]
    assert {host.status for host in again.pools[0].hosts} == {Status.DONE}
