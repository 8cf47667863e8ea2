"""What holds on every target: verbs do what they say, or leave no trace."""

import pytest

from lpengine.elf.constants import R_X86_64_PLT32
from lpengine.patch.model import HookKind
from lpengine.patch.xen.spec import (
    FunctionSpec,
    HookSpec,
    Place,
    RelocationSpec,
    SymbolSpec,
)
from lpengine.planner.facts import PatchState
from lpengine.targets import DEFAULT_TIMEOUT
from tests.contract.subject import (
    Subject,
    data_section,
    recording,
    returns,
    zero_section,
)


def test_a_whole_life_leaves_no_trace(subject: Subject) -> None:
    before, facts = subject.memory(), subject.target.facts()
    patch = subject.payload("a", subject.returning("xen_major_version", 5))
    subject.load(patch)
    assert subject.memory() == before
    subject.apply(patch)
    assert subject.call("xen_major_version") == 5
    assert subject.memory() != before
    subject.revert(patch)
    assert subject.call("xen_major_version") == 4
    assert subject.memory() == before
    subject.unload(patch)
    assert subject.memory() == before
    assert subject.target.facts() == facts


def test_another_process_finds_what_this_one_did(subject: Subject) -> None:
    patch = subject.payload("a", subject.returning("xen_major_version", 5))
    subject.load(patch)
    subject.apply(patch)
    other = subject.reopen()
    assert other.facts() == subject.target.facts()
    assert other.module("a") == patch
    other.revert("a", DEFAULT_TIMEOUT)
    assert other.facts().loaded[0].reverted


def test_facts_agree_with_what_was_done(subject: Subject) -> None:
    first = subject.payload("a", subject.returning("xen_major_version", 5))
    second = subject.payload(
        "b", subject.returning("xen_minor_version", 18), depends=first
    )
    subject.load(first, second)
    subject.apply(first)
    facts = subject.target.facts([first])
    assert [patch.name for patch in facts.loaded] == ["a", "b"]
    assert facts.applied == ("a",)
    states = [patch.state for patch in facts.loaded]
    assert states == [PatchState.APPLIED, PatchState.CHECKED]
    loaded = facts.loaded[0]
    assert (loaded.build_id, loaded.depends) == (first.build_id, first.depends)
    assert loaded.sha256 == first.sha256
    assert loaded.metadata == (("name", "a"),)
    assert loaded.safe_to_reapply
    assert not loaded.reverted
    start = subject.address("xen_major_version")
    assert [(span.start, span.end) for span in loaded.functions] == [
        (start, start + subject.size("xen_major_version"))
    ]
    code = facts.code[start]
    assert code.symbol == "xen_major_version"
    assert code.redirected_by == ("a",)
    assert len(code.live) == len(code.shipped) >= code.size
    assert code.live != code.shipped
    assert code.live[5:] == code.shipped[5:]


def test_facts_know_symbols(subject: Subject) -> None:
    patch = subject.payload(
        "a",
        subject.returning("boot_setup", 5),
        subject.returning("xen_major_version", 5),
        subject.returning("scale", 1, old_size=9),
        subject.returning("common/counter.c#scale", 1, old_size=9),
    )
    facts = subject.target.facts([patch])
    assert facts.symbols["boot_setup"][0].init
    (version,) = facts.symbols["xen_major_version"]
    assert version.address == subject.address("xen_major_version")
    assert version.size == subject.size("xen_major_version")
    assert version.is_function
    assert not version.init
    assert version.owner == ""
    assert "scale" not in facts.symbols
    assert len(facts.symbols["common/counter.c#scale"]) == 1
    assert facts.image.build_id == subject.image.build_id
    assert version.address in facts.image.text
    assert any(facts.symbols["boot_setup"][0].address in s for s in facts.image.init)


def test_looking_changes_nothing(subject: Subject) -> None:
    patch = subject.payload("a", subject.returning("xen_major_version", 5))
    subject.load(patch)
    before = subject.memory()
    assert subject.target.facts([patch]) == subject.target.facts([patch])
    assert subject.memory() == before
    assert subject.reopen().facts() == subject.target.facts()


def test_many_functions_at_once(subject: Subject) -> None:
    before = subject.memory()
    patch = subject.payload(
        "a",
        subject.returning("xen_major_version", 5),
        subject.returning("exact_five", 50),
        subject.returning("exact_nine", 51),
        subject.returning("operate_multiply", 52),
        subject.returning("endbr_poisoned", 53),
        subject.returning("short_padded", 54, old_size=16),
        subject.returning("without_size", 55, old_size=6),
        subject.returning("ends_in_thunk", 56),
    )
    subject.load(patch)
    subject.apply(patch)
    results = {
        name: subject.call(name)
        for name in (
            "xen_major_version",
            "exact_five",
            "exact_nine",
            "endbr_poisoned",
            "short_padded",
            "without_size",
            "ends_in_thunk",
        )
    }
    assert list(results.values()) == [5, 50, 51, 53, 54, 55, 56]
    assert subject.call("dispatch", 2, 6, 7) == 52
    assert subject.call("exact_five_neighbour") == 78
    assert subject.call("exact_nine_neighbour") == 79
    subject.revert(patch)
    assert subject.memory() == before


def test_nops_blank_whole_instructions(subject: Subject) -> None:
    before = subject.memory()
    # mov $66, %eax behind the four bytes of the endbr64.
    patch = subject.payload("a", subject.blanking("endbr_poisoned", 9))
    subject.load(patch)
    subject.apply(patch)
    start = subject.address("endbr_poisoned")
    assert subject.read(start, 4) == bytes.fromhex("660f1f01")
    assert subject.call("endbr_poisoned") != 66
    subject.revert(patch)
    assert subject.memory() == before


def test_two_patches_of_one_function(subject: Subject) -> None:
    before = subject.memory()
    first = subject.payload("a", subject.returning("exact_nine", 10))
    second = subject.payload("b", subject.returning("exact_nine", 11), depends=first)
    subject.load(first, second)
    subject.apply(first, second)
    assert subject.call("exact_nine") == 11
    facts = subject.target.facts([first])
    assert facts.code[subject.address("exact_nine")].redirected_by == ("a", "b")
    subject.revert(second)
    assert subject.call("exact_nine") == 10
    subject.revert(first)
    assert subject.memory() == before


def test_a_later_patch_uses_an_earlier_ones_symbol(subject: Subject) -> None:
    first = subject.payload(
        "a",
        subject.returning("xen_major_version", 5, code=returns(5) + returns(99)),
        symbols=(SymbolSpec("brought", Place(".text", 6), 6, True),),
    )
    jump = FunctionSpec(
        "xen_minor_version",
        subject.size("xen_minor_version"),
        b"\xe9" + bytes(4),
        (RelocationSpec(1, R_X86_64_PLT32, "brought", -4),),
    )
    second = subject.payload("b", jump, depends=first)
    subject.refused(lambda: subject.load(second), "unknown-symbol", "ENOENT")
    subject.load(first, second)
    assert subject.target.facts([second]).symbols["brought"][0].owner == "a"
    subject.apply(first, second)
    assert subject.call("xen_minor_version") == 99
    used = {one.name: one.uses for one in subject.target.facts().loaded}
    assert used == {"a": (), "b": ("brought",)}


def test_replace_takes_the_place_of_all(subject: Subject) -> None:
    first = subject.payload("a", subject.returning("xen_major_version", 5))
    second = subject.payload(
        "b", subject.returning("xen_minor_version", 18), depends=first
    )
    cumulative = subject.payload("c", subject.returning("xen_major_version", 6))
    subject.load(first, second, cumulative)
    subject.apply(first, second)
    subject.replace(cumulative)
    assert subject.target.facts().applied == ("c",)
    assert subject.call("xen_major_version") == 6
    assert subject.call("xen_minor_version") == 17


def test_a_failing_replace_keeps_everything_applied(subject: Subject) -> None:
    first = subject.payload("a", subject.returning("xen_major_version", 5))
    cumulative = subject.payload(
        "c", subject.returning("xen_minor_version", 6, expectation=b"\x90\x90")
    )
    subject.load(first, cumulative)
    subject.apply(first)
    subject.refused(
        lambda: subject.replace(cumulative), "expectation-mismatch", "EINVAL"
    )
    assert subject.call("xen_major_version") == 5


def test_replace_looks_at_code_without_the_other_patches(subject: Subject) -> None:
    shipped = subject.read(subject.address("xen_major_version"), 6)
    first = subject.payload("a", subject.returning("xen_major_version", 5))
    cumulative = subject.payload(
        "c", subject.returning("xen_major_version", 6, expectation=shipped)
    )
    subject.load(first, cumulative)
    subject.apply(first)
    subject.refused(
        lambda: subject.apply(cumulative, nodeps=True), "expectation-mismatch", "EINVAL"
    )
    subject.replace(cumulative)
    assert subject.call("xen_major_version") == 6


def test_nodeps_skips_the_stack_order(subject: Subject) -> None:
    first = subject.payload("a", subject.returning("xen_major_version", 5))
    second = subject.payload("b", subject.returning("xen_minor_version", 6))
    subject.load(first, second)
    subject.apply(first)
    subject.refused(lambda: subject.apply(second), "depends-mismatch", "EINVAL")
    subject.apply(second, nodeps=True)
    assert subject.target.facts().applied == ("a", "b")


def test_only_the_top_comes_off(subject: Subject) -> None:
    first = subject.payload("a", subject.returning("xen_major_version", 5))
    second = subject.payload(
        "b", subject.returning("xen_minor_version", 6), depends=first
    )
    subject.load(first, second)
    subject.apply(first, second)
    error = subject.refused(lambda: subject.revert(first), "not-top", "EBUSY")
    assert "b was applied after it" in error.message
    subject.revert(second, first)


@pytest.mark.parametrize(
    ("sections", "again"),
    [((), True), ((zero_section(".bss", 0),), True), ((data_section(),), False)],
    ids=["plain", "empty-bss", "data"],
)
def test_applying_again_after_a_revert(subject: Subject, sections, again: bool) -> None:
    patch = subject.payload(
        "a", subject.returning("xen_major_version", 5), sections=sections
    )
    subject.load(patch)
    subject.apply(patch)
    subject.revert(patch)
    if again:
        subject.apply(patch)
        assert subject.call("xen_major_version") == 5
        return
    subject.refused(lambda: subject.apply(patch), "reapply-with-data", "EINVAL")
    subject.unload(patch)
    subject.load(patch)
    subject.apply(patch)


def test_hooks_run_in_order(subject: Subject) -> None:
    default = [
        kind for kind in HookKind if kind not in (HookKind.APPLY, HookKind.REVERT)
    ]
    hooks = [recording(kind, list(HookKind).index(kind)) for kind in default]
    patch = subject.payload("a", subject.returning("xen_major_version", 5), hooks=hooks)
    subject.load(patch)
    assert subject.events == []
    subject.apply(patch)
    subject.revert(patch)
    kinds = [list(HookKind)[event] for event in subject.events]
    assert kinds == [
        HookKind.PREAPPLY,
        HookKind.LOAD,
        HookKind.POSTAPPLY,
        HookKind.PREREVERT,
        HookKind.UNLOAD,
        HookKind.POSTREVERT,
    ]


def test_several_load_hooks_run_in_the_order_of_their_section(subject: Subject) -> None:
    hooks = [recording(HookKind.LOAD, event) for event in (3, 1, 2)]
    patch = subject.payload("a", hooks=hooks)
    subject.load(patch)
    subject.apply(patch)
    assert subject.events == [3, 1, 2]


def test_action_hooks_replace_the_action(subject: Subject) -> None:
    hooks = [recording(kind, list(HookKind).index(kind)) for kind in HookKind]
    patch = subject.payload("a", subject.returning("xen_major_version", 5), hooks=hooks)
    subject.load(patch)
    before = subject.read(subject.address("xen_major_version"), 6)
    subject.apply(patch)
    assert subject.target.facts().applied == ("a",)
    assert subject.read(subject.address("xen_major_version"), 6) == before
    subject.revert(patch)
    kinds = [list(HookKind)[event] for event in subject.events]
    assert kinds == [
        HookKind.PREAPPLY,
        HookKind.APPLY,
        HookKind.POSTAPPLY,
        HookKind.PREREVERT,
        HookKind.REVERT,
        HookKind.POSTREVERT,
    ]


def test_a_revert_hook_cannot_leave_a_function_redirected(subject: Subject) -> None:
    before = subject.read(subject.address("xen_major_version"), 6)
    patch = subject.payload(
        "a",
        subject.returning("xen_major_version", 5),
        hooks=[recording(HookKind.REVERT, 1)],
    )
    subject.load(patch)
    subject.apply(patch)
    subject.revert(patch)
    assert subject.events == [1]
    assert subject.read(subject.address("xen_major_version"), 6) == before


@pytest.mark.parametrize(
    ("kind", "verb"),
    [
        (HookKind.PREAPPLY, "apply"),
        (HookKind.APPLY, "apply"),
        (HookKind.PREREVERT, "revert"),
        (HookKind.REVERT, "revert"),
    ],
)
def test_a_hook_can_say_no(subject: Subject, kind: HookKind, verb: str) -> None:
    patch = subject.payload(
        "a",
        subject.returning("xen_major_version", 5),
        hooks=[recording(kind, 1, answer=-16)],
    )
    subject.load(patch)
    if verb == "revert":
        subject.apply(patch)
    error = subject.refused(lambda: getattr(subject, verb)(patch), "hook-veto", "EBUSY")
    assert f"{kind} hook" in error.message
    assert "-16" in error.message


def test_a_hook_that_faults_leaves_no_trace(subject: Subject) -> None:
    patch = subject.payload(
        "a",
        subject.returning("xen_major_version", 5),
        hooks=[
            recording(HookKind.PREAPPLY, 1),
            HookSpec(HookKind.LOAD, bytes.fromhex("0f0b")),
        ],
    )
    subject.load(patch)
    error = subject.refused(lambda: subject.apply(patch), "fault", None)
    assert "load hook" in error.message
