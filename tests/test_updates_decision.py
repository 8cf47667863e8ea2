"""The decision for a host: coverage by component, one effective status, guidance."""

from dataclasses import replace

import pytest

from lpengine.package.model import Defect, Level, Task
from lpengine.planner.plan import Verdict
from lpengine.planner.updates import (
    DEFAULT_POLICY,
    Coverage,
    Crash,
    HostState,
    LivePatching,
    LivepatchStatus,
    PackageRow,
    Pending,
    RunningComponent,
    ServerPrecheck,
    decide_host,
)
from tests.fleet_cases import (
    DEVICE_MODEL,
    EVACUATE,
    LICENSED,
    NEW,
    OLD,
    REBOOT,
    RESTART_VM,
    TOOLSTACK,
    asking,
    causes,
    condition,
    disk_file,
    host,
    livepatch,
    package,
    pool,
    runs,
    tasks,
    update,
    version,
)

COMPLETE, INCOMPLETE, NONE = (
    LivepatchStatus.COMPLETE,
    LivepatchStatus.INCOMPLETE,
    LivepatchStatus.NONE,
)
XEN_ONLY = update(1, livepatch(6))
BOTH = update(2, livepatch(6), livepatch(6, "kernel"))
PLAIN = update(3)


def test_a_live_patch_for_everything_spares_the_reboot() -> None:
    plan = decide_host([BOTH], host(runs(), runs("kernel")))
    assert plan.status is plan.effective is COMPLETE
    assert plan.apply == (livepatch(6), livepatch(6, "kernel"))
    assert plan.covered == ("U2",)
    assert plan.install == ("U2",)
    assert plan.no_action_required
    assert plan.verdict is Verdict.READY


def test_one_component_of_two_is_a_reboot_as_if_there_were_none() -> None:
    plan = decide_host([BOTH], host(runs(), runs("kernel", NEW)))
    assert plan.status is plan.effective is INCOMPLETE
    assert plan.uncovered == ("kernel",)
    assert plan.apply == (livepatch(6),)
    assert plan.guidance[Level.RECOMMENDED] == (REBOOT,)
    assert tasks(plan) == {REBOOT}
    assert plan.covered == ()


def test_an_update_without_live_patch_changes_nothing() -> None:
    plan = decide_host([PLAIN], host(runs()))
    assert plan.status is plan.effective is NONE
    assert plan.uncovered == ("",)
    assert tasks(plan) == {REBOOT}
    assert causes(plan) == {"no-live-patch"}


def test_an_update_that_asks_for_nothing_needs_nothing() -> None:
    plan = decide_host([update(1, guidance={})], host(runs()))
    assert plan.no_action_required
    assert plan.uncovered == ()
    assert plan.install == ("U1",)


def test_a_live_patched_update_beside_one_without_is_incomplete() -> None:
    plan = decide_host([XEN_ONLY, PLAIN], host(runs()))
    assert plan.status is INCOMPLETE
    assert tasks(plan) == {REBOOT}


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        (runs(build_id=NEW), "build-not-served"),
        (runs(build_id=""), "build-unknown"),
        (runs(half_known=True), "half-known"),
        (None, "build-unknown"),
    ],
)
def test_what_is_not_known_to_be_fixed_is_rebooted(
    record: RunningComponent | None, cause: str
) -> None:
    running = () if record is None else (record,)
    state = host(*running, not_running=frozenset())
    plan = decide_host([XEN_ONLY], state)
    assert plan.uncovered == ("xen",)
    assert causes(plan) == {cause}
    assert tasks(plan) == {REBOOT}


def test_the_end_of_life_of_a_build_is_a_reboot_with_its_reason() -> None:
    updates = [
        update(1, livepatch(5), livepatch(5, base=OLD)),
        update(2, livepatch(6)),
    ]
    plan = decide_host(updates, host(runs(build_id=OLD)))
    assert plan.apply == ()
    assert causes(plan) == {"build-end-of-life"}
    assert tasks(plan) == {REBOOT}


def test_a_component_that_does_not_run_needs_nothing() -> None:
    plan = decide_host([XEN_ONLY], host(runs("kernel")))
    assert [one.coverage for one in plan.components] == [Coverage.NOT_RUNNING]
    assert plan.no_action_required


def test_what_is_on_already_is_in_effect_and_the_disk_follows() -> None:
    plan = decide_host([XEN_ONLY], host(runs(to=6)))
    assert [one.coverage for one in plan.components] == [Coverage.IN_EFFECT]
    assert plan.effective is COMPLETE
    assert plan.apply == ()
    assert plan.install == ("U1",)
    assert plan.no_action_required


def test_a_build_that_is_as_new_needs_no_live_patch() -> None:
    plan = decide_host([XEN_ONLY], host(runs(build_id=NEW, booted=version(6))))
    assert plan.no_action_required
    plan = decide_host([XEN_ONLY], host(runs(build_id=NEW, booted=version(5))))
    assert tasks(plan) == {REBOOT}


def test_cumulative_updates_are_covered_by_the_newest() -> None:
    updates = [update(number, livepatch(number)) for number in (2, 3, 4)]
    plan = decide_host(updates, host(runs(to=2)))
    assert plan.apply == (livepatch(4),)
    (component,) = plan.components
    assert component.source == "U4"
    assert component.covers == ("U2", "U3", "U4")
    assert plan.no_action_required


def test_two_builds_of_a_process_are_each_looked_at() -> None:
    name = "process:nginx"
    updates = [update(1, livepatch(6, name), livepatch(6, name, base=OLD))]
    state = host(runs(name), runs(name, OLD))
    plan = decide_host(updates, state)
    assert len(plan.apply) == 2
    assert plan.no_action_required
    plan = decide_host(updates, host(runs(name), runs(name, NEW)))
    assert len(plan.apply) == 1
    assert plan.uncovered == (name,)


def test_an_uncovered_process_is_restarted() -> None:
    name = "process:nginx"
    guided = update(1, livepatch(6, name), guidance={})
    plan = decide_host([guided], host(runs(name, NEW)))
    assert [(one.task, one.target) for one in plan.after] == [
        (Task.RESTART_PROCESS, "nginx")
    ]


def test_a_component_without_guidance_is_rebooted_all_the_same() -> None:
    plan = decide_host([update(1, components=("xen",), guidance={})], host(runs()))
    assert tasks(plan) == {REBOOT}
    assert causes(plan) == {"no-live-patch"}


@pytest.mark.parametrize(
    ("changes", "suppressed"),
    [
        ({"live_patching": False}, "live-patching-disabled"),
        ({}, "not-licensed"),
    ],
)
def test_switch_and_licence_make_one_effective_status(
    changes: dict[str, bool], suppressed: str
) -> None:
    features = {} if suppressed == "not-licensed" else None
    state = host(runs()) if features is None else host(runs(), features=features)
    plan = decide_host([XEN_ONLY], state, replace(pool(state), **changes))
    assert plan.status is COMPLETE
    assert plan.effective is NONE
    assert plan.suppressed == suppressed
    assert plan.apply == ()
    assert plan.uncovered == ("xen",)
    assert tasks(plan) == {REBOOT}
    assert causes(plan) == {suppressed}


def test_the_licence_of_a_pool_is_that_of_all_its_hosts() -> None:
    licensed, other = host(runs()), host(runs(), features={"live_patching": False})
    plan = decide_host([XEN_ONLY], licensed, pool(licensed, other))
    assert plan.suppressed == "not-licensed"


def test_the_policy_may_switch_live_patching_off() -> None:
    policy = replace(DEFAULT_POLICY, live_patching=LivePatching.DISABLED)
    plan = decide_host([XEN_ONLY], host(runs()), policy=policy)
    assert plan.suppressed == "live-patching-disabled"
    assert tasks(plan) == {REBOOT}


def test_where_nothing_is_left_to_apply_the_switch_does_not_matter() -> None:
    state = host(runs(to=6), features={})
    plan = decide_host([XEN_ONLY], state)
    assert plan.suppressed == ""
    assert plan.effective is COMPLETE
    assert plan.no_action_required


def test_a_mandatory_reboot_suppresses_live_patches() -> None:
    mandatory = replace(PLAIN, guidance=asking(mandatory="reboot_host"))
    plan = decide_host([XEN_ONLY, mandatory], host(runs()))
    assert plan.suppressed == "mandatory-reboot"
    assert plan.apply == ()
    assert plan.guidance == {
        Level.MANDATORY: (REBOOT,),
        Level.RECOMMENDED: (),
        Level.FULL: (),
    }


def test_a_mandatory_reboot_is_no_less_one_where_the_fix_is_in_memory() -> None:
    mandatory = replace(XEN_ONLY, guidance=asking(mandatory="reboot_host"))
    plan = decide_host([mandatory], host(runs(to=6)))
    assert plan.covered == ("U1",)
    assert (plan.status, plan.effective) == (COMPLETE, NONE)
    assert plan.suppressed == "mandatory-reboot"
    assert tasks(plan) == {REBOOT}


def test_a_mandatory_reboot_suppresses_them_until_it_is_done() -> None:
    """The update that demands it is on the disk already."""
    mandatory = replace(XEN_ONLY, guidance=asking(mandatory="reboot_host"))
    state = host(
        runs(),
        installed_updates=frozenset({"U1"}),
        pending=Pending(mandatory=(REBOOT,)),
    )
    plan = decide_host([mandatory], state)
    assert (plan.apply, plan.verdict) == ((), Verdict.NOTHING)
    assert plan.suppressed == "mandatory-reboot"
    assert tasks(plan) == {REBOOT}


def test_a_recommended_reboot_does_not_suppress_them() -> None:
    plan = decide_host([XEN_ONLY, PLAIN], host(runs()))
    assert plan.apply == (livepatch(6),)


def test_guidance_for_live_patches_takes_the_place_of_the_recommended() -> None:
    guided = replace(
        BOTH, guidance=asking("", "reboot_host", "reboot_host", "restart_toolstack")
    )
    plan = decide_host([guided], host(runs(), runs("kernel")))
    assert plan.guidance[Level.RECOMMENDED] == (TOOLSTACK,)
    assert plan.guidance[Level.FULL] == (REBOOT,)
    assert tasks(plan) == {TOOLSTACK}
    partly = decide_host([guided], host(runs(), runs("kernel", NEW)))
    assert partly.guidance[Level.RECOMMENDED] == (REBOOT,)


def test_mandatory_and_full_guidance_are_never_softened() -> None:
    guided = replace(
        XEN_ONLY, guidance=asking("evacuate_host", "reboot_host", "restart_vm")
    )
    plan = decide_host([guided], host(runs()))
    assert plan.guidance[Level.MANDATORY] == (EVACUATE,)
    assert plan.guidance[Level.FULL] == (RESTART_VM,)


def test_a_live_patch_that_failed_is_tried_again_where_the_disk_is_done() -> None:
    guided = replace(XEN_ONLY, guidance=asking("", "reboot_host", "", "restart_vm"))
    left = Pending(recommended=(Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE,))
    state = host(
        runs(),
        installed_updates=frozenset({"U1"}),
        failed=frozenset({"xen"}),
        pending=left,
    )
    plan = decide_host([guided], state)
    assert plan.install == ()
    assert plan.apply == (livepatch(6),)
    assert plan.verdict is Verdict.READY
    # Its guidance counts though the update is installed; success clears the failure.
    assert tasks(plan) == {RESTART_VM}
    assert plan.pending_after == Pending()
    assert "failed-before" in causes(plan)


def test_an_installed_update_that_is_not_in_memory_is_not_up_to_date() -> None:
    updates = [update(1, livepatch(5, base=OLD)), update(2, livepatch(6))]
    installed = frozenset({"U1", "U2"})
    state = host(runs(build_id=OLD), installed_updates=installed)
    plan = decide_host(updates, state)
    assert plan.install == ()
    assert tasks(plan) == {REBOOT}


def test_an_earlier_update_that_waits_for_a_boot_is_a_reboot() -> None:
    state = host(runs(), updates_requiring_reboot=frozenset({"U9"}))
    assert tasks(decide_host([], state)) == {REBOOT}


FAILED = Task.REBOOT_ON_KERNEL_LIVEPATCH_FAILURE


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"pending": Pending(recommended=(FAILED,))}, ["kernel: a live patch failed"]),
        ({"pending": Pending(recommended=(TOOLSTACK,))}, ["restart_toolstack is left"]),
        ({"pending": Pending(full=(REBOOT,))}, []),
        (
            {"updates_requiring_reboot": frozenset({"U9", "U8"})},
            ["U8, U9 installed, and not"],
        ),
        ({"toolstack_restart_pending": True}, ["the toolstack is older"]),
    ],
)
def test_it_is_said_what_earlier_updates_have_left(
    changes: dict[str, object], told: list[str]
) -> None:
    """Tasks that this update does not ask for would have no reason else."""
    plan = decide_host([XEN_ONLY], host(runs(), **changes))
    found = [one for one in plan.findings if one.cause == "left-before"]
    assert bool(tasks(plan)) == bool(told)
    for one, words in zip(found, told, strict=True):
        assert words in f"{one.subject}: {one.observed}"


def test_a_failure_that_is_made_up_for_is_none_that_is_left() -> None:
    left = Pending(recommended=(FAILED,))
    plan = decide_host([BOTH], host(runs(), runs("kernel"), pending=left))
    assert tasks(plan) == set()
    assert "left-before" not in causes(plan)


def test_an_earlier_update_may_be_live_patched_now() -> None:
    waiting = frozenset({"U1"})
    state = host(runs(), installed_updates=waiting, updates_requiring_reboot=waiting)
    assert decide_host([XEN_ONLY], state).no_action_required
    other = replace(state, running=(runs(build_id=NEW),))
    assert tasks(decide_host([XEN_ONLY], other)) == {REBOOT}


def test_a_live_patch_that_the_host_did_not_survive_is_left_alone() -> None:
    state = host(runs(), crashed=(Crash("xen", version(6)),))
    plan = decide_host([XEN_ONLY], state)
    assert plan.apply == ()
    assert causes(plan) == {"crashed-before"}
    assert tasks(plan) == {REBOOT}
    newer = decide_host([XEN_ONLY, update(9, livepatch(7))], state)
    assert newer.apply == (livepatch(7),)
    again = replace(DEFAULT_POLICY, retry_crashed=True)
    assert decide_host([XEN_ONLY], state, policy=again).apply == (livepatch(6),)


def test_a_component_that_is_held_is_not_live_patched() -> None:
    plan = decide_host([XEN_ONLY], host(runs(), pinned=frozenset({"xen"})))
    assert causes(plan) == {"component-held"}
    assert tasks(plan) == {REBOOT}


def test_malformed_live_patches_leave_the_component_uncovered() -> None:
    doubtful = replace(BOTH, defects=(Defect("livepatches[1].to", "bad", "xen"),))
    plan = decide_host([doubtful], host(runs(), runs("kernel")))
    assert plan.uncovered == ("xen",)
    assert plan.apply == (livepatch(6, "kernel"),)
    assert causes(plan) == {"live-patch-malformed", "update-malformed"}


def test_an_unknown_word_is_a_reboot_and_is_told() -> None:
    plan = decide_host([update(1, guidance=asking("", "dance"))], host(runs()))
    assert tasks(plan) == {REBOOT}
    assert "guidance-unknown" in causes(plan)


@pytest.mark.parametrize(
    ("status", "effective", "reboots"),
    [
        (COMPLETE, COMPLETE, False),
        (INCOMPLETE, INCOMPLETE, True),
        (NONE, NONE, True),
        (None, NONE, True),
    ],
)
def test_a_hosts_own_answer_counts(
    status: LivepatchStatus | None, effective: LivepatchStatus, reboots: bool
) -> None:
    state = host(runs(), prechecks={"U3": ServerPrecheck(status)})
    plan = decide_host([PLAIN], state)
    assert plan.effective is effective
    assert plan.needs_reboot is reboots
    off = decide_host([PLAIN], replace(state, features={}))
    assert off.effective is NONE
    assert off.needs_reboot


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (None, "no-live-patch"),
        (ServerPrecheck(NONE), "server-without"),
        (ServerPrecheck(), "server-without"),
        (ServerPrecheck(INCOMPLETE), "server-incomplete"),
        (ServerPrecheck(COMPLETE), "not-licensed"),
    ],
)
def test_it_is_said_why_an_update_as_a_whole_is_not_live_patched(
    answer: ServerPrecheck | None, cause: str
) -> None:
    answers = {} if answer is None else {"U3": answer}
    features = {} if cause == "not-licensed" else LICENSED
    state = host(runs(), prechecks=answers, features=features)
    assert causes(decide_host([PLAIN], state)) == {cause}


@pytest.mark.parametrize("status", [INCOMPLETE, NONE, None])
def test_a_hosts_answer_is_about_reboots_that_are_asked_for(
    status: LivepatchStatus | None,
) -> None:
    """Where none is, a live patch would spare nothing."""
    guided = update(3, guidance=asking("", "restart_toolstack"))
    state = host(runs(), prechecks={"U3": ServerPrecheck(status)})
    plan = decide_host([guided], state)
    assert tasks(plan) == {TOOLSTACK}
    assert plan.uncovered == ()


def test_live_patching_spares_a_hotfix_nothing_but_the_restart_of_the_host() -> None:
    """Its tokens are all there is: no level for live patches takes their place."""
    hotfix = update(3, guidance=asking("", "restartHost restartXAPI restartHVM"))
    answers = {"U3": ServerPrecheck(COMPLETE)}
    plan = decide_host([hotfix], host(runs(), prechecks=answers))
    assert tasks(plan) == {TOOLSTACK, RESTART_VM}
    patched = replace(XEN_ONLY, guidance=asking("", "restartHost restartXAPI"))
    assert tasks(decide_host([patched], host(runs()))) == {TOOLSTACK}


def test_a_hosts_answer_and_what_is_seen_have_to_agree() -> None:
    denied = {"U1": ServerPrecheck(INCOMPLETE)}
    quiet = replace(XEN_ONLY, guidance={})
    plan = decide_host([quiet], host(runs(), prechecks=denied))
    assert tasks(plan) == {REBOOT}
    assert plan.uncovered == ("",)
    answer = {"U1": ServerPrecheck(COMPLETE)}
    state = host(runs(build_id=NEW), prechecks=answer)
    assert tasks(decide_host([XEN_ONLY], state)) == {REBOOT}


# What is on the disk.


def on_disk(release: int | None, **fields: object) -> HostState:
    installed = {} if release is None else {"xen.x86_64": version(release)}
    return host(runs(), installed=installed, **fields)


SERIES = [update(n, packages=(package(n),), guidance={}) for n in (3, 4, 5)]


def test_what_is_newer_than_installed_is_outstanding() -> None:
    plan = decide_host(SERIES, on_disk(3))
    assert plan.install == ("U5",)
    assert plan.superseded == ("U4",)
    assert decide_host(SERIES, on_disk(5)).verdict is Verdict.NOTHING
    assert decide_host(SERIES, on_disk(None)).superseded == ("U3", "U4")


def test_versions_on_the_disk_count_more_than_what_is_remembered() -> None:
    remembered = frozenset({"U3", "U4", "U5"})
    assert decide_host(SERIES, on_disk(4, installed_updates=remembered)).install
    absent = on_disk(None, installed_updates=remembered)
    assert not decide_host(SERIES, absent).install


def test_without_the_package_a_newer_update_tells_of_the_older() -> None:
    newest = on_disk(None, installed_updates=frozenset({"U5"}))
    assert not decide_host(SERIES, newest).install
    older = on_disk(None, installed_updates=frozenset({"U4"}))
    assert decide_host(SERIES, older).install == ("U5",)


def test_what_is_not_known_of_the_disk_is_installed() -> None:
    assert decide_host(SERIES, host(runs())).install == ("U5",)
    unread = host(runs(), installed={"xen.x86_64": None})
    assert decide_host(SERIES, unread).install == ("U5",)


def test_debian_packages_compare_as_dpkg_does() -> None:
    updates = [update(1, packages=(package(9, package_format="deb"),))]
    state = host(runs(), package_format="deb", installed={"xen.x86_64": version("9~1")})
    assert decide_host(updates, state).install == ("U1",)


def test_packages_for_another_distribution_are_not_for_this_host() -> None:
    updates = [update(1, packages=(package(9, package_format="deb"),))]
    plan = decide_host(updates, host(runs()))
    assert plan.verdict is Verdict.NOTHING
    assert plan.no_action_required
    assert causes(plan) == {"not-for-this-host"}


def test_files_are_on_a_host_only_where_it_says_so() -> None:
    updates = [update(1, files=(disk_file(),), guidance={})]
    assert decide_host(updates, host(runs())).install == ("U1",)
    there = host(runs(), installed_updates=frozenset({"U1"}))
    assert decide_host(updates, there).install == ()


def test_files_are_not_superseded() -> None:
    both = update(4, packages=(package(4),), files=(disk_file(),), guidance={})
    plan = decide_host([both, *SERIES[2:]], on_disk(3))
    assert plan.install == ("U4", "U5")


def test_superseded_updates_still_say_what_has_to_be_done() -> None:
    asks = update(4, packages=(package(4),), guidance=asking("", "restart_vm"))
    plan = decide_host([asks, *SERIES[2:]], on_disk(3))
    assert plan.superseded == ("U4",)
    assert tasks(plan) == {RESTART_VM}


@pytest.mark.parametrize(
    ("installed", "counts"),
    [
        ({"xen.x86_64": version(4)}, True),
        ({"xen.x86_64": version(5)}, False),
        ({}, False),
        ({"xen.x86_64": None}, True),
        (None, True),
    ],
)
def test_guidance_counts_for_what_is_installed(
    installed: dict[str, object] | None, counts: bool
) -> None:
    guided = update(1, applicabilities=(condition("lt", 5),))
    plan = decide_host([guided], host(runs(), installed=installed))
    assert plan.needs_reboot is counts
    assert plan.install == ("U1",)


def test_a_condition_may_leave_the_architecture_open() -> None:
    guided = update(1, applicabilities=(condition("lt", 5, architecture=""),))
    old = host(runs(), installed={"xen.noarch": version(4), "xen-tools.x": version(9)})
    assert decide_host([guided], old).needs_reboot
    assert not decide_host([guided], replace(old, installed={})).needs_reboot


def test_where_guidance_does_not_count_live_patches_are_applied_all_the_same() -> None:
    guided = replace(XEN_ONLY, applicabilities=(condition("lt", 5),))
    plan = decide_host([guided], on_disk(9))
    assert plan.apply == (livepatch(6),)
    other = decide_host([guided], replace(on_disk(9), running=(runs(build_id=NEW),)))
    assert other.no_action_required


def test_that_guidance_does_not_count_has_to_be_seen_in_what_runs() -> None:
    guided = replace(XEN_ONLY, applicabilities=(condition("lt", 5),))
    for record in (runs(build_id=""), runs(half_known=True)):
        plan = decide_host([guided], replace(on_disk(9), running=(record,)))
        assert tasks(plan) == {REBOOT}


def package_row(of: str, old: int | None = 3) -> PackageRow:
    installed = None if old is None else version(old)
    return PackageRow("xen", "x86_64", version(9), installed, of)


def test_a_hosts_package_manager_may_say_what_is_outstanding() -> None:
    rows = (package_row("U1"), package_row("U7"), package_row(""))
    plan = decide_host([XEN_ONLY, PLAIN], host(runs(build_id=NEW), rows=rows))
    assert plan.install == ("U1",)
    assert [one.subject for one in plan.findings] == ["packages", "U7"]
    assert causes(plan) == {"build-not-served", "update-unknown"}


def test_its_rows_have_the_versions_that_conditions_are_about() -> None:
    guided = replace(PLAIN, applicabilities=(condition("lt", 5),))
    for old, counts in ((4, True), (5, False), (None, False)):
        state = host(runs(), rows=(package_row("U3", old),))
        assert decide_host([guided], state).needs_reboot is counts


def test_a_package_manager_with_nothing_to_offer_is_up_to_date() -> None:
    assert decide_host([PLAIN], host(runs(), rows=())).verdict is Verdict.NOTHING


# Device models and the rest of the guidance.


def test_guidance_of_several_updates_is_merged_and_cascades() -> None:
    updates = [
        update(1, guidance=asking("restart_toolstack", "restart_device_model")),
        update(2, guidance=asking("", "restart_vm", "reboot_host restart_toolstack")),
    ]
    plan = decide_host(updates, host(runs()))
    assert plan.guidance == {
        Level.MANDATORY: (TOOLSTACK,),
        Level.RECOMMENDED: (RESTART_VM,),
        Level.FULL: (REBOOT,),
    }
    assert DEVICE_MODEL not in tasks(plan)


def test_a_plan_is_bound_to_updates_and_state() -> None:
    state = host(runs(), boot_id="1")
    plan = decide_host([XEN_ONLY], state)
    same = decide_host([XEN_ONLY], state)
    assert (plan.updates_digest, plan.state_digest) == (
        same.updates_digest,
        same.state_digest,
    )
    booted = decide_host([XEN_ONLY], replace(state, boot_id="2"))
    assert booted.state_digest != plan.state_digest
    other = decide_host([replace(XEN_ONLY, title="other")], state)
    assert other.updates_digest != plan.updates_digest
    switched = decide_host([XEN_ONLY], state, replace(pool(state), live_patching=False))
    assert switched.state_digest != plan.state_digest


def test_guests_do_not_make_a_plan_outdated() -> None:
    plan = decide_host([XEN_ONLY], host(runs()))
    assert (
        plan.state_digest
        == decide_host([XEN_ONLY], host(runs(), guests=())).state_digest
    )
