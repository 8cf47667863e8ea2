"""Whole hosts, looked at by the script that looks at real ones."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from lpengine.errors import InconclusiveError
from lpengine.hosts import DEFAULT_TIMEOUT, Completed, LocalHost
from lpengine.package.model import Task, Version
from lpengine.planner.updates.state import (
    Crash,
    Guest,
    Hindrance,
    Pending,
    PowerState,
    RunningComponent,
)
from lpengine.targets.host.answers import split
from lpengine.targets.host.engine import Place
from lpengine.targets.host.observe import Seen, look
from lpengine.targets.host.packages import debian_packages, rpm_packages
from tests import host_tree
from tests.host_tree import HEADING, KERNEL_BUILD_ID, XEN_BUILD_ID, Outside

FROM, TO = Version("4.17.5", "8"), Version("4.17.5", "9")
LIVEPATCH = "lp_4.17.5-8-4.17.5-9"


def seen(root: Path, document: Mapping[str, object] | None = None) -> Seen:
    return look(Outside(document), "host1", Place(str(root)))


def component(found: Seen, name: str) -> RunningComponent:
    (one,) = [each for each in found.state.running if each.component == name]
    return one


def test_this_machine_can_be_looked_at() -> None:
    found = look(Outside(), "here")
    assert found.state.boot_id == LocalHost().boot_id()
    assert found.state.live
    assert found.state.free_disk


def test_a_plain_linux(tmp_path: Path) -> None:
    found = seen(host_tree.linux(tmp_path))
    assert component(found, "kernel") == RunningComponent("kernel", KERNEL_BUILD_ID)
    assert found.state.not_running == {"xen"}
    assert found.state.guests == ()
    assert found.system == "Debian GNU/Linux 12"
    assert found.state.pending == Pending()


def test_a_disabled_module_is_not_running(tmp_path: Path) -> None:
    root = host_tree.linux(tmp_path)
    name = "lp_6_1_1__1__6_1_1__2"
    host_tree.enable_livepatch(root, name, 0)
    assert component(seen(root), "kernel").to is None
    host_tree.enable_livepatch(root, name, 1)
    assert component(seen(root), "kernel").to == Version("6.1.1", "2")
    host_tree.enable_livepatch(root, name, 1, transition=1)
    assert component(seen(root), "kernel").to is None


def test_kpatch_tells_where_the_kernel_does_not(tmp_path: Path) -> None:
    root = host_tree.linux(tmp_path)
    (root / "sys/kernel/livepatch").rmdir()
    listing = (
        "Loaded patch modules:\nlp_1__1__1__3 [enabled]\n\nInstalled patch modules:\n"
    )
    host_tree.printing(root, "/usr/sbin/kpatch", {"list": listing})
    assert component(seen(root), "kernel").to == Version("1", "3")


def test_a_xen_and_its_newest_payload(tmp_path: Path) -> None:
    rows = f"{LIVEPATCH}| APPLIED    | \nlp_4.17.5-8-4.17.5-10| APPLIED    | \n"
    found = seen(host_tree.xen(tmp_path, listing=HEADING + rows))
    running = component(found, "xen")
    assert running == RunningComponent(
        "xen", XEN_BUILD_ID, Version("4.17.5", "10"), FROM
    )
    assert found.state.not_running == frozenset()
    assert found.state.guests == ()


def test_somebodys_own_payload_says_nothing(tmp_path: Path) -> None:
    root = host_tree.xen(tmp_path, listing=f"{HEADING}hello| APPLIED    | \n")
    assert component(seen(root), "xen") == RunningComponent("xen", XEN_BUILD_ID)


@pytest.mark.parametrize(
    "listing",
    ["", "failed\n", f"{HEADING}lp_odd| APPLIED    | \n"],
    ids=["silent", "prose", "odd-name"],
)
def test_a_doubtful_list_is_half_known(tmp_path: Path, listing: str) -> None:
    running = component(seen(host_tree.xen(tmp_path, listing=listing)), "xen")
    assert running.half_known
    assert running.to is None


def test_a_xen_without_its_tools(tmp_path: Path) -> None:
    """The build id comes from the kernel, the stack from nobody: not known."""
    root = host_tree.xen(tmp_path)
    for name in ("xl", "xen-livepatch"):
        (root / "usr/sbin" / name).unlink()
    host_tree.write(root, "/sys/hypervisor/properties/buildid", XEN_BUILD_ID)
    host_tree.write(root, "/sys/hypervisor/version/major", "4\n")
    host_tree.write(root, "/sys/hypervisor/version/minor", "17\n")
    found = seen(root)
    assert component(found, "xen") == RunningComponent(
        "xen", XEN_BUILD_ID, half_known=True
    )
    assert found.builds[0].version == "4.17"
    assert found.state.guests == ()


def test_raw_bytes_are_a_build_id_only_where_they_are_whole(tmp_path: Path) -> None:
    root = host_tree.xen(tmp_path)
    (root / "usr/sbin/xl").unlink()
    raw = bytes.fromhex(XEN_BUILD_ID)
    host_tree.write(root, "/sys/hypervisor/properties/buildid", raw)
    assert component(seen(root), "xen").build_id == XEN_BUILD_ID
    host_tree.write(root, "/sys/hypervisor/properties/buildid", raw[:7])
    assert component(seen(root), "xen").build_id == ""


def test_a_guest_of_somebody_elses_xen_has_none_of_its_own(tmp_path: Path) -> None:
    root = host_tree.linux(tmp_path)
    host_tree.write(root, "/sys/hypervisor/type", "xen\n")
    host_tree.write(root, "/proc/xen/capabilities", "\n")
    assert seen(root).state.not_running == {"xen"}


def test_damaged_notes_are_no_build_id(tmp_path: Path) -> None:
    root = host_tree.linux(tmp_path)
    host_tree.write(root, "/sys/kernel/notes", host_tree.notes(KERNEL_BUILD_ID)[:-8])
    assert component(seen(root), "kernel").build_id == ""


def test_guests_of_a_plain_xen(tmp_path: Path) -> None:
    root = host_tree.xen(tmp_path)
    listing = (
        "Name                     ID   Mem VCPUs\tState\tTime(s)\n"
        "Domain-0                  0  4096     4     r-----     100.0\n"
        "web one                   3   512     1     -b----      10.1\n"
        "db                        4   512     1     --p---      10.1\n"
    )
    domains = '[{"domid": 4, "config": {"c_info": {"type": "pv"}}}]'
    answers = {"info": host_tree.XL_INFO.format(build_id=XEN_BUILD_ID)}
    host_tree.printing(
        root, "/usr/sbin/xl", {**answers, "list": listing, "list -l": domains}
    )
    host_tree.write(root, "/var/run/xen/qmp-libxl-3", "")
    nowhere = Hindrance.NO_HOSTS
    assert seen(root).state.guests == (
        Guest("web one", type="hvm", device_model=True, hindrance=nowhere),
        Guest("db", PowerState.PAUSED, "pv", device_model=False, hindrance=nowhere),
    )


def test_guests_that_cannot_be_listed_are_not_known(tmp_path: Path) -> None:
    root = host_tree.xen(tmp_path)
    answers = {"info": host_tree.XL_INFO.format(build_id=XEN_BUILD_ID)}
    for more in ({}, {"list": "nonsense\n"}):
        host_tree.printing(root, "/usr/sbin/xl", {**answers, **more})
        assert seen(root).state.guests is None


def test_without_a_xenstore_nobody_waits_for_one(tmp_path: Path) -> None:
    """xl would hang; and nothing can have started a guest."""
    root = host_tree.xen(tmp_path)
    (root / "run/xenstored/socket").unlink()
    (root / "run/xenstored").rmdir()
    host_tree.program(root, "/usr/sbin/xl", "sleep 600")
    host_tree.write(root, "/sys/hypervisor/properties/buildid", XEN_BUILD_ID)
    found = seen(root)
    assert found.state.guests == ()
    assert component(found, "xen").build_id == XEN_BUILD_ID


def test_updates_of_earlier_generations(tmp_path: Path) -> None:
    root = host_tree.xen(tmp_path)
    host_tree.write(root, "/var/update/applied/1111-2222", "")
    host_tree.write(root, "/run/reboot-required.hfxs", "1111-2222\n3333\n")
    state = seen(root).state
    assert state.installed_updates == {"1111-2222"}
    assert state.updates_requiring_reboot == {"1111-2222", "3333"}


def test_what_an_lpengine_there_tells_is_believed(tmp_path: Path) -> None:
    to = {"version": "4.17.5", "release": "9", "epoch": None}
    told = host_tree.engine(
        versions=[{"component": "xen", "name": "hello", "to": to}],
        installed_updates=["A"],
        pending={"mandatory": ["reboot_host"], "recommended": [], "full": []},
        updates_requiring_reboot=["A"],
        failed=["kernel"],
        crashed=[{"component": "xen", "name": "bad", "to": None}],
        operations=["lpengine install, pid 1"],
        held="by ana",
        pinned=["kernel"],
        closed_until="2026-11-25T22:00:00Z",
    )
    told["components"] = [
        {
            "component": "xen",
            "build_id": XEN_BUILD_ID,
            "booted": "4.17.5-8",
            "applied": ["hello"],
        },
        {
            "component": "process:web",
            "build_id": "ab" * 20,
            "booted": "",
            "applied": None,
        },
    ]
    state = seen(host_tree.linux(tmp_path), told).state
    assert state.running == (
        RunningComponent("xen", XEN_BUILD_ID, TO),
        RunningComponent("process:web", "ab" * 20, half_known=True),
    )
    assert state.not_running == {"kernel"}
    assert state.pending == Pending(mandatory=(Task.REBOOT_HOST,))
    assert state.installed_updates == state.updates_requiring_reboot == {"A"}
    assert state.failed == state.pinned == {"kernel"}
    assert state.crashed == (Crash("xen"),)
    assert (state.operations, state.held) == (("lpengine install, pid 1",), "by ana")
    assert state.closed_until == "2026-11-25T22:00:00Z"


def test_a_component_that_nobody_tells_of_is_not_known(tmp_path: Path) -> None:
    place = Place(str(host_tree.linux(tmp_path)), components={"xen": "emulated:X"})
    found = look(Outside(host_tree.engine()), "host1", place)
    assert component(found, "xen") == RunningComponent("xen", "", half_known=True)


@pytest.mark.parametrize(
    "document",
    [{}, {"schema": "lpengine/status/1"}, host_tree.engine(pending={"never": []})],
)
def test_an_lpengine_that_makes_no_sense_leaves_a_host_unknown(
    tmp_path: Path, document: dict[str, object]
) -> None:
    with pytest.raises(InconclusiveError, match="does not say how the host is"):
        seen(host_tree.linux(tmp_path), document)


def test_packages_of_debian() -> None:
    listing = (
        "ii \txen-utils\t4.17.3+10-g091466ba55-1~deb12u1\tamd64\n"
        "hi \theld\t1:2-3\tall\n"
        "rc \tgone\t1\tamd64\n"
        "un \tnever\t\t\n"
        "iF \thalf\t2.0\tamd64\n"
    )
    assert debian_packages(listing) == {
        "xen-utils.amd64": Version("4.17.3+10-g091466ba55", "1~deb12u1"),
        "held.all": Version("2", "3", 1),
        "half.amd64": None,
    }
    assert debian_packages("ii \tcut off") is None


def test_packages_of_rpm() -> None:
    listing = (
        "xen-hypervisor\t(none)\t4.17.5\t8.xs8\tx86_64\n"
        "kernel\t0\t4.19.19\t8.0.33\tx86_64\n"
        "kernel\t0\t4.19.19\t8.0.9\tx86_64\n"
        "gpg-pubkey\t(none)\t1\t2\t(none)\n"
    )
    assert rpm_packages(listing) == {
        "xen-hypervisor.x86_64": Version("4.17.5", "8.xs8"),
        "kernel.x86_64": Version("4.19.19", "8.0.33", 0),
        "gpg-pubkey.(none)": Version("1", "2"),
    }
    assert rpm_packages("one two three") is None


def test_a_host_without_a_boot_id_is_none() -> None:
    with pytest.raises(InconclusiveError, match="boot id"):
        look(Outside(), "host1", Place("/nonexistent"))


class Broken(Outside):
    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> Completed:
        done = super().run(argv, input=input, timeout=timeout)
        return Completed(done.status, done.stdout[:-20], b"broken pipe\n")


def test_an_answer_that_breaks_off_is_none(tmp_path: Path) -> None:
    with pytest.raises(InconclusiveError, match="broken pipe"):
        look(Broken(), "host1", Place(str(host_tree.linux(tmp_path))))


def test_what_is_shown_cannot_forge_an_answer() -> None:
    output = (
        b"Wbegin x\nWword begin one\nbad begin two\nlie\nbad end two 0\n"
        b"\nWword end one 0\n"
    )
    answers = split(output, b"Wword")
    assert list(answers.found) == ["one"]
    assert answers["one"].text == "bad begin two\nlie\nbad end two 0\n"
    assert answers["two"].status == 127
