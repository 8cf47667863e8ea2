"""What is done in which order, and what is left to do when the answer is no."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.patch.model import NewSymbol, Patch
from lpengine.planner import (
    Apply,
    BusyFact,
    Facts,
    Finding,
    Guidance,
    Load,
    LoadedPatch,
    PatchState,
    Plan,
    Policy,
    Replace,
    Revert,
    Severity,
    Span,
    Unload,
    Verdict,
    plan_apply,
    plan_replace,
    plan_revert,
    plan_unload,
    state_digest,
)
from lpengine.planner.guidance import combine
from tests.planner_cases import (
    CODE,
    FUNCS,
    GUARDED,
    OWN_DATA,
    PLAIN,
    F,
    applied,
    blocking_causes,
    code,
    expecting,
    facts,
    function,
    imaged,
    loaded,
    nop,
    only,
    patch,
    symbol,
    with_code,
    with_symbols,
)

STEPS = {"a": (Load("a", "sha-a"), Apply("a")), "b": (Load("b", "sha-b"), Apply("b"))}


def stacked(*names: str) -> list[Patch]:
    """Patches of one function each, every one built upon the one before."""
    patches = []
    for below, name in zip(("", *names), names, strict=False):
        module = patch(name, function("g" if below else "f"))
        if below:
            module = replace(module, depends=f"id-{below}")
        patches.append(module)
    return patches


def outcome(target: Facts, plan: Plan, patches: Sequence[Patch] = ()) -> Facts:
    """The target after the plan, by the hypervisor's rules and nothing else."""
    on, here = list(target.applied), {one.name: one for one in target.loaded}
    modules = {module.name: module for module in patches}
    for step in plan.steps:
        match step:
            case Load(name):
                assert name not in here
                here[name] = loaded(
                    name,
                    depends=modules[name].depends,
                    safe_to_reapply=modules[name].safe_to_reapply,
                )
            case Apply(name, nodeps):
                assert here[name].state is PatchState.CHECKED
                assert here[name].safe_to_reapply or not here[name].reverted
                below = f"id-{on[-1]}" if on else target.image.build_id
                assert nodeps or here[name].depends == below
                on.append(name)
            case Revert(name):
                assert on.pop() == name
                here[name] = replace(here[name], reverted=True)
            case Replace(name, replaced):
                assert replaced == tuple(on)
                on = [name]
            case Unload(name):
                assert name not in on
                del here[name]
        here = {
            name: replace(
                one, state=PatchState.APPLIED if name in on else PatchState.CHECKED
            )
            for name, one in here.items()
        }
    return replace(target, loaded=tuple(here.values()), applied=tuple(on))


# Apply.


def test_apply_loads_and_applies_in_stack_order() -> None:
    plan = plan_apply(stacked("a", "b"), facts())
    assert plan.verdict is Verdict.READY
    assert plan.steps == (*STEPS["a"], *STEPS["b"])
    assert (plan.action, plan.target, plan.tasks) == ("apply", "test:", ())


def test_the_other_order_is_refused() -> None:
    a, b = stacked("a", "b")
    plan = plan_apply([b, a], facts())
    assert plan.steps == ()
    assert blocking_causes(plan) == ["depends-mismatch", "depends-mismatch"]


def test_what_is_loaded_is_not_loaded_again() -> None:
    plan = plan_apply([patch("a")], facts(loaded("a")))
    assert plan.steps == (Apply("a"),)


def test_where_the_target_knows_no_hash_the_build_id_tells() -> None:
    here = loaded("a", sha256="")
    assert plan_apply([patch("a")], facts(here)).steps == (Apply("a"),)
    other = replace(here, build_id="other")
    assert blocking_causes(plan_apply([patch("a")], facts(other))) == ["name-in-use"]


def test_what_is_applied_is_left_alone() -> None:
    plan = plan_apply([patch("a")], facts(applied("a")))
    assert (plan.verdict, plan.steps, plan.tasks) == (Verdict.NOTHING, (), ())
    finding = only(plan, "already-applied")
    assert (finding.code, finding.severity) == ("LP-DEP-505", Severity.INFO)


def test_only_the_missing_part_of_a_stack_is_applied() -> None:
    plan = plan_apply(stacked("a", "b"), facts(applied("a")))
    assert plan.steps == STEPS["b"]


def test_planning_again_after_apply_gives_no_steps() -> None:
    patches = stacked("a", "b", "c")
    first = plan_apply(patches, facts())
    again = plan_apply(patches, outcome(facts(), first, patches))
    assert (again.verdict, again.steps) == (Verdict.NOTHING, ())


def test_the_same_patch_twice_is_applied_once() -> None:
    assert plan_apply([patch("a"), patch("a")], facts()).steps == STEPS["a"]


def test_nodeps_is_in_the_step() -> None:
    plan = plan_apply([patch("a", depends="zz")], facts(), Policy(nodeps=True))
    assert plan.steps == (Load("a", "sha-a"), Apply("a", nodeps=True))


def test_used_data_is_loaded_afresh() -> None:
    module = patch("a", sections=(FUNCS, CODE, OWN_DATA))
    used = loaded("a", reverted=True, safe_to_reapply=False)
    plan = plan_apply([module], facts(used))
    assert plan.steps == (Unload("a", "sha-a"), *STEPS["a"])
    assert only(plan, "reapply-with-data").severity is Severity.INFO


def test_a_revert_without_data_needs_no_new_load() -> None:
    assert plan_apply([patch("a")], facts(loaded("a", reverted=True))).steps == (
        Apply("a"),
    )


def test_what_was_resolved_against_used_data_is_loaded_afresh_too() -> None:
    a, b = stacked("a", "b")
    a = replace(a, sections=(FUNCS, CODE, OWN_DATA))
    target = facts(
        loaded("a", reverted=True, safe_to_reapply=False),
        loaded("b", depends="id-a"),
    )
    plan = plan_apply([a, b], target)
    assert plan.steps == (
        Unload("b", "sha-b"),
        Unload("a", "sha-a"),
        *STEPS["a"],
        *STEPS["b"],
    )
    alone = plan_apply([a], target)
    assert alone.steps == (Unload("a", "sha-a"), *STEPS["a"])
    assert only(alone, "still-needed").severity is Severity.WARN


def test_symbols_of_patches_below_are_known() -> None:
    a = patch("a", new_symbols=(NewSymbol("shared", 2, 0, 8),))
    b = patch("b", function("g"), depends="id-a", undefined=("shared",))
    assert plan_apply([a, b], facts()).verdict is Verdict.READY
    alone = plan_apply([replace(b, depends=a.depends)], facts())
    assert blocking_causes(alone) == ["unknown-symbol"]


def test_symbols_of_patches_below_are_taken() -> None:
    a, b = stacked("a", "b")
    brought = (NewSymbol("same", 2, 0, 8),)
    plan = plan_apply(
        [replace(a, new_symbols=brought), replace(b, new_symbols=brought)], facts()
    )
    assert only(plan, "duplicate-symbol").evidence["owner"] == "a"


def test_a_loaded_patchs_own_symbols_do_not_stand_in_its_way() -> None:
    module = patch("a", new_symbols=(NewSymbol("mine", 2, 0, 8),))
    target = with_symbols(
        facts(loaded("a", symbols=("mine",))), symbol("mine", 0xA100, owner="a")
    )
    assert plan_apply([module], target).steps == (Apply("a"),)


def test_a_function_of_a_patch_below_is_a_warning() -> None:
    a = patch("a", new_symbols=(NewSymbol("fresh", 2, 0, 32),))
    b = patch("b", function("fresh", 32), depends="id-a")
    plan = plan_apply([a, b], facts())
    assert plan.verdict is Verdict.READY
    assert only(plan, "code-not-seen").severity is Severity.WARN


def test_memory_is_counted_over_the_whole_plan() -> None:
    room = imaged(facts(), patch_area_free=3 * 4096)
    finding = only(plan_apply(stacked("a", "b"), room), "out-of-memory")
    assert finding.patch == "b"
    assert finding.evidence == {"needed_bytes": 8192, "free_bytes": 4096}


def test_two_patches_of_one_build_id() -> None:
    twin = replace(patch("b", function("g")), build_id="id-a", depends="id-a")
    plan = plan_apply([patch("a"), twin], facts())
    assert only(plan, "build-id-in-use").evidence["loaded_as"] == "a"


# Expectations, at the time of the step.


@pytest.mark.parametrize(("wanted", "fine"), [(PLAIN, False), (b"", True)])
def test_a_redirect_below_changes_what_is_expected(wanted: bytes, fine: bool) -> None:
    above = patch("b", function(expectation=expecting(wanted)), depends="id-a")
    plan = plan_apply([patch("a"), above], facts())
    assert (plan.verdict is Verdict.READY) is fine
    if not fine:
        finding = only(plan, "expectation-mismatch")
        assert finding.evidence["redirected_by"] == "a"
        assert "revert a first" in finding.remedy


def test_the_endbr64_in_front_of_a_redirect_stays() -> None:
    size = len(GUARDED)
    below = patch("a", function("h", size))
    for length, fine in ((4, True), (5, False)):
        expectation = expecting(GUARDED[:length])
        above = patch("b", function("h", size, expectation=expectation), depends="id-a")
        plan = plan_apply([below, above], facts())
        assert (plan.verdict is Verdict.READY) is fine


def redirected(owner: str) -> Facts:
    whole = code(F, "f", PLAIN)
    live = b"\xe9\x01\x02\x03\x04" + whole.live[5:]
    there = applied(owner, functions=(Span(F, F + len(PLAIN)),))
    fact = replace(whole, live=live, redirected_by=(owner,))
    return with_code(facts(there), fact)


def test_expectations_meet_the_live_bytes() -> None:
    shipped = patch("b", function(expectation=expecting(PLAIN)), depends="id-a")
    live = expecting(b"\xe9\x01\x02\x03\x04")
    jump = patch("b", function(expectation=live), depends="id-a")
    mismatch = only(plan_apply([shipped], redirected("a")), "expectation-mismatch")
    assert mismatch.evidence["redirected_by"] == "a"
    assert plan_apply([jump], redirected("a")).verdict is Verdict.READY


def test_a_replace_meets_the_shipped_bytes() -> None:
    shipped = patch("b", function(expectation=expecting(PLAIN)))
    live = patch("b", function(expectation=expecting(b"\xe9\x01\x02\x03\x04")))
    assert plan_replace(shipped, redirected("a")).verdict is Verdict.READY
    plan = plan_replace(live, redirected("a"))
    assert blocking_causes(plan) == ["expectation-mismatch"]


def test_a_blank_may_not_tear_the_jump_below() -> None:
    torn = plan_apply([patch("b", nop(4), depends="id-a")], redirected("a"))
    assert blocking_causes(torn) == ["nop-partial-instruction"]
    assert plan_replace(patch("b", nop(4)), redirected("a")).verdict is Verdict.READY
    whole = plan_apply([patch("b", nop(6), depends="id-a")], redirected("a"))
    assert whole.verdict is Verdict.READY


# Replace.


def test_replace_takes_everything_off() -> None:
    plan = plan_replace(patch("c"), facts(applied("a"), applied("b")))
    assert plan.action == "replace"
    assert plan.steps == (Load("c", "sha-c"), Replace("c", ("a", "b")))


def test_replace_of_nothing_is_an_apply() -> None:
    plan = plan_replace(patch("c"), facts())
    assert plan.steps == (Load("c", "sha-c"), Replace("c", ()))


def test_replace_by_what_is_applied_alone_is_nothing() -> None:
    assert plan_replace(patch("a"), facts(applied("a"))).verdict is Verdict.NOTHING


def test_replace_with_used_data_loads_afresh() -> None:
    used = loaded("c", reverted=True, safe_to_reapply=False)
    plan = plan_replace(patch("c"), facts(applied("a"), used))
    assert plan.steps[0] == Unload("c", "sha-c")
    assert plan.steps[-1] == Replace("c", ("a",))


def test_replace_keeps_the_loaded_symbols_in_view() -> None:
    module = patch("c", new_symbols=(NewSymbol("same", 2, 0, 8),))
    plan = plan_replace(module, facts(applied("a", symbols=("same",))))
    finding = only(plan, "duplicate-symbol")
    assert "unload a first" in finding.remedy


def test_replace_is_free_of_the_overlaps_it_ends() -> None:
    there = applied("a", functions=(Span(F - 4, F + 2),))
    assert plan_replace(patch("c"), facts(there)).verdict is Verdict.READY


# Revert and unload.


def test_revert_goes_from_the_top_whatever_the_order() -> None:
    target = facts(applied("a"), applied("b"), applied("c"))
    for names in (["b", "c"], ["c", "b"]):
        plan = plan_revert(names, target)
        assert plan.steps == (Revert("c"), Revert("b"))
    assert plan_revert([], target, everything=True).steps == (
        Revert("c"),
        Revert("b"),
        Revert("a"),
    )


def test_revert_of_what_is_not_applied_is_nothing() -> None:
    plan = plan_revert(["a"], facts(loaded("a")))
    assert plan.verdict is Verdict.NOTHING
    assert only(plan, "wrong-state").severity is Severity.INFO
    assert plan_revert([], facts(), everything=True).verdict is Verdict.NOTHING


def test_revert_of_a_patch_with_hooks_of_its_own_warns() -> None:
    plan = plan_revert(["a"], facts(applied("a", irreversible=True)))
    assert plan.verdict is Verdict.READY
    assert only(plan, "not-revertible").severity is Severity.WARN


def test_who_is_inside_a_patch_keeps_it_on() -> None:
    here = applied("a", code=Span(0x100000, 0x101000))
    target = facts(here, busy=(BusyFact("cpu1", "new_f [a]", 0x100010),))
    for plan in (plan_revert(["a"], target), plan_replace(patch("b"), target)):
        finding = only(plan, "function-busy")
        assert (finding.severity, finding.patch) == (Severity.WARN, "a")
        assert plan.verdict is Verdict.READY


def test_unload_goes_from_the_last_loaded() -> None:
    target = facts(loaded("a"), loaded("b", depends="id-a"))
    plan = plan_unload(["a", "b"], target)
    assert plan.steps == (Unload("b", "sha-b"), Unload("a", "sha-a"))
    assert plan.findings == ()


def test_unload_of_what_another_may_use_warns() -> None:
    target = facts(
        loaded("a"), loaded("b", depends="id-a"), loaded("c", depends="id-b")
    )
    finding = only(plan_unload(["a"], target), "still-needed")
    assert finding.severity is Severity.WARN
    assert finding.evidence["users"] == ["b", "c"]


def test_unload_of_what_another_one_calls_is_known_without_its_build_id() -> None:
    """Applied without asking for the order, on top of something else."""
    target = facts(
        loaded("a", symbols=("brought",)),
        loaded("other", symbols=("unrelated",)),
        applied("b", uses=("memcpy", "brought")),
    )
    finding = only(plan_unload(["a"], target), "still-needed")
    assert (finding.severity, finding.evidence["users"]) == (Severity.BLOCK, ["b"])
    assert plan_unload(["other"], target).findings == ()


def test_refused_plans_have_no_steps() -> None:
    plan = plan_revert(["a", "nowhere"], facts(applied("a")))
    assert (plan.verdict, plan.steps) == (Verdict.REFUSED, ())


# Tasks.


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ([], []),
        (["none", "none"], []),
        (["retry"], ["retry"]),
        (["reboot_host", "restart_toolstack"], ["reboot_host"]),
        (["retry", "restart_process", "reboot_host"], ["reboot_host"]),
        (["evacuate_host+reboot_host", "reboot_host"], ["evacuate_host+reboot_host"]),
        (
            ["restart_device_model", "restart_toolstack"],
            ["restart_toolstack", "restart_device_model"],
        ),
        (["something new"], ["reboot_host"]),
    ],
)
def test_tasks_are_the_fewest_that_cover_all(
    wanted: list[str], left: list[str]
) -> None:
    assert combine(wanted) == tuple(Guidance(one) for one in left)


def test_tasks_come_from_what_blocks() -> None:
    plan = plan_apply([patch("p", function("short", 3), image_build_id="bb")], facts())
    assert plan.tasks == (Guidance.EVACUATE_AND_REBOOT,)
    warned = plan_apply([patch("p", sections=(FUNCS, OWN_DATA))], facts())
    assert warned.findings
    assert warned.tasks == ()


# Binding and determinism.


def test_the_digest_binds_what_matters() -> None:
    target = facts(applied("a"), loaded("b"))
    changed = [
        imaged(target, build_id="bb"),
        imaged(target, version="4.17.6"),
        facts(applied("a")),
        facts(applied("a"), applied("b")),
        facts(loaded("b"), applied("a")),
        facts(applied("a"), loaded("b", sha256="other")),
        facts(applied("a"), loaded("b", build_id="other")),
        facts(applied("a"), loaded("b", reverted=True, safe_to_reapply=False)),
        replace(target, applied=()),
    ]
    digests = {state_digest(one) for one in (target, *changed)}
    assert len(digests) == len(changed) + 1
    assert all(len(digest) == 64 for digest in digests)


def test_the_digest_leaves_out_what_does_not() -> None:
    target = facts(applied("a"))
    same = replace(
        target, symbols={}, code={}, busy=(BusyFact("cpu0", "f", F),), target="other:"
    )
    assert state_digest(same) == state_digest(target)


def test_the_digest_leaves_out_a_revert_that_can_be_repeated() -> None:
    once = facts(applied("a"), loaded("b", reverted=True))
    assert state_digest(once) == state_digest(facts(applied("a"), loaded("b")))


def test_plans_carry_the_digest() -> None:
    target = facts(applied("a"))
    assert plan_revert(["a"], target).state_digest == state_digest(target)


NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1)


@st.composite
def targets(draw: st.DrawFn) -> Facts:
    names = draw(NAMES)
    height = draw(st.integers(0, len(names)))
    here: list[LoadedPatch] = []
    for at, name in enumerate(names):
        below = f"id-{names[at - 1]}" if at else facts().image.build_id
        kind = applied if at < height else loaded
        safe, reverted = draw(st.booleans()), at >= height and draw(st.booleans())
        here.append(kind(name, depends=below, safe_to_reapply=safe, reverted=reverted))
    order = draw(st.permutations(here))
    return replace(facts(*order), applied=tuple(names[:height]))


@given(targets())
def test_everything_comes_off_in_a_valid_order(target: Facts) -> None:
    plan = plan_revert([], target, everything=True)
    assert plan.blocking == ()
    assert outcome(target, plan).applied == ()


@given(targets(), st.data())
def test_any_part_from_the_top_comes_off(target: Facts, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from(target.loaded), unique=True))
    plan = plan_revert([one.name for one in wanted], target)
    after = outcome(target, plan)
    names = {one.name for one in wanted}
    left = tuple(name for name in target.applied if name not in names)
    whole = left == target.applied[: len(left)]
    assert (plan.verdict is Verdict.REFUSED) is not whole
    assert after.applied == (left if whole else target.applied)


@given(targets())
def test_the_rest_of_the_stack_goes_on(target: Facts) -> None:
    """Whatever is loaded: applying the chain upwards works, and then it is on."""
    names = sorted(
        (one.name for one in target.loaded), key=lambda name: depth(target, name)
    )
    patches = [
        patch(
            name,
            depends=only_depends(target, name),
            sections=(FUNCS,) if safe(target, name) else (FUNCS, OWN_DATA),
        )
        for name in names
    ]
    plan = plan_apply(patches, target)
    assert plan.blocking == ()
    after = outcome(target, plan, patches)
    assert after.applied == tuple(names)
    assert plan_apply(patches, after).steps == ()
    assert plan_apply(patches, target) == plan


def by_name(target: Facts, name: str) -> LoadedPatch:
    return next(one for one in target.loaded if one.name == name)


def only_depends(target: Facts, name: str) -> str:
    return by_name(target, name).depends


def safe(target: Facts, name: str) -> bool:
    return by_name(target, name).safe_to_reapply


def depth(target: Facts, name: str) -> int:
    below = only_depends(target, name).removeprefix("id-")
    if below == target.image.build_id:
        return 0
    return 1 + depth(target, below)


def test_the_same_input_gives_the_same_plan() -> None:
    module = patch("p", function("short", 3), image_build_id="bb", undefined=("x", "y"))
    first: tuple[Finding, ...] = plan_apply([module], facts()).findings
    assert plan_apply([module], facts()).findings == first
