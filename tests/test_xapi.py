"""What XAPI says of a pool, asked through `xe` as on a real host."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lpengine.errors import InconclusiveError
from lpengine.hosts import LocalHost
from lpengine.package.model import Task
from lpengine.planner.updates.state import (
    LIVE_PATCHING,
    MIGRATION,
    UPDATES,
    Hindrance,
    LivepatchStatus,
    Media,
    Pending,
    PowerState,
    ServerPrecheck,
    Storage,
    Synchronisation,
)
from lpengine.targets.host.engine import Place
from lpengine.targets.host.observe import look
from lpengine.targets.host.records import pairs, records, words
from lpengine.targets.host.toolstack import ManagedHost, ManagedPool
from lpengine.targets.host.xapi import Xapi
from tests import host_tree, xapi_state
from tests.fake_xe import FakeXapi
from tests.host_tree import Outside
from tests.xapi_state import ISO, LOCAL, ONE, POOL, SHARED, TWO, VM_ONE, VM_TWO


class Site:
    """One XenServer host of a pool of two, and the state behind its `xe`."""

    def __init__(self, directory: Path, xapi: FakeXapi) -> None:
        self.path, self.root = xapi.path, directory / "one"
        host_tree.xenserver(self.root, xapi.port, ONE)
        self.state = xapi_state.pool_of_two({ONE: self.root, TWO: directory / "two"})

    def managed(self, *updates: str) -> ManagedPool:
        xapi_state.save(self.path, self.state)
        return Xapi(LocalHost(), str(self.root)).managed(updates)

    def host(self, uuid: str = ONE) -> ManagedHost:
        found = self.managed().host(uuid)
        assert found
        return found

    @property
    def pool(self) -> dict[str, Any]:
        found: dict[str, Any] = self.state["pools"][POOL]
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with FakeXapi(tmp_path / "xapi.json") as xapi:
        yield Site(tmp_path, xapi)


def test_a_host_knows_what_xapi_calls_it(site: Site) -> None:
    site.managed()
    assert look(Outside(), "host1", Place(str(site.root))).uuid == ONE


def test_a_healthy_pool(site: Site) -> None:
    pool = site.managed()
    assert (pool.uuid, pool.name, pool.coordinator) == (POOL, "prod", ONE)
    assert pool.live_patching
    assert not pool.ha_enabled
    assert not pool.wlb_enabled
    assert not pool.mixed
    assert not pool.forbids_restarts
    assert pool.synchronised is None
    one, two = pool.hosts
    assert (one.name, one.edition, one.enabled, one.live) == (
        "host1",
        "premium",
        True,
        True,
    )
    assert [guest.name for guest in one.guests or ()] == ["web"]
    assert [guest.name for guest in two.guests or ()] == ["db"]
    assert pool.guests == {"web": VM_ONE, "db": VM_TWO}
    assert one.storage == (
        Storage(SHARED, True, True, True),
        Storage(LOCAL, False, True, False),
        Storage(ISO, False, True, False),
    )
    assert two.storage == (Storage(SHARED, True, True, True),)


def test_the_switch_and_what_stands_in_the_way(site: Site) -> None:
    site.pool["live-patching-disabled"] = True
    site.pool["ha-enabled"] = True
    site.pool["ha-statefiles"] = ["disk-1", "disk-2", "of-somebody"]
    site.pool["ha-host-failures-to-tolerate"] = 1
    site.pool["wlb-enabled"] = True
    site.pool["other-config"] = {"hci-forbid-update-auto-restart": ""}
    site.state["hosts"][TWO]["software-version"]["product_version"] = "8.3.0"
    pool = site.managed()
    assert not pool.live_patching
    assert (pool.ha_enabled, pool.ha_storage, pool.ha_failures_to_tolerate) == (
        True,
        (SHARED, "of-somebody"),
        1,
    )
    assert pool.wlb_enabled
    assert pool.mixed
    assert pool.forbids_restarts


def test_what_an_older_xapi_has_no_word_for(site: Site) -> None:
    """Before Ely there is no switch, before XenServer 8 no list of tasks; that HA is
    off has to be said."""
    del site.pool["live-patching-disabled"]
    del site.pool["ha-enabled"]
    for key in ("pending-guidances", "updates-requiring-reboot"):
        del site.state["hosts"][ONE][key]
    pool = site.managed()
    assert pool.live_patching
    assert pool.ha_enabled
    one = pool.hosts[0]
    assert one.pending == Pending()
    assert one.updates_requiring_reboot is None


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ({"restrict_live_patching": "false"}, True),
        ({"restrict_live_patching": "true"}, False),
        ({"restrict_live_patching": "maybe"}, False),
        ({"sku_type": "x"}, False),
    ],
)
def test_live_patching_is_restricted_unless_the_licence_says_false(
    site: Site, licence: dict[str, str], allowed: bool
) -> None:
    site.state["hosts"][ONE]["licence"] = licence
    features = site.host().features
    assert features[LIVE_PATCHING] is allowed
    assert features[UPDATES]
    assert features[MIGRATION]


def test_pending_tasks_in_three_lists(site: Site) -> None:
    site.state["hosts"][ONE] |= {
        "pending-guidances": ["reboot_host", "something_new"],
        "pending-guidances-recommended": [
            "reboot_host_on_xen_livepatch_failure",
            "restart_toolstack",
        ],
        "pending-guidances-full": ["restart_vm"],
        "updates": ["u1", "u2"],
        "updates-requiring-reboot": ["u1"],
    }
    one = site.host()
    assert one.pending == Pending(
        (Task.REBOOT_HOST,),
        (Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE, Task.RESTART_TOOLSTACK),
        (Task.RESTART_VM,),
    )
    assert one.installed_updates == {"u1", "u2"}
    assert one.updates_requiring_reboot == {"u1"}


def test_guests_and_why_they_stay(site: Site) -> None:
    site.state["vms"][VM_ONE] |= {
        "other-config": {"auto_poweron": "true", "note": "x; y"},
        "pending-guidances": ["restart_device_model"],
        "allowed-operations": [],
        "domain-type": "pv-in-pvh",
        "power-state": "paused",
    }
    site.state["vbds"]["drive-3"] |= {"vdi-uuid": "tools", "empty": False}
    site.state["hindered"] = {VM_ONE: "VM_LACKS_FEATURE,OpaqueRef:1"}
    (guest,) = site.host().guests or ()
    assert (guest.power, guest.type, guest.device_model) == (
        PowerState.PAUSED,
        "pvh",
        False,
    )
    assert guest.auto_power_on
    assert not guest.can_suspend
    assert guest.media is Media.TOOLS
    assert (guest.hindrance, guest.detail) == (Hindrance.LACKS_FEATURE, "OpaqueRef:1")
    assert guest.pending == Pending((Task.RESTART_DEVICE_MODEL,))


@pytest.mark.parametrize(
    ("repository", "hindrance"),
    [
        (SHARED, Hindrance.REQUIRES_SHARED_SR),
        (LOCAL, Hindrance.REQUIRES_LOCAL_SR),
        (ISO, Hindrance.REQUIRES_ISO),
    ],
)
def test_which_storage_holds_a_guest(
    site: Site, repository: str, hindrance: Hindrance
) -> None:
    site.state["vdis"]["disk-1"]["sr-uuid"] = repository
    site.state["hindered"] = {VM_ONE: "VM_REQUIRES_SR,OpaqueRef:1,OpaqueRef:2"}
    (guest,) = site.host().guests or ()
    assert guest.hindrance is hindrance


def test_an_unheard_of_reason_is_a_reason(site: Site) -> None:
    site.state["hindered"] = {VM_ONE: "VM_IS_SHY"}
    (guest,) = site.host().guests or ()
    assert guest.hindrance is Hindrance.UNKNOWN


def test_guests_of_one_name_are_told_apart(site: Site) -> None:
    site.state["vms"][VM_TWO]["name-label"] = "web"
    pool = site.managed()
    assert pool.guests == {f"web ({VM_ONE})": VM_ONE, f"web ({VM_TWO})": VM_TWO}


def test_broken_storage_shows(site: Site) -> None:
    site.state["pbds"]["pbd-2"]["currently-attached"] = False
    assert site.host(TWO).storage == (Storage(SHARED, True, False, True),)
    del site.state["pbds"]["pbd-2"]
    assert site.host(TWO).storage == (Storage(SHARED, True, False, True),)


def test_what_the_server_answers_for_an_update(site: Site) -> None:
    answers = {ONE: "Ok: Patch can be applied without reboot.", TWO: "Not like this."}
    site.state["updates"] = {"u1": {"name-label": "hotfix", "answers": answers}}
    one, two = site.managed("u1", "unknown").hosts
    assert one.prechecks == {"u1": ServerPrecheck(LivepatchStatus.COMPLETE)}
    assert two.prechecks["u1"].status is None
    assert two.prechecks["u1"].error == "UPDATE_PRECHECK_FAILED_UNKNOWN_ERROR"
    assert two.prechecks["u1"].parameters == ("u1", "Not like this.")


def test_when_updates_were_fetched_last(site: Site) -> None:
    site.pool["repositories"] = ["r1"]
    site.pool["last-update-sync"] = "19700101T00:00:00Z"
    assert site.managed().synchronised == Synchronisation(None)
    site.pool["last-update-sync"] = "2099-01-01T00:00:00Z"
    site.pool["current-operations"] = ["sync_updates"]
    assert site.managed().synchronised == Synchronisation(0, running=True)
    site.pool["last-update-sync"] = "2020-99-99T00:00:00Z"
    assert site.managed().synchronised == Synchronisation(None, running=True)


def test_an_xapi_that_is_down_is_not_an_empty_pool(site: Site) -> None:
    site.state["down"] = True
    with pytest.raises(InconclusiveError, match=r"XAPI does not answer: .*refused"):
        site.managed()


def test_records_with_values_of_several_lines() -> None:
    text = (
        "uuid ( RO)                : 1\n"
        "          name-label ( RW): one\n"
        "    name-description ( RW): first line\n"
        "second: line\n"
        "\n"
        "third\n"
        "             updates (SRO) [DEPRECATED]: a, b\n"
        "\n\n"
        "uuid ( RO)                : 2\n"
        "          name-label ( RW): <not in database>\n"
    )
    one, two = records(text)
    assert one["name-description"] == "first line\nsecond: line\nthird"
    assert words(one["updates"]) == ("a", "b")
    assert two == {"uuid": "2", "name-label": ""}


def test_maps_whose_values_look_like_maps() -> None:
    assert pairs("a: 1; b: x; y; c: ; d: e: f") == {
        "a": "1",
        "b": "x; y",
        "c": "",
        "d": "e: f",
    }
