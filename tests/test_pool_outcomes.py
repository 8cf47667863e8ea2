"""`lpengine pool` from the command line, over everything that an update can meet: the
tasks that are told beforehand, what runs and is on the disks afterwards, and the exit
codes of docs/pools.md."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lpengine.package.model import Level, LivePatch
from tests.emulated_fleet import EmulatedFleet, hotfix
from tests.pool_bundles import Publisher
from tests.site_cases import SECOND, TOOL, EmulatedHost, Workshop, version

OLD = ".7"
NOTHING: list[str] = []
REBOOT = ["reboot_host"]
Cli = Callable[..., tuple[int, str, str]]


class Pools:
    """The command line with a fleet. Answers are exit codes and what the documents
    say."""

    def __init__(self, cli: Cli, fleet: EmulatedFleet) -> None:
        self.cli, self.fleet = cli, fleet
        self.trust = ("--signers", fleet.workshop.signers)

    def ask(self, *words: object) -> tuple[int, Any]:
        code, out, err = self.cli("pool", *words, "--json")
        assert err == ""
        return code, json.loads(out)

    def plan(self, *words: object) -> tuple[int, dict[str, list[str]]]:
        """The tasks after the update, by host."""
        code, found = self.ask("plan", *words, *self.trust)
        return code, {
            host["host"]: [task["task"] for task in host["after"]]
            for pool in found["pools"]
            for host in pool["hosts"]
        }

    def reasons(self, *words: object) -> set[tuple[str, str]]:
        """Hosts, and the codes of what is found about them."""
        _, found = self.ask("plan", *words, *self.trust)
        return {
            (host["host"], one["code"])
            for pool in found["pools"]
            for host in pool["hosts"]
            for about in (host, *host["components"])
            for one in about["findings"]
        }

    def install(self, *words: object) -> tuple[int, dict[str, str]]:
        """What became of each host."""
        code, found = self.ask(
            "install", *words, *self.trust, "--yes", "--progress", "none"
        )
        return code, {
            host["host"]: host["status"]
            for pool in found["pools"]
            for host in pool["hosts"]
        }

    def status(self, *words: object) -> tuple[int, dict[str, list[str]]]:
        """What is left to be done, by host."""
        code, found = self.ask("status", *words)
        return code, {
            host["host"]: [task["task"] for task in host["left"]]
            for pool in found["pools"]
            for host in pool["hosts"]
        }

    def running(self, *names: str) -> list[str]:
        return [self.fleet.hosts[name].running for name in names]


@pytest.fixture
def pools(cli: Cli, emulated_fleet: EmulatedFleet) -> Pools:
    return Pools(cli, emulated_fleet)


@pytest.fixture
def host(pools: Pools) -> EmulatedHost:
    """The one that most tests are about."""
    return pools.fleet.hosts["host1"]


ONE = ("--host", "host1")


def reboots(pools: Pools, host: EmulatedHost, *bundles: Path) -> None:
    """It is told, it is done, and then the host runs what is on its disk."""
    assert pools.plan(*bundles, *ONE) == (0, {"host1": REBOOT})
    assert pools.install(*bundles, *ONE) == (0, {"host1": "done"})
    assert host.running == "+FIXED"
    assert host.read(TOOL) == b"new tool"
    assert pools.status(*ONE)[1]["host1"] == NOTHING
    assert pools.install(*bundles, *ONE)[0] == 0


def test_live_patching_is_switched_off_for_a_pool(
    pools: Pools, workshop: Workshop
) -> None:
    bundle = hotfix(workshop)
    assert pools.ask("set", "one", "live_patching=off")[0] == 0
    code, tasks = pools.plan(bundle)
    assert (code, list(tasks.values())) == (0, [REBOOT, REBOOT, NOTHING, NOTHING])
    assert ("host1", "LP-POL-401") in pools.reasons(bundle)
    assert pools.install(bundle) == (0, dict.fromkeys(pools.fleet.hosts, "done"))
    assert pools.running("host1", "host2", "host3") == ["+FIXED", "+FIXED", "+LP1"]
    assert pools.fleet.hosts["host1"].applied == ()
    assert pools.status() == (0, dict.fromkeys(pools.fleet.hosts, NOTHING))


def test_a_host_without_a_licence(
    pools: Pools, host: EmulatedHost, workshop: Workshop
) -> None:
    pools.fleet.configure({"one": 'features = ["updates"]'})
    bundle = hotfix(workshop)
    assert pools.reasons(bundle, *ONE) == {("host1", "LP-POL-402")}
    reboots(pools, host, bundle)
    assert host.applied == ()


def test_a_build_without_a_live_patch(pools: Pools, workshop: Workshop) -> None:
    bundle = hotfix(workshop)
    pools.fleet.hosts["host2"].boot(workshop.fixed_image)
    code, tasks = pools.plan(bundle, "--pool", "one")
    assert (code, tasks) == (0, {"host1": NOTHING, "host2": REBOOT})
    assert pools.reasons(bundle, "--pool", "one") == {("host2", "LP-UPD-802")}
    code, done = pools.install(bundle, "--pool", "one")
    assert (code, done) == (0, {"host1": "done", "host2": "done"})
    assert pools.running("host1", "host2") == ["+LP1", "+FIXED"]
    assert pools.status("--pool", "one")[0] == 0


def test_one_of_two_components(
    pools: Pools, host: EmulatedHost, workshop: Workshop
) -> None:
    """A kernel runs, as far as anybody can see, and there is no live patch for it."""
    host.show_kernel()
    bundle = hotfix(workshop, components=("xen", "kernel"))
    _, found = pools.ask("plan", bundle, *ONE, *pools.trust)
    ((planned,),) = [pool["hosts"] for pool in found["pools"]]
    assert planned["effective"] == "ok_livepatch_incomplete"
    assert planned["uncovered"] == ["kernel"]
    reboots(pools, host, bundle)


def test_a_payload_that_is_refused_at_run_time(
    pools: Pools, host: EmulatedHost, workshop: Workshop
) -> None:
    """Its own hook says no, which nobody can foresee."""
    bundle = hotfix(workshop, "veto")
    host.veto(22)
    assert pools.plan(bundle, *ONE) == (0, {"host1": NOTHING})
    assert pools.install(bundle, *ONE) == (22, {"host1": "done"})
    assert host.read(TOOL) == b"new tool"
    assert host.applied == ()
    assert pools.status(*ONE) == (20, {"host1": REBOOT})
    host.veto(0)
    assert pools.install(bundle, *ONE) == (0, {"host1": "done"})
    assert host.running == "+VETO"
    assert pools.status(*ONE) == (0, {"host1": NOTHING})


def test_an_update_without_a_live_patch(
    pools: Pools, host: EmulatedHost, workshop: Workshop
) -> None:
    reboots(pools, host, hotfix(workshop, ""))


def test_a_toolstack_restart(
    pools: Pools, host: EmulatedHost, workshop: Workshop
) -> None:
    """It remains where nobody but the operator restarts anything."""
    guidance = {Level.RECOMMENDED: ("RestartToolstack",)}
    bundle = hotfix(workshop, "", guidance=guidance)
    task = ["restart_toolstack"]
    assert pools.plan(bundle, "--pool", "one")[1] == {"host1": task, "host2": task}
    assert pools.install(bundle, *ONE) == (0, {"host1": "done"})
    assert host.read("/restarted") == b""
    other = pools.fleet.hosts["host2"]
    manual = ("--host", "host2", "--mode", "manual")
    assert pools.install(bundle, *manual) == (20, {"host2": "done"})
    assert other.read("/restarted") is None
    assert pools.status("--pool", "one") == (20, {"host1": NOTHING, "host2": task})


def test_a_mandatory_reboot(
    pools: Pools, host: EmulatedHost, workshop: Workshop
) -> None:
    """No live patch goes on before it; nothing else is installed before it."""
    bundle = hotfix(workshop, guidance={Level.MANDATORY: ("RebootHost",)})
    assert pools.install(bundle, *ONE, "--mode", "manual") == (20, {"host1": "done"})
    assert host.applied == ()
    assert pools.status(*ONE) == (20, {"host1": REBOOT})
    other = workshop.update(SECOND, source="", files={"/etc/other": b"x"})
    assert pools.install(other, *ONE)[0] == 10
    assert host.read("/etc/other") is None
    host.boot(workshop.fixed_image)
    assert pools.install(other, *ONE) == (0, {"host1": "done"})
    assert host.read("/etc/other") == b"x"


def test_an_automatic_run_reboots_where_that_is_mandatory(
    pools: Pools, host: EmulatedHost, workshop: Workshop
) -> None:
    reboots(pools, host, hotfix(workshop, guidance={Level.MANDATORY: ("RebootHost",)}))


def test_a_superseded_live_patch(
    pools: Pools, host: EmulatedHost, workshop: Workshop
) -> None:
    """Only the newest goes on, whether or not an older one is there already."""
    older, newer = (
        hotfix(workshop),
        hotfix(workshop, "extra_version_again", id=SECOND, to=3),
    )
    other = pools.fleet.hosts["host2"]
    assert pools.install(older, *ONE) == (0, {"host1": "done"})
    one = ("--pool", "one")
    assert pools.plan(older, newer, *one) == (0, {"host1": NOTHING, "host2": NOTHING})
    assert pools.install(older, newer, *one)[0] == 0
    for each in (host, other):
        assert (each.running, each.applied) == ("+LP2", ("extra_version_again",))
    assert pools.status(*one) == (0, {"host1": NOTHING, "host2": NOTHING})


def test_a_baseline_at_the_end_of_its_life(
    pools: Pools, host: EmulatedHost, workshop: Workshop
) -> None:
    """The newest live patch does not serve it, so that the older is none any more."""
    older = hotfix(workshop)
    elsewhere = LivePatch("xen", "ab" * 20, version(1), version(3))
    newer = hotfix(workshop, "", id=SECOND, livepatches=(elsewhere,))
    assert ("host1", "LP-UPD-803") in pools.reasons(older, newer, *ONE)
    reboots(pools, host, older, newer)


def test_a_host_that_fails_in_the_middle_of_its_pool(
    pools: Pools, workshop: Workshop
) -> None:
    pools.fleet.configure(pools={"one": ("host1", "host2", "host3"), "two": ("host4",)})
    bundle = hotfix(workshop)
    tool = pools.fleet.hosts["host2"].root / TOOL[1:]
    tool.unlink()
    tool.mkdir()
    code, became = pools.install(bundle)
    assert code == 30
    assert became == {
        "host1": "done",
        "host2": "failed",
        "host3": "skipped",
        "host4": "done",
    }
    assert pools.running(*became) == ["+LP1", OLD, OLD, "+LP1"]
    tool.rmdir()
    assert pools.install(bundle)[0] == 0
    assert pools.running(*became) == ["+LP1"] * 4
    assert pools.status() == (0, dict.fromkeys(became, NOTHING))


def test_a_host_that_does_not_answer(pools: Pools, workshop: Workshop) -> None:
    """Its pool is not begun with."""
    bundle = hotfix(workshop)
    (pools.fleet.hosts["host2"].root / "proc/sys/kernel/random/boot_id").unlink()
    assert pools.plan(bundle)[0] == 31
    code, became = pools.install(bundle)
    assert code == 31
    assert (became["host3"], became["host4"]) == ("done", "done")
    assert pools.running("host1", "host2", "host3") == [OLD, OLD, "+LP1"]
    assert pools.fleet.hosts["host1"].read(TOOL) == b"old tool"
    assert pools.status()[0] == 31


def test_a_disk_that_is_full(
    pools: Pools, host: EmulatedHost, workshop: Workshop
) -> None:
    bundle = hotfix(workshop, installation_size=1 << 50)
    assert pools.plan(bundle, *ONE)[0] == 10
    assert pools.install(bundle, *ONE)[0] == 10
    assert (host.running, host.read(TOOL)) == (OLD, b"old tool")
    assert pools.status(*ONE) == (0, {"host1": NOTHING})


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_tampered_bundle(
    pools: Pools, host: EmulatedHost, workshop: Workshop, at: float
) -> None:
    bundle = hotfix(workshop)
    raw = bytearray(bundle.read_bytes())
    raw[int(len(raw) * at)] ^= 1
    bundle.write_bytes(raw)
    assert pools.ask("plan", bundle, *pools.trust)[0] == 13
    assert pools.ask("install", bundle, *pools.trust, "--yes")[0] == 13
    assert (host.running, host.read(TOOL)) == (OLD, b"old tool")


def test_a_signer_that_the_driver_does_not_trust(
    pools: Pools, host: EmulatedHost, workshop: Workshop, tmp_path: Path
) -> None:
    trust = ("--signers", Publisher(tmp_path / "other").signers)
    bundle = hotfix(workshop)
    for words in (("plan", bundle), ("install", bundle, "--yes")):
        code, found = pools.ask(*words, *trust)
        assert (code, found["codes"]) == (13, ["LP-POL-404"])
    assert (host.running, host.read(TOOL)) == (OLD, b"old tool")


def test_a_signer_that_the_host_does_not_trust(
    pools: Pools, host: EmulatedHost, workshop: Workshop, tmp_path: Path
) -> None:
    """Every host looks for itself."""
    pools.fleet.configure(signers=Publisher(tmp_path / "other").signers)
    code, became = pools.install(hotfix(workshop), "--pool", "one")
    assert (code, became) == (30, {"host1": "failed", "host2": "skipped"})
    assert (host.running, host.read(TOOL)) == (OLD, b"old tool")


def test_a_driver_that_is_killed_is_gone_on_with(
    pools: Pools, workshop: Workshop
) -> None:
    """Whether or not what it was about to do on a host was done."""
    bundle = hotfix(workshop)
    words = ("pool", "install", bundle, *pools.trust, "--pool", "one", "--yes")
    driver = subprocess.Popen(
        [sys.executable, "-m", "lpengine", *map(str, words), "--progress", "lines"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    with driver:
        assert driver.stderr
        for line in driver.stderr:
            if line == "one/host1: install ...\n":
                driver.kill()
    assert driver.returncode == -signal.SIGKILL
    code, became = install_again(pools, bundle)
    assert (code, became) == (0, {"host1": "done", "host2": "done"})
    assert pools.running("host1", "host2") == ["+LP1", "+LP1"]
    assert pools.status("--pool", "one")[0] == 0


def install_again(pools: Pools, bundle: Path) -> tuple[int, dict[str, str]]:
    """As soon as what is left of the first run lets go of the host."""
    deadline = time.monotonic() + 60
    while True:
        found = pools.install(bundle, "--pool", "one")
        if found[0] == 0 or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
