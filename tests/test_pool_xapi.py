"""Runs over a XenServer pool: its hosts are emptied, rebooted and filled again through
`xe`, and what stands in the way is put back at the end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lpengine.errors import TargetError
from lpengine.package.model import Task
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.plan import Deed
from lpengine.planner.updates.state import Mode, Role
from lpengine.pool.outcome import Status
from lpengine.pool.record import unfinished
from tests import host_tree, xapi_state
from tests.fake_xe import FakeXapi
from tests.pool_cases import Site, update
from tests.xapi_state import LOCAL, ONE, POOL, SHARED, TWO, VM_ONE, VM_TWO


class XenServers(Site):
    """Two hosts of one pool, the second of which is the coordinator."""

    def prepare(self, port: int) -> None:
        self.pool("prod", ["host1", "host2"])
        # What XAPI does by itself needs no commands.
        lines = [line for line in self.text.splitlines() if not line.startswith("re")]
        self.text = "\n".join(lines)
        roots = {ONE: self.root("host1"), TWO: self.root("host2")}
        state = xapi_state.pool_of_two(roots)
        state["pools"][POOL]["master"] = TWO
        for uuid, root in roots.items():
            host_tree.xenserver(root, port, uuid)
            script = ["sh", str(self.directory / "reboot_host"), str(root)]
            state["hosts"][uuid]["on-reboot"] = script
        xapi_state.save(self.path, state)

    @property
    def path(self) -> Path:
        return self.directory / "xapi.json"

    def change(self, **tables: dict[str, Any]) -> None:
        """Parts of records, by table and uuid."""
        state = xapi_state.load(self.path)
        for table, records in tables.items():
            for uuid, fields in records.items():
                if isinstance(fields, dict):
                    state[table].setdefault(uuid, {}).update(fields)
                else:
                    state[table][uuid] = fields
        xapi_state.save(self.path, state)

    @property
    def state(self) -> dict[str, Any]:
        return xapi_state.load(self.path)

    @property
    def done(self) -> list[str]:
        """What was done through xe, without its queries."""
        queries = ("view", "prevent", "precheck")
        return [
            line
            for line in self.state.get("log", [])
            if not any(word in line for word in queries)
        ]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[XenServers]:
    site = XenServers(tmp_path)
    with FakeXapi(site.path) as xapi:
        site.prepare(xapi.port)
        yield site


def test_live_patched_nothing_is_touched(servers: XenServers) -> None:
    (observed,) = servers.gather()
    assert [host.role for host in observed.state.hosts] == [
        Role.MEMBER,
        Role.COORDINATOR,
    ]
    outcome = servers.run([update()])
    assert [host.host for host in outcome.pools[0].hosts] == ["host2", "host1"]
    assert outcome.pools[0].status is Status.DONE
    assert servers.done == []


def test_for_a_reboot_guests_leave_and_come_back(servers: XenServers) -> None:
    servers.change(pools={POOL: {"live-patching-disabled": True}})
    _, plan = servers.plan([update()])
    assert [one.task for one in plan.pools[0].hosts[0].before] == [Task.EVACUATE_HOST]
    outcome = servers.run([update()])
    assert [host.status for host in outcome.pools[0].hosts] == [Status.DONE] * 2
    assert not any(host.left or host.closed for host in outcome.pools[0].hosts)
    assert servers.done == [
        line
        for uuid, guest in ((TWO, VM_TWO), (ONE, VM_ONE))
        for line in (
            f"host-disable uuid={uuid}",
            f"host-evacuate uuid={uuid}",
            f"host-reboot uuid={uuid}",
            f"host-enable uuid={uuid}",
            f"vm-migrate uuid={guest} host-uuid={uuid} live=true",
        )
    ]
    assert {vm["resident-on"] for vm in servers.state["vms"].values()} == {ONE, TWO}


def test_what_is_in_the_way_is_refused_and_named(servers: XenServers) -> None:
    servers.change(
        pools={POOL: {"ha-enabled": True, "ha-statefiles": ["disk-1"]}},
        pbds={"pbd-1": {"currently-attached": False}},
    )
    outcome = servers.run([update()])
    assert outcome.pools[0].status is Status.REFUSED
    assert "high availability is on" in str(outcome.pools[0].error)
    assert servers.done == []


def test_what_can_be_resolved_is_and_is_taken_back(servers: XenServers) -> None:
    servers.change(
        pools={
            POOL: {
                "ha-enabled": True,
                "ha-statefiles": ["disk-1"],
                "ha-host-failures-to-tolerate": 1,
                "wlb-enabled": True,
            }
        },
        pbds={"pbd-1": {"currently-attached": False}},
    )
    outcome = servers.run([update()], resolve=True)
    assert outcome.pools[0].status is Status.DONE
    assert outcome.pools[0].outstanding == ()
    assert servers.done == [
        "pool-ha-disable",
        f"pool-param-set uuid={POOL} wlb-enabled=false",
        "pbd-plug uuid=pbd-1",
        f"pool-param-set uuid={POOL} wlb-enabled=true",
        f"pool-ha-enable heartbeat-sr-uuids={SHARED}",
        f"pool-param-set uuid={POOL} ha-host-failures-to-tolerate=1",
    ]


def test_guests_that_cannot_leave_are_suspended_and_resumed(
    servers: XenServers,
) -> None:
    servers.change(
        pools={POOL: {"live-patching-disabled": True}},
        hindered={VM_ONE: "VM_REQUIRES_SR,OpaqueRef:1,OpaqueRef:2"},
        vdis={"disk-1": {"sr-uuid": LOCAL}},
    )
    _, plan = servers.plan([update()])
    assert [fix.do for fix in plan.pools[0].fixes] == [Deed.SUSPEND_GUEST]
    outcome = servers.run([update()], resolve=True)
    assert outcome.pools[0].status is Status.DONE
    assert servers.done[0] == f"vm-suspend uuid={VM_ONE}"
    assert servers.done[-1] == f"vm-resume uuid={VM_ONE} on={ONE}"
    assert servers.state["vms"][VM_ONE]["power-state"] == "running"


def test_which_guest_has_to_go_is_for_the_operator_to_say(servers: XenServers) -> None:
    servers.change(
        pools={POOL: {"live-patching-disabled": True}},
        hindered={VM_ONE: "HOST_NOT_ENOUGH_FREE_MEMORY,1,2"},
    )
    outcome = servers.run([update()], resolve=True)
    error = outcome.pools[0].error
    assert error
    assert outcome.pools[0].status is Status.REFUSED
    assert "--put-away web" in error.hint
    assert servers.done == []
    outcome = servers.run([update()], resolve=True, put_away=["web"])
    assert outcome.pools[0].status is Status.DONE
    assert servers.done[0] == f"vm-suspend uuid={VM_ONE}"


def test_a_fix_that_fails_is_no_reason_to_go_on(servers: XenServers) -> None:
    servers.change(
        pools={POOL: {"ha-enabled": True, "ha-statefiles": ["disk-1"]}},
        pbds={"pbd-1": {"currently-attached": False, "broken": True}},
    )
    outcome = servers.run([update()], resolve=True)
    pool = outcome.pools[0]
    assert pool.status is Status.REFUSED
    assert "SR backend failure" in str(pool.error)
    assert pool.outstanding == ()
    assert servers.state["pools"][POOL]["ha-enabled"]
    assert servers.installed == []
    assert not outcome.open


def test_after_a_failure_what_was_resolved_stays_until_the_end(
    servers: XenServers,
) -> None:
    servers.change(pools={POOL: {"ha-enabled": True, "ha-statefiles": ["disk-1"]}})
    servers.failing = {"host1": TargetError("the disk said EIO")}
    outcome = servers.run([update()], resolve=True)
    assert [fix.do for fix in outcome.pools[0].outstanding] == [Deed.DISABLE_HA]
    assert not servers.state["pools"][POOL]["ha-enabled"]

    servers.failing = {}
    outcome = servers.run([update()])
    assert outcome.pools[0].status is Status.DONE
    assert servers.state["pools"][POOL]["ha-enabled"]


def test_a_run_that_is_given_up_puts_back_what_it_moved(servers: XenServers) -> None:
    servers.change(
        pools={
            POOL: {
                "live-patching-disabled": True,
                "ha-enabled": True,
                "ha-statefiles": ["disk-1"],
            }
        }
    )
    servers.failing = {"host2": TargetError("the disk said EIO")}
    outcome = servers.run([update()], resolve=True)
    assert outcome.pools[0].hosts[0].closed
    assert not servers.state["hosts"][TWO]["enabled"]

    given_up = servers.abandon()
    assert [pool.status for pool in given_up.pools] == [Status.CANCELLED]
    assert not given_up.open
    assert servers.state["hosts"][TWO]["enabled"]
    assert servers.state["pools"][POOL]["ha-enabled"]
    assert unfinished(servers.directory / "runs") == ()


def test_in_manual_mode_hosts_stay_empty(servers: XenServers) -> None:
    """Their guests have left before the update; who reboots them enables them."""
    servers.change(pools={POOL: {"live-patching-disabled": True}})
    outcome = servers.run([update()], mode=Mode.MANUAL)
    first = outcome.pools[0].hosts[0]
    assert first.closed
    assert [task.task for task in first.left] == [Task.REBOOT_HOST]
    assert servers.done[:2] == [f"host-disable uuid={TWO}", f"host-evacuate uuid={TWO}"]


def test_a_host_that_was_out_of_service_stays_so(servers: XenServers) -> None:
    servers.change(
        pools={POOL: {"live-patching-disabled": True}},
        hosts={ONE: {"enabled": False}},
        vms={VM_TWO: {"power-state": "halted"}},
    )
    outcome = servers.run([update()])
    assert outcome.pools[0].status is Status.DONE
    assert not servers.state["hosts"][ONE]["enabled"]
    assert servers.state["hosts"][TWO]["enabled"]


def test_pending_mandatory_tasks_block(servers: XenServers) -> None:
    servers.change(hosts={ONE: {"pending-guidances": ["reboot_host"]}})
    _, plan = servers.plan([update()])
    assert plan.pools[0].verdict is Verdict.REFUSED
    codes = {c.code for host in plan.pools[0].hosts for c in host.prechecks if c.blocks}
    assert codes == {"LP-DEP-507"}


def test_an_xapi_that_does_not_answer_is_an_unreachable_pool(
    servers: XenServers,
) -> None:
    state = servers.state
    state["down"] = True
    xapi_state.save(servers.path, state)
    outcome = servers.run([update()])
    assert outcome.pools[0].status is Status.REFUSED
    assert servers.installed == []
