"""One case a cause: what the hypervisor refuses, or takes and dies of, is known
before anything is touched."""

from dataclasses import replace

import pytest

from lpengine.patch.model import (
    Alternative,
    Expectation,
    HookKind,
    NewSymbol,
    Patch,
    PatchRelocation,
)
from lpengine.patch.xen.refusals import DEFECTS, REFUSALS
from lpengine.planner import (
    BusyFact,
    Facts,
    Guidance,
    Policy,
    Severity,
    Span,
    Verdict,
    plan_apply,
    plan_replace,
    plan_revert,
    plan_unload,
)
from lpengine.planner.catalogue.causes import CODE_OF
from tests.planner_cases import (
    BOOT,
    CODE,
    DATA,
    FUNCS,
    GUARDED,
    IMAGE,
    LOOP,
    OWN_DATA,
    PLAIN,
    SHORT,
    TINY,
    F,
    G,
    able,
    applied,
    blocking_causes,
    code,
    expecting,
    facts,
    function,
    hooked,
    imaged,
    loaded,
    nop,
    only,
    patch,
    symbol,
    violation,
    with_code,
    with_symbols,
)

FAR = 0x1_8000_0000


def alternative(**changes: int) -> Patch:
    whole = Alternative((2, 0), (3, 0), 8, False, 3, 3, 0)
    return patch(alternatives=(replace(whole, **changes),))


def relocated(kind: int, name: str = "data") -> Patch:
    return patch(
        undefined=(name,), relocations=(PatchRelocation(2, 8, kind, 3, name, -4),)
    )


def expected(**changes: int) -> Expectation:
    return replace(expecting(PLAIN[:5]), **changes)


def undefined(name: str) -> Patch:
    return patch(undefined=(name,))


def bringing(name: str) -> Patch:
    return patch(new_symbols=(NewSymbol(name, 2, 0, 8),))


# (the cause, the errno, what is applied, the target)
APPLY: list[tuple[str, str, Patch, Facts]] = [
    ("bad-name", "EINVAL", patch("x" * 128), facts()),
    ("bad-name", "EINVAL", patch(""), facts()),
    ("bad-name", "EINVAL", patch("a\0b"), facts()),
    ("name-in-use", "EEXIST", patch(), facts(loaded(sha256="other"))),
    ("name-in-use", "EEXIST", patch(), facts(applied(sha256="other"))),
    ("build-id-in-use", "EEXIST", patch(), facts(loaded("q", build_id="id-p"))),
    (
        "payload-too-large",
        "EINVAL",
        patch(raw=bytes(65)),
        able(facts(), largest_module=64),
    ),
    ("out-of-memory", "ENOMEM", patch(), imaged(facts(), patch_area_free=4095)),
    ("unknown-symbol", "ENOENT", undefined("nowhere"), facts()),
    ("old-function-not-found", "ENOENT", patch("p", function("nowhere")), facts()),
    ("old-function-not-found", "ENOENT", patch("p", function("")), facts()),
    ("relocation-unsupported", "EOPNOTSUPP", relocated(11), facts()),
    (
        "relocation-overflow",
        "EOVERFLOW",
        relocated(2),
        with_symbols(facts(), symbol("data", FAR)),
    ),
    (
        "relocation-overflow",
        "EOVERFLOW",
        relocated(4),
        with_symbols(facts(), symbol("data", FAR)),
    ),
    (
        "relocation-overflow",
        "EOVERFLOW",
        patch(relocations=(PatchRelocation(2, 8, 2, 3, "", 1 << 40),)),
        facts(),
    ),
    ("function-too-small", "EINVAL", patch("p", function("short", 3)), facts()),
    (
        "function-too-small",
        "EINVAL",
        patch("p", function("h", 8)),
        with_code(
            with_symbols(facts(), symbol("h", 0x2200, 8)),
            code(0x2200, "h", GUARDED[:8]),
        ),
    ),
    (
        "function-too-small",
        "EINVAL",
        patch("p", function("h", 8)),
        with_code(
            with_symbols(facts(), symbol("h", 0x2200, 8)),
            code(0x2200, "h", bytes.fromhex("660f1f01") + GUARDED[4:8]),
        ),
    ),
    ("nop-too-long", "EOPNOTSUPP", patch("p", nop(32, old_size=40)), facts()),
    ("nop-beyond-function", "EINVAL", patch("p", nop(16)), facts()),
    (
        "function-out-of-reach",
        "EOVERFLOW",
        patch(),
        imaged(facts(), patch_area=Span(FAR, FAR + 0x1000)),
    ),
    (
        "function-out-of-reach",
        "EOVERFLOW",
        patch("p", function(new_section=0, new_symbol=f"{FAR:#x}")),
        facts(),
    ),
    ("xen-build-id-mismatch", "EINVAL", patch(image_build_id="bb"), facts()),
    ("no-xen-build-id", "ENODATA", patch(), imaged(facts(), build_id="")),
    ("duplicate-symbol", "EEXIST", bringing("data"), facts()),
    (
        "duplicate-symbol",
        "EEXIST",
        bringing("new"),
        facts(loaded("q", symbols=("new",))),
    ),
    ("depends-mismatch", "EINVAL", patch(depends="bb"), facts()),
    ("depends-mismatch", "EINVAL", patch(), facts(applied("q"))),
    (
        "expectation-mismatch",
        "EINVAL",
        patch("p", function(expectation=expecting(b"\xde\xad"))),
        facts(),
    ),
    (
        "expectation-reserved",
        "EINVAL",
        patch("p", function(expectation=expected(reserved=1))),
        facts(),
    ),
    (
        "expectation-too-long",
        "EOVERFLOW",
        patch("p", function(expectation=expected(length=32))),
        facts(),
    ),
    (
        "expectation-beyond-function",
        "ERANGE",
        patch("p", function(expectation=expected(length=20))),
        facts(),
    ),
    (
        "expectation-no-address",
        "EFAULT",
        patch("p", function("", expectation=expected())),
        facts(),
    ),
    ("busy", "EBUSY", patch(), facts(in_progress="q")),
    ("waitqueue-active", "EBUSY", patch(), facts(waitqueues=("d1",))),
    ("no-live-patching", "ENOSYS", patch(), able(facts(), live_patching=False)),
    ("not-privileged", "EPERM", patch(), able(facts(), privileged=False)),
    ("wrong-interface", "EACCES", patch(), able(facts(), interface_known=False)),
    # What the hypervisor takes.
    ("nop-underflow", "", patch("p", nop(3, "h", len(GUARDED))), facts()),
    ("nop-underflow", "", patch("p", nop(4, "h", len(GUARDED))), facts()),
    ("nop-underflow", "", patch("p", nop(0)), facts()),
    ("function-twice", "", patch("p", function(), function(index=1)), facts()),
    (
        "function-twice",
        "",
        patch("p", function(), function("", old_address=F)),
        facts(),
    ),
    (
        "function-twice",
        "",
        patch("p", function(), function("", old_address=F + 4, index=1)),
        with_code(facts(), replace(code(F + 4, "inner", PLAIN), address=F + 4)),
    ),
    ("init-target", "", patch("p", function("boot")), facts()),
    (
        "init-target",
        "",
        patch("p", function("g")),
        with_symbols(facts(), symbol("g", G, len(PLAIN), init=True)),
    ),
    ("init-reference", "", undefined("boot"), facts()),
    (
        "init-reference",
        "",
        undefined("data"),
        with_symbols(facts(), symbol("data", DATA, init=True)),
    ),
    ("foreign-alternatives", "", alternative(feature=640), facts()),
    (
        "foreign-alternatives",
        "",
        alternative(feature=1024),
        able(facts(), features=0),
    ),
    ("foreign-alternatives", "", alternative(replacement_size=4), facts()),
    ("foreign-alternatives", "", alternative(padding=252), facts()),
    ("nop-partial-instruction", "", patch("p", nop(2)), facts()),
    ("nop-partial-instruction", "", patch("p", nop(len(PLAIN))), facts()),
    ("wrong-old-size", "", patch("p", function(old_size=len(PLAIN) + 1)), facts()),
    ("wrong-old-size", "", patch("p", function(old_size=len(PLAIN) - 1)), facts()),
    (
        "wrong-old-size",
        "",
        patch("p", function("", old_address=F + 1)),
        facts(code={F + 1: code(F, "f", PLAIN)}),
    ),
    # What only this engine looks for.
    ("jump-into-patched-bytes", "", patch("p", function("loop", 10)), facts()),
    (
        "ambiguous-symbol",
        "",
        patch(),
        with_symbols(facts(), symbol("f", F), symbol("f", G)),
    ),
    (
        "ambiguous-symbol",
        "",
        undefined("data"),
        with_symbols(facts(), symbol("data", DATA), symbol("data", DATA + 8)),
    ),
    (
        "target-text-modified",
        "",
        patch(),
        with_code(facts(), replace(code(F, "f", PLAIN), live=b"\xcc" * 64)),
    ),
    ("code-not-seen", "", patch(), facts(code={})),
    (
        "not-in-text",
        "",
        patch("p", function("", old_address=0xF000)),
        with_code(facts(), code(0xF000, "far", PLAIN)),
    ),
    (
        "overlaps-applied",
        "",
        patch(depends="id-q"),
        facts(applied("q", functions=(Span(F - 4, F + 2),))),
    ),
]


@pytest.mark.parametrize(
    ("cause", "errno", "module", "target"),
    APPLY,
    ids=[f"{number}-{case[0]}" for number, case in enumerate(APPLY)],
)
def test_apply_is_refused(cause: str, errno: str, module: Patch, target: Facts) -> None:
    plan = plan_apply([module], target)
    finding = next(found for found in plan.findings if found.cause == cause)
    assert plan.verdict is Verdict.REFUSED
    assert plan.steps == ()
    assert finding.severity is Severity.BLOCK
    assert finding.errno == errno
    assert finding.code == CODE_OF[cause]
    assert finding.remedy
    assert finding.observed
    assert finding.needed


STATIC = sorted(
    {cause for cause, refusal in REFUSALS.items() if refusal.errno and cause in CODE_OF}
)


@pytest.mark.parametrize("cause", STATIC)
def test_what_the_reader_found_blocks(cause: str) -> None:
    module = patch(violations=(violation(cause, REFUSALS[cause].errno),))
    finding = only(plan_apply([module], facts()), cause)
    assert finding.severity is Severity.BLOCK
    assert finding.errno == REFUSALS[cause].errno
    assert finding.subject == "the thing"
    assert (finding.observed, finding.needed) == ("what is", "what should be")


@pytest.mark.parametrize("cause", sorted(DEFECTS))
def test_what_the_reader_fears_blocks_where_the_version_suffers(cause: str) -> None:
    module = patch(violations=(violation(cause, ""),))
    finding = only(plan_apply([module], imaged(facts(), version="")), cause)
    assert finding.severity is Severity.BLOCK
    assert finding.errno == ""
    assert finding.evidence["effect"] == DEFECTS[cause].effect


@pytest.mark.parametrize(
    ("version", "severity"),
    [
        ("4.17.1", Severity.BLOCK),
        ("4.17.2", Severity.BLOCK),
        ("", Severity.BLOCK),
        ("4.17.7", Severity.WARN),
    ],
)
def test_readonly_records_matter_to_some_versions(
    version: str, severity: Severity
) -> None:
    module = patch(violations=(violation("readonly-funcs", ""),))
    plan = plan_apply([module], imaged(facts(), version=version))
    assert only(plan, "readonly-funcs").severity is severity
    refused = severity is Severity.BLOCK
    assert plan.verdict is (Verdict.REFUSED if refused else Verdict.READY)


def test_later_versions_refuse_foreign_alternatives_themselves() -> None:
    plan = plan_apply([alternative(feature=999)], imaged(facts(), version="4.20.1"))
    assert only(plan, "foreign-alternatives").errno == "EINVAL"


def test_an_unknown_rule_fails_safe() -> None:
    module = patch(violations=(violation("never-heard-of", "EINVAL"),))
    plan = plan_apply([module], facts())
    assert plan.verdict is Verdict.REFUSED
    assert plan.tasks == (Guidance.REBOOT_HOST,)
    assert only(plan, "unknown-rule").evidence["rule"] == "never-heard-of"


def test_careful_targets_are_not_trusted_with_more() -> None:
    module = patch("p", nop(3, "h", len(GUARDED)))
    assert plan_apply([module], able(facts(), careful=True)).verdict is Verdict.REFUSED


# Actions on what is loaded.


def test_revert_of_a_buried_patch_names_the_top() -> None:
    target = facts(applied("a"), applied("b"), applied("c"))
    finding = only(plan_revert(["a"], target), "not-top")
    assert (finding.errno, finding.code) == ("EBUSY", "LP-DEP-503")
    assert finding.evidence["top"] == "c"
    assert finding.evidence["above"] == ["c", "b"]
    assert "c, b" in finding.remedy


def test_revert_and_unload_of_an_unknown_name() -> None:
    for plan in (plan_revert(["x"], facts()), plan_unload(["x"], facts())):
        assert only(plan, "not-found").errno == "ENOENT"
        assert plan.verdict is Verdict.REFUSED


def test_unload_of_an_applied_patch() -> None:
    finding = only(plan_unload(["p"], facts(applied())), "unload-applied")
    assert finding.errno == "EINVAL"
    assert "revert" in finding.remedy


def test_unload_of_what_an_applied_patch_may_use() -> None:
    target = facts(loaded("a"), applied("b", depends="id-a"))
    assert blocking_causes(plan_unload(["a"], target)) == ["still-needed"]


@pytest.mark.parametrize(
    "kind", [kind for kind in HookKind if kind.vetoing], ids=lambda kind: str(kind)
)
def test_replace_with_vetoing_hooks(kind: HookKind) -> None:
    finding = only(plan_replace(hooked(kind), facts()), "replace-vetoing-hooks")
    assert finding.errno == "EOPNOTSUPP"


def test_replace_of_a_patch_with_vetoing_hooks() -> None:
    target = facts(applied("q", vetoing_hooks=True))
    finding = only(plan_replace(patch(), target), "replace-vetoing-hooks")
    assert finding.evidence["patches"] == ["q"]


def test_replace_needs_a_patch_for_the_image() -> None:
    plan = plan_replace(patch(depends="id-q"), facts(applied("q")))
    assert only(plan, "depends-mismatch").errno == "EINVAL"


def test_replace_where_there_is_none() -> None:
    plan = plan_replace(patch(), able(facts(), replace=False))
    assert blocking_causes(plan) == ["unknown-action"]


def test_replace_by_a_buried_patch_would_do_nothing() -> None:
    plan = plan_replace(patch(), facts(applied(), applied("q")))
    assert blocking_causes(plan) == ["wrong-state"]


# Policy.


@pytest.mark.parametrize(
    ("policy", "code_name"),
    [
        (Policy(live_patching=False), "LP-POL-401"),
        (Policy(licensed=False), "LP-POL-402"),
    ],
)
def test_policy_forbids_new_patches_only(policy: Policy, code_name: str) -> None:
    for plan in (
        plan_apply([patch()], facts(), policy),
        plan_replace(patch(), facts(), policy),
    ):
        assert [finding.code for finding in plan.blocking] == [code_name]
        assert plan.tasks == (Guidance.EVACUATE_AND_REBOOT,)
    assert plan_revert(["p"], facts(applied()), policy).verdict is Verdict.READY


# What is allowed although it looks alike.

FINE: list[tuple[str, Patch, Facts]] = [
    ("plain", patch(), facts()),
    ("behind an endbr64", patch("p", function("h", len(GUARDED))), facts()),
    ("by address", patch("p", function("", old_address=F)), facts()),
    ("nop of whole instructions", patch("p", nop(4)), facts()),
    ("nop behind endbr64", patch("p", nop(8, "h", len(GUARDED))), facts()),
    ("expected bytes", patch("p", function(expectation=expecting(PLAIN))), facts()),
    (
        "disabled expectation",
        patch("p", function(expectation=expected(enabled=False, reserved=1))),
        facts(),
    ),
    ("known alternative", alternative(), facts()),
    ("near data", relocated(2), facts()),
    ("two functions", patch("p", function(), function("g", index=1)), facts()),
    (
        "two names for one address",
        patch(),
        with_symbols(facts(), symbol("f", F, 13), symbol("f", F, 13)),
    ),
    (
        "the image's symbol hides a patch's",
        undefined("data"),
        with_symbols(
            facts(loaded("q")), symbol("data", DATA), symbol("data", F, owner="q")
        ),
    ),
    (
        "far code by a long jump",
        patch("p", function("h", len(GUARDED) + 8)),
        able(
            imaged(
                with_code(
                    with_symbols(facts(), symbol("h", 0x2200, len(GUARDED) + 8)),
                    code(0x2200, "h", GUARDED + bytes.fromhex("90" * 7 + "c3")),
                ),
                patch_area=Span(FAR, FAR + 4096),
            ),
            far_jumps=True,
        ),
    ),
    (
        "stacked on the same function",
        patch(depends="id-q"),
        facts(applied("q", functions=(Span(F, F + len(PLAIN)),))),
    ),
]


@pytest.mark.parametrize(
    ("module", "target"), [case[1:] for case in FINE], ids=[case[0] for case in FINE]
)
def test_what_is_fine_is_ready(module: Patch, target: Facts) -> None:
    plan = plan_apply([module], target)
    assert plan.blocking == ()
    assert plan.verdict is Verdict.READY
    assert plan.tasks == ()


# Evidence and remedies.


def test_a_short_function_with_padding_says_what_would_do() -> None:
    finding = only(
        plan_apply([patch("p", function("short", 3))], facts()), "function-too-small"
    )
    assert finding.code == "LP-SHP-171"
    assert finding.evidence["room"] == 0x40
    assert finding.evidence["padded_size"] == 0x40
    assert "old_size 5" in finding.remedy


def test_a_short_function_before_other_code_has_no_way_but_its_callers() -> None:
    crowded = code(SHORT, "short", TINY + PLAIN)
    crowded = replace(crowded, size=len(TINY))
    target = with_code(facts(), crowded)
    finding = only(
        plan_apply([patch("p", function("short", 3))], target), "function-too-small"
    )
    assert "callers" in finding.remedy
    assert "old_size" not in finding.remedy


def test_padding_may_be_used_where_it_must() -> None:
    plan = plan_apply([patch("p", function("short", 5))], facts())
    assert plan.verdict is Verdict.READY
    assert only(plan, "uses-padding").severity is Severity.INFO


def test_padding_is_not_used_where_something_else_is() -> None:
    crowded = replace(code(SHORT, "short", TINY + PLAIN), size=len(TINY))
    plan = plan_apply([patch("p", function("short", 5))], with_code(facts(), crowded))
    assert blocking_causes(plan) == ["wrong-old-size"]


def test_a_function_that_jumps_into_its_padding_keeps_it() -> None:
    body = bytes.fromhex("eb02c3")
    target = with_code(facts(), code(SHORT, "short", body))
    plan = plan_apply([patch("p", function("short", 5))], target)
    assert "wrong-old-size" in blocking_causes(plan)


def test_jumps_into_the_overwritten_bytes_are_listed() -> None:
    finding = only(
        plan_apply([patch("p", function("loop", 10))], facts()),
        "jump-into-patched-bytes",
    )
    assert finding.evidence["branches"] == [f"{LOOP + 7:#x}"]
    assert finding.evidence["targets"] == [f"{LOOP + 2:#x}"]


def test_partial_nops_list_the_sizes_that_would_do() -> None:
    plan = plan_apply([patch("p", nop(2))], facts())
    assert (
        "blank one of 1, 4, 6, 11, 12 bytes"
        in only(plan, "nop-partial-instruction").remedy
    )


def test_a_jump_out_is_an_end_like_a_return() -> None:
    tail_call = PLAIN[:4] + bytes.fromhex("e9 00 20 00 00")
    target = with_code(
        with_symbols(facts(), symbol("f", F, len(tail_call))), code(F, "f", tail_call)
    )
    for size in (8, 9):
        plan = plan_apply([patch("p", nop(size, old_size=len(tail_call)))], target)
        assert blocking_causes(plan) == ["nop-partial-instruction"]
    assert (
        plan_apply([patch("p", nop(4, old_size=len(tail_call)))], target).blocking == ()
    )


def test_undecodable_code_is_a_warning() -> None:
    body = PLAIN[:-1] + bytes.fromhex("06 c3")
    target = with_code(
        with_symbols(facts(), symbol("f", F, len(body))), code(F, "f", body)
    )
    plan = plan_apply([patch("p", function(old_size=len(body)))], target)
    assert only(plan, "function-undecodable").severity is Severity.WARN
    assert plan.verdict is Verdict.READY


def test_foreign_writes_show_both_sides() -> None:
    probed = bytearray(code(F, "f", PLAIN).live)
    probed[1] = 0xCC
    target = with_code(facts(), replace(code(F, "f", PLAIN), live=bytes(probed)))
    finding = only(plan_apply([patch()], target), "target-text-modified")
    assert finding.code == "LP-TGT-105"
    assert finding.evidence["address"] == f"{F + 1:#x}"
    assert (finding.observed[:2], finding.needed[:2]) == ("cc", "48")


@pytest.mark.parametrize(
    ("body", "live", "owners", "fine"),
    [
        (PLAIN, b"\xe9\1\2\3\4" + PLAIN[5:], ("q",), True),
        (PLAIN, b"\xe9\1\2\3\4" + PLAIN[5:], (), False),
        (PLAIN, b"\xe9\1\2\3\4\xcc" + PLAIN[6:], ("q",), False),
        (GUARDED, GUARDED[:4] + b"\xe9\1\2\3\4" + GUARDED[9:], ("q",), True),
        (GUARDED, b"\xe9\1\2\3\4" + GUARDED[5:], ("q",), False),
        (PLAIN, b"\x0f\x1f\x40\x00" + PLAIN[4:], ("q",), True),
        (PLAIN, b"\xe9\1\2\3\4\x90" + PLAIN[6:], ("q", "r"), True),
    ],
)
def test_the_stack_explains_redirects_and_nothing_else(
    body: bytes, live: bytes, owners: tuple[str, ...], fine: bool
) -> None:
    whole = code(F, "f", body)
    changed = replace(whole, live=live + whole.live[len(live) :], redirected_by=owners)
    target = with_code(
        with_symbols(
            facts(*(applied(name) for name in owners)), symbol("f", F, len(body))
        ),
        changed,
    )
    depends = f"id-{owners[-1]}" if owners else IMAGE
    module = patch("p", function(old_size=len(body)), depends=depends)
    causes = blocking_causes(plan_apply([module], target))
    assert ("target-text-modified" not in causes) is fine


def test_a_static_symbol_is_looked_for_by_its_file() -> None:
    finding = only(plan_apply([undefined("nowhere")], facts()), "unknown-symbol")
    assert "path/file.c#name" in finding.remedy


def test_dependency_remedies_name_the_patch_that_fits() -> None:
    below = facts(applied("a"), applied("b", depends="id-a"), loaded("c"))
    on_a = only(plan_apply([patch(depends="id-a")], below), "depends-mismatch")
    assert on_a.remedy.startswith("revert b first: a lies below")
    on_c = only(plan_apply([patch(depends="id-c")], below), "depends-mismatch")
    assert on_c.remedy.startswith("apply c first")
    on_image = only(plan_apply([patch()], below), "depends-mismatch")
    assert "replace" in on_image.remedy
    on_none = only(plan_apply([patch(depends="zz")], below), "depends-mismatch")
    assert "build id zz" in on_none.remedy
    assert on_none.evidence["stack"] == ["a", "b"]


def test_nodeps_turns_the_dependency_into_a_warning() -> None:
    plan = plan_apply([patch(depends="zz")], facts(), Policy(nodeps=True))
    assert only(plan, "depends-mismatch").severity is Severity.WARN
    assert plan.verdict is Verdict.READY


def test_what_does_not_stack_has_no_dependencies() -> None:
    target = able(facts(), stacking=False)
    assert plan_apply([patch(depends="zz")], target).verdict is Verdict.READY


def test_busy_functions_warn_and_can_be_retried() -> None:
    busy = BusyFact("cpu1", "f+0x1", F + 1, ("f", "idle"))
    plan = plan_apply([patch()], facts(busy=(busy,)))
    finding = only(plan, "function-busy")
    assert finding.severity is Severity.WARN
    assert finding.retryable
    assert finding.evidence["backtrace"] == ["f", "idle"]
    assert plan.verdict is Verdict.READY


@pytest.mark.parametrize(
    ("consistency", "offset", "warned"),
    [
        ("set", 12, True),
        ("set", 13, False),
        ("entry", 4, True),
        ("entry", 5, False),
        ("stackless", 1, False),
    ],
)
def test_busy_depends_on_the_consistency(
    consistency: str, offset: int, warned: bool
) -> None:
    target = facts(busy=(BusyFact("cpu0", "f", F + offset),))
    plan = plan_apply([patch()], able(target, consistency=consistency))
    causes = [finding.cause for finding in plan.findings]
    assert ("function-busy" in causes) is warned


def test_consequences_are_told_beforehand() -> None:
    with_data = patch(sections=(FUNCS, CODE, OWN_DATA))
    finding = only(plan_apply([with_data], facts()), "not-revertible")
    assert finding.severity is Severity.WARN
    assert finding.evidence["sections"] == [".data"]
    veto = plan_apply([hooked(HookKind.PREAPPLY)], facts())
    assert only(veto, "not-revertible").subject == "vetoing hooks"
    assert only(veto, "hook-veto").severity is Severity.INFO
    own = plan_apply([hooked(HookKind.APPLY)], facts())
    assert only(own, "not-revertible").subject == "action hooks"


def test_findings_come_in_the_order_of_the_targets_checks() -> None:
    module = patch(
        "p",
        function("short", 3),
        image_build_id="bb",
        depends="cc",
        undefined=("nowhere",),
        violations=(violation("modinfo-not-terminated", "EINVAL"),),
    )
    plan = plan_apply([module], facts(loaded(sha256="other", build_id="")))
    assert blocking_causes(plan) == [
        "name-in-use",
        "unknown-symbol",
        "function-too-small",
        "modinfo-not-terminated",
        "xen-build-id-mismatch",
        "depends-mismatch",
    ]


def test_the_reader_and_the_rules_do_not_say_it_twice() -> None:
    found = (replace(violation("nop-beyond-function", "EINVAL"), subject="f"),)
    module = patch("p", nop(16), violations=found)
    assert blocking_causes(plan_apply([module], facts())) == ["nop-beyond-function"]


def test_boot_addresses_are_known_by_their_place() -> None:
    plan = plan_apply([patch("p", function("", old_address=BOOT))], facts())
    assert blocking_causes(plan) == ["init-target"]
