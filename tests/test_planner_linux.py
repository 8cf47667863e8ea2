"""What the planner foresees on a Linux kernel: every refusal with the kernel's errno,
every trap that the kernel does not see, every task that would not switch."""

from dataclasses import replace
from typing import Any

import pytest

from lpengine.patch.model import (
    Expectation,
    FunctionPatch,
    KlpCallback,
    KlpRelocation,
    KlpSymbol,
    NewSymbol,
    Patch,
    PatchSection,
    SymbolVersion,
    SystemState,
    Violation,
)
from lpengine.planner import (
    Apply,
    BusyFact,
    Capabilities,
    ExportFact,
    Facts,
    Finding,
    Guidance,
    ImageFacts,
    KernelFacts,
    Load,
    LoadedPatch,
    ModuleFact,
    PatchedFunction,
    PatchState,
    Plan,
    Policy,
    Replace,
    Revert,
    Severity,
    Span,
    SymbolFact,
    Unload,
    Verdict,
    plan_apply,
    plan_replace,
    plan_revert,
    plan_unload,
)
from lpengine.planner.catalogue.causes import CODE_OF
from lpengine.planner.rules.linux_findings import ANSWERS
from lpengine.targets.linux_answers import _MESSAGES, _SILENT

RELEASE = "6.1.0-56-cloud-amd64"
FLAGS = "SMP preempt mod_unload modversions "
IMAGE = "ab" * 20
NOTHING = Expectation(False, 0, 0, bytes(31))
TEXT = PatchSection(1, ".text", 64, 16, False, True, False)
ORC = PatchSection(2, ".orc_unwind", 12, 1, False, False, False)
ORC_IP = PatchSection(3, ".orc_unwind_ip", 8, 1, False, False, False)
INIT = PatchSection(4, ".init.text", 12, 1, False, True, False)


def function(name: str = "show", **changes: Any) -> FunctionPatch:
    whole = FunctionPatch(0, name, 0, "", 0, "", 1, 0, 32, 0, NOTHING)
    return replace(whole, **changes)


def patch(name: str = "p", *functions: FunctionPatch, **changes: Any) -> Patch:
    whole = Patch(
        name=name,
        raw=b"module",
        sha256=f"sha-{name}",
        build_id=f"id-{name}",
        functions=functions or (function(),),
        undefined=("klp_enable_patch",),
        new_symbols=(NewSymbol("new", 1, 0, 32),),
        sections=(TEXT, ORC, ORC_IP, INIT),
        format="linux",
        vermagic=f"{RELEASE} {FLAGS}",
        versions=(
            SymbolVersion("module_layout", 1),
            SymbolVersion("klp_enable_patch", 2),
        ),
        target_ids=(("vmlinux", IMAGE),),
    )
    return replace(whole, **changes)


def symbol(name: str, *addresses: int, **changes: Any) -> tuple[SymbolFact, ...]:
    fact = SymbolFact(name, 0, 0, True, traced=True)
    return tuple(replace(fact, address=each, **changes) for each in addresses)


KERNEL = KernelFacts(
    release=RELEASE,
    vermagic=f"{RELEASE} {FLAGS}",
    modules=(ModuleFact("ext4", "cd" * 20),),
    exports={
        "module_layout": ExportFact("", 1),
        "klp_enable_patch": ExportFact("", 2),
        "seq_printf": ExportFact("", 3),
    },
    exports_known=True,
    image="/boot/vmlinuz",
)


def facts(*loaded: LoadedPatch, **changes: Any) -> Facts:
    whole = Facts(
        target="linux",
        image=ImageFacts(IMAGE, RELEASE, Span(0, 0), (), Span(0, 0), 1 << 30, "boot"),
        capabilities=Capabilities(
            stacking=False,
            consistency="task",
            format="linux",
            ordered=False,
            replaces_by_module=True,
            largest_name=55,
        ),
        loaded=loaded,
        applied=tuple(p.name for p in loaded if p.state is PatchState.APPLIED),
        symbols={
            "show": symbol("show", 0x1000),
            "twice": symbol("twice", 0x2000, 0x3000),
            "asm": symbol("asm", 0x4000, traced=False),
            "boot": symbol("boot", 0x5000, init=True),
            "hooked": symbol("hooked", 0x6000, hooked=True),
            "ext4_read": symbol("ext4_read", 0x7000, owner="ext4"),
            "hidden": symbol("hidden", 0x8000),
            "partly": symbol("partly", 0x9000, traced=None),
        },
        kernel=KERNEL,
    )
    return replace(whole, **changes)


def kernel(**changes: Any) -> Facts:
    return facts(kernel=replace(KERNEL, **changes))


def on(name: str, **changes: Any) -> LoadedPatch:
    whole = LoadedPatch(
        name, f"id-{name}", "", PatchState.APPLIED, f"sha-{name}", states=()
    )
    return replace(whole, **changes)


def off(name: str, **changes: Any) -> LoadedPatch:
    return on(name, state=PatchState.CHECKED, reverted=True, **changes)


def klp(name: str, where: str = "vmlinux", occurrence: int = 0) -> KlpSymbol:
    return KlpSymbol(where, name, occurrence)


def filed(under: str, section: int, offset: int, what: KlpSymbol) -> KlpRelocation:
    return KlpRelocation(under, section, offset, 2, what, -4)


def found(plan: Plan, cause: str) -> Finding:
    (finding,) = (each for each in plan.findings if each.cause == cause)
    return finding


VERSIONS = patch().versions
SIGNED = b"module~Module signature appended~\n"
REFUSALS = [
    # may the module come in?
    ("modules-disabled", "EPERM", patch(), kernel(modules_disabled=True)),
    ("module-unsigned", "EKEYREJECTED", patch(), kernel(signature_required=True)),
    ("locked-down", "EPERM", patch(), kernel(lockdown="integrity")),
    ("locked-down", "EPERM", patch(), kernel(lockdown="confidentiality")),
    ("tracing-disabled", "EBUSY", patch(), kernel(tracing=False)),
    ("name-in-use", "EEXIST", patch("ext4"), facts()),
    ("name-in-use", "EINVAL", patch("vt"), kernel(built_in=("vt",))),
    ("name-in-use", "EEXIST", patch(), facts(on("p", sha256="other"))),
    ("bad-name", "EINVAL", patch("n" * 56), facts()),
    ("busy", "EBUSY", patch(), facts(in_progress="other")),
    (
        "not-privileged",
        "EPERM",
        patch(),
        facts(capabilities=replace(facts().capabilities, privileged=False)),
    ),
    (
        "no-live-patching",
        "ENOEXEC",
        patch(),
        facts(capabilities=replace(facts().capabilities, live_patching=False)),
    ),
    # what was it built for?
    (
        "vermagic-mismatch",
        "ENOEXEC",
        patch(vermagic=f"{RELEASE} SMP mod_unload "),
        facts(),
    ),
    ("image-mismatch", "", patch(vermagic=f"6.1.0-9-amd64 {FLAGS}"), facts()),
    ("image-mismatch", "", patch(target_ids=(("vmlinux", "00"),)), facts()),
    ("image-mismatch", "", patch(target_ids=(("ext4", "00"),)), facts()),
    (
        "module-layout-mismatch",
        "ENOEXEC",
        patch(versions=(SymbolVersion("module_layout", 9), VERSIONS[1])),
        facts(),
    ),
    ("module-layout-mismatch", "ENOEXEC", patch(versions=VERSIONS[1:]), facts()),
    ("symbol-version-missing", "EINVAL", patch(versions=VERSIONS[:1]), facts()),
    (
        "symbol-version-mismatch",
        "EINVAL",
        patch(
            undefined=("seq_printf",),
            versions=(*VERSIONS, SymbolVersion("seq_printf", 9)),
        ),
        facts(),
    ),
    ("versions-missing", "", patch(versions=()), facts()),
    ("unknown-symbol", "ENOENT", patch(undefined=("nothing",)), facts()),
    ("unknown-symbol", "ENOENT", patch(undefined=("hidden",)), facts()),
    # what the live patch core looks up
    ("old-function-not-found", "EINVAL", patch("p", function("none")), facts()),
    ("symbol-ambiguous", "EINVAL", patch("p", function("twice")), facts()),
    (
        "symbol-position",
        "EINVAL",
        patch("p", function("twice", occurrence=3)),
        facts(),
    ),
    ("function-not-traced", "EINVAL", patch("p", function("boot")), facts()),
    ("function-not-traced", "EINVAL", patch("p", function("asm")), facts()),
    ("function-hooked", "EBUSY", patch("p", function("hooked")), facts()),
    (
        "old-function-not-found",
        "EINVAL",
        patch("p", function("show", object="ext4")),
        facts(),
    ),
    ("klp-symbol-not-found", "EINVAL", patch(klp_symbols=(klp("none"),)), facts()),
    ("symbol-ambiguous", "EINVAL", patch(klp_symbols=(klp("twice"),)), facts()),
    (
        "symbol-position",
        "EINVAL",
        patch(klp_symbols=(klp("show", occurrence=2),)),
        facts(),
    ),
    ("init-reference", "", patch(klp_symbols=(klp("boot"),)), facts()),
    # states
    (
        "states-incompatible",
        "EINVAL",
        patch(states=(SystemState(7, 1),)),
        facts(on("q", states=(SystemState(7, 2),))),
    ),
    (
        "states-incompatible",
        "EINVAL",
        patch(replace=True),
        facts(on("q", states=(SystemState(7, 1),))),
    ),
    # what the kernel does not check
    (
        "klp-relocation-misfiled",
        "EINVAL",
        patch(
            "p",
            function("ext4_read", object="ext4"),
            klp_relocations=(filed("ext4", 1, 40, klp("hidden")),),
        ),
        facts(),
    ),
    (
        "klp-relocation-misfiled",
        "",
        patch(klp_relocations=(filed("ext4", 1, 40, klp("hidden")),)),
        facts(),
    ),
    (
        "klp-relocation-misfiled",
        "EINVAL",
        patch(klp_relocations=(filed("vmlinux", 1, 40, klp("send", "vsock")),)),
        facts(),
    ),
    (
        "klp-relocation-misfiled",
        "",
        patch(klp_relocations=(filed("vmlinux", 1, 40, klp("ext4_read", "ext4")),)),
        facts(),
    ),
    (
        "klp-relocation-misfiled",
        "EINVAL",
        patch(
            "p",
            function("ext4_read", object="ext4"),
            klp_relocations=(filed("ext4", 1, 40, klp("read", "absent")),),
        ),
        facts(),
    ),
    (
        "klp-relocation-early",
        "",
        patch(klp_relocations=(filed("ext4", 4, 4, klp("ext4_read", "ext4")),)),
        facts(),
    ),
    (
        "klp-relocation-early",
        "",
        patch(klp_relocations=(filed("ext4", 1, 8, klp("ext4_read", "ext4")),)),
        facts(),
    ),
    ("new-function-unsized", "", patch(new_symbols=()), facts()),
    (
        "new-function-unsized",
        "",
        patch(new_symbols=(NewSymbol("new", 1, 0, 0),)),
        facts(),
    ),
    ("unwind-missing", "", patch(sections=(TEXT,)), facts()),
    ("wrong-format", "ENOEXEC", patch(format="xen"), facts()),
    (
        "not-marked-livepatch",
        "EINVAL",
        patch(
            violations=(
                Violation("not-marked-livepatch", "EINVAL", "modinfo", "no", "yes"),
            )
        ),
        facts(),
    ),
    # who would never switch
    (
        "function-resident",
        "EBUSY",
        patch(),
        facts(busy=(BusyFact("kernel thread 4", "show", 0, ("show",), True),)),
    ),
]


@pytest.mark.parametrize(
    ("cause", "errno", "patch", "facts"),
    REFUSALS,
    ids=[f"{number}-{row[0]}" for number, row in enumerate(REFUSALS)],
)
def test_a_refusal_is_foreseen(
    cause: str, errno: str | None, patch: Patch, facts: Facts
) -> None:
    plan = plan_apply([patch], facts)
    assert plan.verdict is Verdict.REFUSED
    assert plan.steps == ()
    assert plan.blocking[0].cause == cause
    finding = plan.blocking[0]
    if errno is not None:
        assert finding.errno == errno
    assert finding.code == CODE_OF[cause]
    assert finding.observed
    assert finding.needed
    assert finding.remedy


def test_every_row_says_what_is_left_to_do() -> None:
    """Where the remedy is not taken; what is wrong with the file itself asks for
    nothing."""
    asking = {row[0] for row in REFUSALS if plan_apply([row[2]], row[3]).tasks}
    assert {"image-mismatch", "function-resident", "unwind-missing"} <= asking


def test_a_thread_that_lives_in_the_function_means_a_reboot() -> None:
    busy = BusyFact("kernel thread 40 (kswapd0)", "show", 0, ("show", "kthread"), True)
    plan = plan_apply([patch()], facts(busy=(busy,)))
    assert plan.tasks in (
        (Guidance.EVACUATE_AND_REBOOT,),
        (Guidance.REBOOT_HOST,),
    )
    assert found(plan, "function-resident").evidence["backtrace"] == ["show", "kthread"]


def test_every_cause_of_the_kernel_is_in_the_catalogue() -> None:
    causes = {*ANSWERS, *(cause for _, cause in _MESSAGES), *_SILENT.values()}
    assert {*causes, "refused", "transition-stalled"} <= set(CODE_OF)


def test_every_answer_is_foreseen_by_a_test() -> None:
    """Or its cause is found by the reader of modules."""
    rows = {row[0] for row in REFUSALS}
    rows |= {"not-cumulative", "pinned", "unload-applied"}
    assert set(ANSWERS) - rows == {"relocation-target-nonzero"}


def test_a_good_patch_is_loaded_and_applied() -> None:
    plan = plan_apply([patch()], facts())
    assert plan.verdict is Verdict.READY
    assert plan.findings == ()
    assert plan.steps == (Load("p", "sha-p"), Apply("p"))


@pytest.mark.parametrize(
    "good",
    [
        patch("p", function("twice", occurrence=2)),
        patch("p", function("ext4_read", object="ext4")),
        patch("p", function("partly")),
        patch(klp_symbols=(klp("hidden"), klp("ext4_read", "ext4"))),
        patch(vermagic=f"{RELEASE} {FLAGS}".strip()),
        patch(raw=SIGNED),
        patch(states=(SystemState(1, 1),)),
        patch(target_ids=(("vmlinux", IMAGE), ("ext4", "cd" * 20))),
    ],
    ids=range(8),
)
def test_these_are_fine(good: Patch) -> None:
    assert plan_apply([good], facts()).verdict is Verdict.READY


def test_a_signed_module_is_left_to_the_kernel_to_judge() -> None:
    strict = kernel(signature_required=True, lockdown="integrity")
    assert plan_apply([patch(raw=SIGNED)], strict).verdict is Verdict.READY


def test_a_module_that_is_not_there_is_patched_later() -> None:
    later = patch("p", function("vsock_send", object="vsock"))
    plan = plan_apply([later], facts())
    assert plan.verdict is Verdict.READY
    assert found(plan, "target-absent").subject == "vsock"


def test_a_module_that_is_not_there_is_judged_by_its_file() -> None:
    send = symbol("vsock_send", 0, owner="vsock")
    there = replace(
        kernel(on_disk=(ModuleFact("vsock", "ef" * 20),)), symbols={"vsock_send": send}
    )
    fits = patch("p", function("vsock_send", object="vsock"))
    plan = plan_apply([fits], there)
    assert plan.verdict is Verdict.READY
    assert "its file was checked" in found(plan, "target-absent").observed
    wrong = patch("p", function("vsock_gone", object="vsock"))
    finding = found(plan_apply([wrong], there), "old-function-not-found")
    assert (finding.errno, finding.severity) == ("EINVAL", Severity.BLOCK)
    other = replace(fits, target_ids=(("vsock", "00" * 20),))
    assert plan_apply([other], there).blocking[0].cause == "image-mismatch"


def test_what_cannot_be_seen_is_said_and_does_not_refuse() -> None:
    plan = plan_apply([patch()], kernel(exports={}, exports_known=False, image=""))
    assert plan.verdict is Verdict.READY
    assert found(plan, "code-not-seen").severity is Severity.WARN
    hidden = plan_apply([patch()], kernel(symbols_known=False))
    assert found(hidden, "code-not-seen").severity is Severity.WARN


def test_a_patched_module_may_use_what_another_one_exports() -> None:
    """The kernel looks for it once the patched one is there, which needs the other."""
    uses = patch(
        "p",
        function("ext4_read", object="ext4"),
        klp_relocations=(filed("ext4", 1, 8, klp("start", "jbd2")),),
    )
    both = (ModuleFact("ext4", "cd" * 20), ModuleFact("jbd2", "ef" * 20))
    for modules in (both, ()):
        plan = plan_apply([uses], kernel(modules=modules))
        causes = {each.cause for each in plan.findings}
        assert "klp-relocation-misfiled" not in causes


def test_a_module_with_relocations_in_another_is_not_loaded_twice() -> None:
    uses = patch(
        "p",
        function("ext4_read", object="ext4"),
        klp_relocations=(filed("ext4", 1, 8, klp("ext4_read", "ext4")),),
    )
    finding = found(plan_apply([uses], facts()), "target-reload")
    assert (finding.severity, finding.subject) == (Severity.WARN, "ext4")
    newer = kernel(release="6.3.0", vermagic=f"6.3.0 {FLAGS}")
    plan = plan_apply([replace(uses, vermagic=f"6.3.0 {FLAGS}")], newer)
    assert plan.findings == ()


def test_somebody_passing_through_is_a_warning() -> None:
    busy = BusyFact("process 4 (cat)", "show", 0, ("schedule", "show"))
    plan = plan_apply([patch()], facts(busy=(busy,)))
    assert plan.verdict is Verdict.READY
    assert found(plan, "function-busy").severity is Severity.WARN


def test_a_callback_may_say_no() -> None:
    plan = plan_apply(
        [patch(callbacks=(KlpCallback("", "pre_patch", "check"),))], facts()
    )
    assert found(plan, "hook-veto").severity is Severity.INFO


def test_what_is_on_is_left_alone() -> None:
    plan = plan_apply([patch()], facts(on("p")))
    assert plan.verdict is Verdict.NOTHING


def test_what_is_off_is_put_on_again_without_loading() -> None:
    plan = plan_apply([patch()], facts(off("p")))
    assert plan.steps == (Apply("p"),)


def test_a_cumulative_patch_replaces_whatever_is_on() -> None:
    plan = plan_apply([patch(replace=True)], facts(on("q"), on("r")))
    assert plan.steps == (Load("p", "sha-p"), Replace("p", ("q", "r")))
    same = plan_replace(patch(replace=True), facts(on("q"), on("r")))
    assert same.steps == plan.steps
    assert plan_apply([patch(replace=True)], facts()).steps[-1] == Apply("p")


def test_a_patch_of_somebody_else_is_replaced_with_a_warning() -> None:
    plan = plan_apply([patch(replace=True)], facts(on("q", sha256="")))
    assert found(plan, "not-revertible").subject == "q"


def test_only_a_cumulative_patch_replaces() -> None:
    plan = plan_replace(patch(), facts(on("q")))
    assert [finding.cause for finding in plan.blocking] == ["not-cumulative"]
    assert plan.blocking[0].errno == "EINVAL"


def test_patches_come_off_in_any_order() -> None:
    plan = plan_revert(["q"], facts(on("q"), on("r")))
    assert plan.steps == (Revert("q"),)


def test_somebody_in_the_new_code_is_a_warning_before_it_goes() -> None:
    busy = BusyFact("process 4 (cat)", "show", 0, ("schedule", "show"))
    inside = on("q", patched=(PatchedFunction("", "show", 1),))
    plan = plan_revert(["q"], facts(inside, busy=(busy,)))
    assert plan.steps == (Revert("q"),)
    assert found(plan, "function-busy").subject == "show"


def test_force_is_planned_with_a_warning_and_only_where_asked_for() -> None:
    busy = BusyFact("kernel thread 40 (kswapd0)", "show", 0, ("show", "kthread"), True)
    capable = replace(facts().capabilities, force=True)
    stalling = facts(busy=(busy,), capabilities=capable)
    assert plan_apply([patch()], stalling).verdict is Verdict.REFUSED
    plan = plan_apply([patch()], stalling, Policy(force=True))
    assert plan.steps == (Load("p", "sha-p"), Apply("p", force=True))
    assert found(plan, "forced").severity is Severity.WARN
    assert found(plan, "function-busy").severity is Severity.WARN
    going = plan_revert(["p"], facts(on("p"), capabilities=capable), Policy(force=True))
    assert going.steps == (Revert("p", force=True),)
    whole = plan_replace(
        patch(replace=True), facts(on("q"), capabilities=capable), Policy(force=True)
    )
    assert whole.steps[-1] == Replace("p", ("q",), force=True)


def test_what_cannot_be_forced_is_refused() -> None:
    plan = plan_apply([patch()], facts(), Policy(force=True))
    assert [finding.cause for finding in plan.blocking] == ["unknown-action"]


def test_what_is_pinned_does_not_come_on_again() -> None:
    plan = plan_apply([patch()], facts(off("p", pinned=True)))
    assert [finding.cause for finding in plan.blocking] == ["pinned"]


def test_what_is_on_is_not_unloaded() -> None:
    (finding,) = plan_unload(["q"], facts(on("q"))).blocking
    assert (finding.cause, finding.errno) == ("unload-applied", "EAGAIN")


def test_what_is_pinned_stays() -> None:
    plan = plan_unload(["q"], facts(off("q", pinned=True)))
    assert [finding.cause for finding in plan.blocking] == ["pinned"]
    assert plan_unload(["q"], facts(off("q"))).steps == (Unload("q", "sha-q"),)


def test_a_linux_module_is_not_for_xen() -> None:
    xen = facts(capabilities=Capabilities())
    assert plan_apply([patch()], xen).blocking[0].cause == "wrong-format"
    assert plan_replace(patch(), xen).blocking[0].cause == "wrong-format"
