"""What happens beside an update: hooks, markers, metrics, the system's log, policy."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.errors import InputError, RefusedError
from lpengine.installer.hooks import Event, hooks_for, run_hooks
from lpengine.installer.journald import encode, tell
from lpengine.installer.markers import (
    Effective,
    EffectiveComponent,
    metrics,
    write_reboot_required,
)
from lpengine.installer.policy import load_policy, opens_at, restricted
from lpengine.installer.site import open_site
from lpengine.journal import RunStatus
from lpengine.package.model import Level, Update
from lpengine.planner.updates.host_policy import (
    DAY,
    WEEK,
    Candidate,
    Day,
    HostPolicy,
    Restrictions,
    Window,
    restrictions,
    until_open,
)
from tests.site_cases import FIRST, TOOL, EmulatedHost, Workshop, api

FILES = {TOOL: b"new tool"}

Hook = Callable[[str, str, str], None]


@pytest.fixture
def hook(emulated_host: EmulatedHost) -> Hook:
    """`hook("pre-apply", "10-name", "exit 1")`."""

    def make(event: str, name: str, script: str) -> None:
        path = emulated_host.root / "etc/lpengine/hooks.d" / event / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


# Hooks


def test_hooks_are_told_what_happens(
    emulated_host: EmulatedHost, workshop: Workshop, hook: Hook
) -> None:
    root = emulated_host.root
    for event in ("pre-plan", "pre-apply", "post-apply", "on-guidance"):
        hook(event, "tell", f"cat >> {root}/told; echo >> {root}/told")
    update = workshop.update(
        source="", files=FILES, guidance={Level.RECOMMENDED: ("RestartToolstack",)}
    )
    outcome = emulated_host.install(update).outcome
    assert outcome is not None
    told = [json.loads(line) for line in (root / "told").read_text().splitlines()]
    assert [one["event"] for one in told] == [
        "pre-plan",
        "pre-apply",
        "post-apply",
        "on-guidance",
    ]
    assert {one["schema"] for one in told} == {"lpengine/hook/1"}
    assert told[-1]["updates"] == [FIRST]
    assert told[-1]["tasks"] == ["restart_toolstack"]
    (entry,) = api.history(emulated_host.here)
    hooks = [e.step.subject for e in entry.steps if e.step.deed == "hook"]
    assert hooks == [f"{one['event']}/tell" for one in told]


@pytest.mark.parametrize("event", ["pre-plan", "pre-apply"])
def test_a_hook_vetoes(
    emulated_host: EmulatedHost, workshop: Workshop, hook: Hook, event: str
) -> None:
    hook(event, "10-no", "echo the backup runs >&2; exit 3")
    hook(event, "20-late", f"touch {emulated_host.root}/late")
    update = workshop.update(files=FILES)
    error: BaseException | None
    try:
        outcome = emulated_host.install(update).outcome
        assert outcome is not None
        error = outcome.cause
    except RefusedError as refused:
        error = refused
    assert isinstance(error, RefusedError)
    assert error.codes == ("LP-DAT-306",)
    assert "10-no" in error.message
    assert "the backup runs" in error.message
    assert emulated_host.read(TOOL) == b"old tool"
    assert not (emulated_host.root / "late").exists()
    (entry,) = api.history(emulated_host.here)
    assert entry.status is RunStatus.ROLLED_BACK
    assert [e.step.subject for e in entry.steps] == [f"{event}/10-no"]


def test_a_hook_that_fails_afterwards_is_a_warning(
    emulated_host: EmulatedHost, workshop: Workshop, hook: Hook
) -> None:
    hook("post-apply", "ticket", "exit 1")
    outcome = emulated_host.install(workshop.update(files=FILES)).outcome
    assert outcome is not None
    assert outcome.status == "done"
    assert outcome.warnings == ("hook post-apply/ticket: status 1",)


def test_a_hook_has_so_long_and_no_longer(
    emulated_host: EmulatedHost, workshop: Workshop, hook: Hook
) -> None:
    (emulated_host.root / "etc/lpengine/host.toml").write_text("patience = 1\n")
    hook("pre-apply", "sleepy", "sleep 30")
    start = time.monotonic()
    outcome = emulated_host.install(workshop.update(files=FILES)).outcome
    assert time.monotonic() - start < 20
    assert outcome is not None
    assert "did not end" in outcome.error


def test_only_programs_with_plain_names_are_hooks(
    emulated_host: EmulatedHost, hook: Hook
) -> None:
    for name in ("ten", "20-b", "a.bak", "b~", "c.dpkg-dist"):
        hook("pre-plan", name, "exit 0")
    (emulated_host.root / "etc/lpengine/hooks.d/pre-plan/ten").chmod(0o644)
    site = emulated_host.here.site
    assert [path.name for path in hooks_for(site, Event.PRE_PLAN)] == ["20-b"]
    (run,) = run_hooks(site, Event.PRE_PLAN, {})
    assert run.error == ""


# Markers


def effective(required: bool, *reasons: str) -> Effective:
    return Effective((), (), (), required, reasons, ())


def test_lines_of_others_stay(tmp_path: Path) -> None:
    marker, packages = tmp_path / "reboot-required", tmp_path / "reboot-required.pkgs"
    marker.write_text("*** System restart required ***\n")
    packages.write_text("linux-base\nlpengine:OLD\n")
    write_reboot_required(tmp_path, effective(True, "NEW"))
    assert packages.read_text() == "linux-base\nlpengine:NEW\n"
    write_reboot_required(tmp_path, effective(False))
    assert packages.read_text() == "linux-base\n"
    assert marker.exists()


def test_a_marker_of_others_without_a_list_stays(tmp_path: Path) -> None:
    marker = tmp_path / "reboot-required"
    marker.write_text("*** System restart required ***\n")
    write_reboot_required(tmp_path, effective(True, "NEW"))
    write_reboot_required(tmp_path, effective(False))
    assert marker.exists()
    assert not (tmp_path / "reboot-required.pkgs").exists()


def test_our_own_marker_comes_and_goes(tmp_path: Path) -> None:
    write_reboot_required(tmp_path, effective(True, "NEW"))
    assert (tmp_path / "reboot-required").exists()
    assert (tmp_path / "reboot-required.pkgs").read_text() == "lpengine:NEW\n"
    write_reboot_required(tmp_path, effective(False))
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_what_prometheus_reads() -> None:
    found = metrics(
        Effective(
            (EffectiveComponent("xen", "ab", "1", "2", ('odd"\\name\n',)),),
            ("LPU-1",),
            ("restart_toolstack",),
            True,
            (),
            ("kernel",),
            True,
            "2026-11-25T12:00:00.500Z",
        )
    )
    lines = found.splitlines()
    labels = 'component="xen",name="odd\\"\\\\name\\n",state="applied"'
    assert f"lpengine_patch_state{{{labels}}} 1" in lines
    assert "lpengine_memory_disk_mismatch 1" in lines
    assert "lpengine_last_change_timestamp_seconds 1795608000" in lines
    assert 'lpengine_pending_guidance{guidance="restart_toolstack"} 1' in lines
    assert "lpengine_reboot_required 1" in lines
    assert 'lpengine_livepatch_failed{component="kernel"} 1' in lines
    assert "lpengine_updates_installed 1" in lines
    assert found.endswith("\n")


def test_metrics_go_where_the_collector_looks(
    emulated_host: EmulatedHost, workshop: Workshop
) -> None:
    directory = emulated_host.root / "var/lib/prometheus/node-exporter"
    directory.mkdir(parents=True)
    emulated_host.install(workshop.update(files=FILES))
    (file,) = directory.iterdir()
    assert file.name == "lpengine.prom"
    assert "lpengine_reboot_required 0" in file.read_text()


def test_a_place_that_cannot_be_written_is_a_warning(
    emulated_host: EmulatedHost, workshop: Workshop
) -> None:
    (emulated_host.root / "run").write_text("a file in the way")
    outcome = emulated_host.install(workshop.update(files=FILES)).outcome
    assert outcome is not None
    assert outcome.status == "done"
    (warning,) = outcome.warnings
    assert "run" in warning


# The system's log


@pytest.fixture
def listener(emulated_host: EmulatedHost) -> Iterator[socket.socket]:
    """Where journald listens."""
    place = emulated_host.root / "run/systemd/journal"
    place.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        here = Path.cwd()
        os.chdir(place)  # a socket's path has 108 bytes at most
        try:
            made.bind("socket")
        finally:
            os.chdir(here)
        made.settimeout(5)
        yield made


def test_a_run_is_told_to_journald(
    emulated_host: EmulatedHost, workshop: Workshop, listener: socket.socket
) -> None:
    emulated_host.install(workshop.update(files=FILES))
    entry = listener.recv(1 << 16).decode()
    assert f"LPENGINE_UPDATES={FIRST}\n" in entry
    assert "LPENGINE_OUTCOME=done\n" in entry
    assert "LPENGINE_ACTION=install\n" in entry


def test_journald_gets_fields(
    emulated_host: EmulatedHost, listener: socket.socket
) -> None:
    site = emulated_host.here.site
    tell(site, "two\nlines", {"plan_id": "ab12"}, warning=True)
    data = listener.recv(1 << 16)
    assert b"PRIORITY=4\n" in data
    assert b"SYSLOG_IDENTIFIER=lpengine\n" in data
    assert b"LPENGINE_PLAN_ID=ab12\n" in data
    assert b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\n" in data


def test_a_plain_field_is_one_line() -> None:
    assert encode({"A": "b=c"}) == b"A=b=c\n"


# Policy


def test_a_window_over_midnight() -> None:
    window = Window(frozenset({Day.FRI}), 22 * 60, 4 * 60)
    friday = 1 * DAY  # 1970-01-02
    assert until_open([window], friday + 22 * 60 - 1) == 1
    assert until_open([window], friday + 22 * 60) == 0
    assert until_open([window], friday + DAY + 4 * 60 - 1) == 0
    assert until_open([window], friday + DAY + 4 * 60) == WEEK - 6 * 60
    assert until_open([window], friday + DAY + 22 * 60) == 6 * DAY


def test_the_next_of_several_windows_counts() -> None:
    morning, evening = Window(start=60, end=120), Window(start=1200, end=1260)
    assert until_open([morning, evening], 600) == 600
    assert until_open([], 600) == 0


@given(
    days=st.frozensets(st.sampled_from(Day), min_size=1),
    start=st.integers(0, DAY - 1),
    end=st.integers(0, DAY - 1),
    now=st.integers(0, 20 * WEEK),
)
def test_a_window_opens_when_it_says(
    days: frozenset[Day], start: int, end: int, now: int
) -> None:
    """Held against going through the minutes of two weeks, one by one."""
    window = Window(days, start, end)

    def is_open(minute: int) -> bool:
        for back in (0, 1):
            day, into = minute // DAY - back, minute % DAY + back * DAY
            named = Day((day + 3) % 7) in days
            if named and start <= into < start + window.length:
                return True
        return False

    wait = until_open([window], now)
    assert is_open(now + wait)
    assert not any(map(is_open, range(now, now + wait, max(1, wait // 50))))
    assert not wait or not is_open(now + wait - 1)


def test_an_update_has_to_be_old_enough_and_it_has_to_be_time() -> None:
    policy = HostPolicy(delay=3 * DAY, windows=(Window(start=60, end=120),))
    young = [Candidate("a", issued=10 * DAY), Candidate("b")]
    assert restrictions(policy, young, 11 * DAY).wait == 2 * DAY + 60
    assert restrictions(policy, young, 13 * DAY + 90) == Restrictions()


def test_holds_name_updates() -> None:
    policy = HostPolicy(hold=frozenset({"b"}))
    assert restrictions(policy, [Candidate("a")], 0).held == ""
    assert "b" in restrictions(policy, [Candidate("b")], 0).held
    assert restrictions(HostPolicy(held="audit"), [], 0).held == "audit"


def test_a_policy_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        'live_patching = "enforce"\ndelay = "2d"\nhold = ["LPU-7"]\n'
        'pinned = ["kernel"]\nutc = true\n\n[[windows]]\ndays = ["sat", "sun"]\n'
        'start = "22:00"\nend = "04:00"\n'
    )
    policy, utc = load_policy(path)
    assert utc
    assert policy.delay == 2 * DAY
    assert policy.pinned == {"kernel"}
    (window,) = policy.windows
    assert window == Window(frozenset({Day.SAT, Day.SUN}), 22 * 60, 4 * 60)
    update = Update("LPU-1", issued="2026-11-25T12:00:00Z")
    now = datetime(2026, 11, 25, 13, 30, 20, tzinfo=UTC)  # a Wednesday
    found = restricted(policy, [update], now, utc=utc)
    assert opens_at(found, now) == "2026-11-28T22:00:00Z"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("delay = 'a while'", "delay"),
        ("unknown = 1", "unknown"),
        ("[[windows]]\nstart = '25:00'", "25:00"),
        ("[[windows]]\ndays = ['someday']", "someday"),
        ("live_patching = 'perhaps'", "perhaps"),
        ("not toml", "policy.toml"),
    ],
)
def test_what_makes_no_sense_in_a_policy_is_named(
    tmp_path: Path, text: str, wrong: str
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=wrong):
        load_policy(path)


def test_what_makes_no_sense_in_host_toml_is_named(tmp_path: Path) -> None:
    settings = tmp_path / "etc/lpengine"
    settings.mkdir(parents=True)
    (settings / "host.toml").write_text("[commands]\nfly = ['true']\n")
    with pytest.raises(InputError, match=r"host\.toml.*fly"):
        open_site(tmp_path)


def test_a_tree_of_files_never_gets_this_machines_targets(tmp_path: Path) -> None:
    assert open_site(tmp_path).targets == {}
    assert open_site(tmp_path, components={"xen": "emulated:x"}).targets == {
        "xen": "emulated:x"
    }
    assert open_site().targets == {"xen": "xen", "kernel": "linux"}
