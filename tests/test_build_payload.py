"""C and assembly become payloads that Xen would take, or a refusal with a code."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lpengine.elf import Image, open_image, parse_image
from lpengine.errors import BuildError, InputError, NotFoundError, UsageError
from lpengine.patch.model import FunctionPatch, HookKind, Patch
from lpengine.patch.xen.build import Built, build_asm, build_c
from lpengine.patch.xen.reader import read_payload

EXTRA = {"xen_extra_version": ""}

# Source and what it replaces.
SOURCES: dict[str, dict[str, str]] = {
    "extra_version.c": EXTRA,
    "extra_version_again.c": EXTRA,
    "with_data.c": {"count_call": ""},
    "with_bss.c": {"next_ticket": ""},
    "hooks.c": EXTRA,
    "hooks_only.c": {},
    "load_hooks.c": EXTRA,
    "veto.c": EXTRA,
    "statics.c": {"twin_add": ""},
    "special_sections.c": {"xen_minor_version": ""},
    "several.c": {
        "xen_major_version": "",
        "xen_minor_version": "",
        "xen_extra_version": "",
    },
    "renamed.c": {"operate_multiply": "safe_multiply"},
    "dispatcher.c": {"dispatch": ""},
}


@pytest.fixture
def build(
    hv: Image, patch_sources: Path
) -> Callable[[str, Mapping[str, str]], tuple[Built, Patch]]:
    def run(source: str, replacements: Mapping[str, str]) -> tuple[Built, Patch]:
        built = build_c(patch_sources / source, replacements, hv)
        return built, read_payload(built.payload, built.name)

    return run


@pytest.fixture
def refused(hv: Image, tmp_path: Path) -> Callable[..., BuildError]:
    """Build a text that must be refused; returns the refusal."""

    def run(text: str, replacements: Mapping[str, str], **more: str) -> BuildError:
        source = tmp_path / "patch.c"
        source.write_text(text)
        with pytest.raises(BuildError) as caught:
            build_c(source, replacements, hv, **more)
        assert caught.value.exit_code == 10
        return caught.value

    return run


@pytest.fixture
def accepted(hv: Image, tmp_path: Path) -> Callable[..., tuple[Built, Patch]]:
    """Build a text; returns what came of it."""

    def run(text: str, replacements: Mapping[str, str]) -> tuple[Built, Patch]:
        source = tmp_path / "patch.c"
        source.write_text(text)
        built = build_c(source, replacements, hv)
        return built, read_payload(built.payload, built.name)

    return run


def only(patch: Patch) -> FunctionPatch:
    (function,) = patch.functions
    return function


def readelf(payload: bytes, directory: Path) -> str:
    """What readelf says; it must say nothing on stderr."""
    file = directory / "payload"
    file.write_bytes(payload)
    done = subprocess.run(["readelf", "-aW", file], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_becomes_a_payload_without_violations(
    build, hv: Image, tmp_path: Path, source: str
) -> None:
    built, patch = build(source, SOURCES[source])
    assert patch.violations == ()
    assert patch.build_id == built.build_id != ""
    assert patch.image_build_id == patch.depends == hv.build_id
    assert {each.name for each in patch.functions} == set(SOURCES[source])
    readelf(built.payload, tmp_path)


@pytest.mark.parametrize("source", SOURCES)
def test_every_undefined_symbol_is_one_that_xen_finds(
    build, hv: Image, source: str
) -> None:
    _, patch = build(source, SOURCES[source])
    for name in patch.undefined:
        assert hv.symbols.xen_named(name), name


@pytest.mark.parametrize("source", SOURCES)
def test_ld_takes_every_payload(build, tmp_path: Path, source: str) -> None:
    built, _ = build(source, SOURCES[source])
    (tmp_path / "in.o").write_bytes(built.payload)
    command = ["ld", "-r", "-o", tmp_path / "out.o", tmp_path / "in.o"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_same_source_same_bytes_wherever_it_lies(
    hv: Image, patch_sources: Path, tmp_path: Path
) -> None:
    payloads = set()
    for place in ("a", "a much/longer path"):
        copy = tmp_path / place
        shutil.copytree(patch_sources, copy)
        payloads.add(build_c(copy / "hooks.c", EXTRA, hv).payload)
    assert len(payloads) == 1


def test_sources_that_name_their_file_and_the_time_are_reproducible(
    hv: Image, tmp_path: Path
) -> None:
    text = "const char *xen_extra_version(void) { return __FILE__ __DATE__ __TIME__; }"
    payloads = set()
    for place in ("one", "other"):
        (tmp_path / place).mkdir()
        source = tmp_path / place / "patch.c"
        source.write_text(text)
        payloads.add(build_c(source, EXTRA, hv).payload)
    assert len(payloads) == 1
    assert str(tmp_path).encode() not in payloads.pop()


def test_the_order_of_replacements_does_not_matter(build) -> None:
    names = SOURCES["several.c"]
    forth, _ = build("several.c", names)
    back, _ = build("several.c", dict(reversed(names.items())))
    assert forth.payload == back.payload


def test_the_record_has_the_sizes_and_bytes_of_the_image(build, hv: Image) -> None:
    _, patch = build("extra_version.c", EXTRA)
    function = only(patch)
    (old,) = hv.symbols.named("xen_extra_version")
    assert function.old_size == old.size == 12
    assert function.version == 2
    assert function.new_size > 0
    assert function.expectation.enabled
    assert function.expectation.bytes == hv.read(old.value, 12)


def test_no_bytes_are_expected_where_endbr64_may_be_poisoned(build) -> None:
    built, patch = build("renamed.c", {"operate_multiply": "safe_multiply"})
    assert not only(patch).expectation.enabled
    assert any("operate_multiply" in note for note in built.notes)


def test_no_bytes_are_expected_that_alternatives_rewrite(accepted) -> None:
    _, patch = accepted(
        "unsigned alternative_target(void) { return 5; }", {"alternative_target": ""}
    )
    assert not only(patch).expectation.enabled


def test_expected_bytes_end_before_an_indirect_call(hv: Image) -> None:
    from lpengine.patch.xen.build_image import OldFunction, TargetImage

    code = b"\x55\xff\x15\0\0\0\0\xc3"
    function = OldFunction("f", 0x1000, len(code), code)
    assert TargetImage(hv).expectation(function) == b"\x55"


def test_a_stacked_payload_expects_nothing(hv: Image, patch_sources: Path) -> None:
    below = build_c(patch_sources / "extra_version.c", EXTRA, hv)
    above = build_c(
        patch_sources / "extra_version_again.c", EXTRA, hv, depends=below.build_id
    )
    patch = read_payload(above.payload, above.name)
    assert patch.depends == below.build_id
    assert patch.image_build_id == hv.build_id
    assert not only(patch).expectation.enabled
    assert above.notes


def test_new_data_is_noted_and_forbids_a_second_apply(build) -> None:
    for source in ("with_data.c", "with_bss.c"):
        built, patch = build(source, SOURCES[source])
        assert not patch.safe_to_reapply
        assert any("writable data" in note for note in built.notes)


@pytest.mark.parametrize("source", ["hooks.c", "dispatcher.c", "extra_version.c"])
def test_hooks_and_constant_pointers_leave_a_patch_reappliable(
    build, source: str
) -> None:
    _, patch = build(source, SOURCES[source])
    assert patch.safe_to_reapply


def test_hooks_of_all_eight_kinds(build) -> None:
    _, patch = build("hooks_only.c", {})
    assert sorted(hook.kind for hook in patch.hooks) == sorted(HookKind)


def test_special_sections_are_carried(build) -> None:
    _, patch = build("special_sections.c", {"xen_minor_version": ""})
    (alternative,) = patch.alternatives
    assert alternative.feature == 16
    names = {section.name for section in patch.sections}
    assert {".ex_table", ".bug_frames.1", ".fixup"} <= names


def test_two_payloads_share_no_symbol(build) -> None:
    names = [
        {symbol.name for symbol in build(source, SOURCES[source])[1].new_symbols}
        for source in ("hooks.c", "hooks_only.c", "load_hooks.c", "veto.c")
    ]
    assert sum(map(len, names)) == len(set().union(*names))


def test_statics_are_called_what_xen_calls_them(build) -> None:
    _, patch = build("statics.c", {"twin_add": ""})
    wanted = {"common/twin.c#total", "common/twin.c#only_here"}
    assert wanted <= set(patch.undefined)


def test_a_static_can_be_replaced_by_its_plain_name_or_its_file(accepted) -> None:
    text = "unsigned long only_here(unsigned long v) { return v + 1; }"
    _, plain = accepted(text, {"only_here": ""})
    _, full = accepted(text, {"common/twin.c#only_here": ""})
    assert plain.raw == full.raw
    assert only(plain).name == "common/twin.c#only_here"


def test_the_new_code_is_as_hardened_as_the_image(build, hv: Image) -> None:
    _, patch = build("extra_version.c", EXTRA)
    assert "__x86_return_thunk" in patch.undefined
    text = parse_image(patch.raw).section(".text")
    assert text is not None
    assert parse_image(patch.raw).section_data(text).startswith(b"\xf3\x0f\x1e\xfa")


def test_a_padded_short_function_borrows_the_padding(accepted, hv: Image) -> None:
    built, patch = accepted(
        "int short_padded(void) { return 5; }", {"short_padded": ""}
    )
    assert 5 <= only(patch).old_size <= 16
    assert any("padding" in note for note in built.notes)


def test_functions_of_exactly_the_needed_size(accepted) -> None:
    for name, size in (("exact_five", 5), ("exact_nine", 9)):
        _, patch = accepted(f"int {name}(void) {{ return 1; }}", {name: ""})
        assert only(patch).old_size == size


def test_a_function_without_a_size_is_measured(accepted) -> None:
    _, patch = accepted("int without_size(void) { return 1; }", {"without_size": ""})
    assert only(patch).old_size == 6


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("calls", "unsigned long calls = 5;"),
        ("total", "static unsigned long total;"),
    ],
)
def test_an_own_copy_of_an_image_symbol_is_noted(
    accepted, name: str, text: str
) -> None:
    built, _ = accepted(
        f"{text} unsigned long count_call(void) {{ return ++{name}; }}",
        {"count_call": ""},
    )
    assert [note for note in built.notes if note.startswith(f"{name}: ")]


def test_modinfo_comes_from_the_source_and_the_caller(
    hv: Image, tmp_path: Path
) -> None:
    source = tmp_path / "patch.c"
    source.write_text(
        'static const char info[] __attribute__((used, section(".modinfo"))) ='
        '"source=1";const char *xen_extra_version(void) { return "x"; }'
    )
    built = build_c(source, EXTRA, hv, modinfo=[("cve", "CVE-2026-1")])
    patch = read_payload(built.payload, built.name)
    assert patch.metadata == (("source", "1"), ("cve", "CVE-2026-1"))


REFUSALS = {
    "too-short": ("int short_tight(void) { return 1; }", "short_tight", "LP-SHP-171"),
    "too-short-endbr": (
        "int endbr_eight(void) { return 1; }",
        "endbr_eight",
        "LP-SHP-171",
    ),
    "loop-into-start": (
        "int loop_into_start(int n) { return n * 2; }",
        "loop_into_start",
        "LP-SHP-175",
    ),
    "init": (
        "unsigned long boot_setup(unsigned long v) { return v; }",
        "boot_setup",
        "LP-SHP-172",
    ),
    "data": ("int calls(void) { return 1; }", "calls", "LP-SHP-172"),
    "not-found": (
        "int xen_extra_versoin(void) { return 1; }",
        "xen_extra_versoin",
        "LP-SYM-151",
    ),
    "ambiguous": (
        "unsigned long scale(unsigned long v) { return v; }",
        "scale",
        "LP-SYM-152",
    ),
    "no-replacement": ("int other(void) { return 1; }", "count_call", "LP-SYM-151"),
    "uses-unknown": (
        "extern int nowhere(void); int count_call(void) { return nowhere() + 1; }",
        "count_call",
        "LP-SYM-151",
    ),
    "uses-ambiguous": (
        "extern int total; int count_call(void) { return total; }",
        "count_call",
        "LP-SYM-152",
    ),
    "uses-init": (
        "extern int boot_setup(int);int count_call(void) { return boot_setup(1) + 1; }",
        "count_call",
        "LP-SYM-155",
    ),
    "uses-init-data": (
        "extern int boot_cookie; int count_call(void) { return boot_cookie; }",
        "count_call",
        "LP-SYM-155",
    ),
    "constructor": (
        "static int v; __attribute__((constructor)) static void f(void) { v = 1; }"
        "int count_call(void) { return v; }",
        "count_call",
        "LP-SHP-174",
    ),
    "per-cpu": (
        '__attribute__((section(".bss.percpu"))) int v = 0;'
        "int count_call(void) { return ++v; }",
        "count_call",
        "LP-DAT-302",
    ),
    "own-records": (
        '__attribute__((used, section(".livepatch.funcs"))) static int v = 1;'
        "int count_call(void) { return 1; }",
        "count_call",
        "LP-SHP-174",
    ),
    "writable-code": (
        'asm(".section .both,\\"awx\\"\\n nop\\n.text");'
        "int count_call(void) { return 1; }",
        "count_call",
        "LP-MOD-007",
    ),
    "absolute-32": (
        "extern char calls[]; int count_call(void)"
        '{ int v; asm("mov $calls, %0" : "=r"(v)); return v; }',
        "count_call",
        "LP-MOD-005",
    ),
    "two-preapply": (
        "static int a(livepatch_payload_t *p) { (void)p; return 0; }"
        "static int b(livepatch_payload_t *p) { (void)p; return 0; }"
        "LIVEPATCH_PREAPPLY_HOOK(a) LIVEPATCH_PREAPPLY_HOOK(b)"
        "int count_call(void) { return 1; }",
        "count_call",
        "LP-MOD-003",
    ),
    "too-large": (
        "static char big[3 << 20]; char *count_call(void) { return big; }",
        "count_call",
        "LP-MOD-001",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses(refused, case: str) -> None:
    text, function, code = REFUSALS[case]
    error = refused(text, {function: ""})
    assert error.codes == (code,)
    assert error.hint
    assert "\n" not in error.message


def test_an_ambiguous_name_lists_what_it_can_mean(refused) -> None:
    text, function, _ = REFUSALS["ambiguous"]
    message = refused(text, {function: ""}).message
    assert "common/counter.c#scale" in message
    assert "common/twin.c#scale" in message


def test_a_misspelt_name_is_answered_with_the_right_one(refused) -> None:
    text, function, _ = REFUSALS["not-found"]
    assert "xen_extra_version" in refused(text, {function: ""}).hint


def test_refuses_one_function_under_two_names(refused) -> None:
    text = "unsigned long only_here(unsigned long v) { return v; }"
    error = refused(text, {"only_here": "", "common/twin.c#only_here": ""})
    assert error.codes == ("LP-SHP-180",)


def test_refuses_a_source_that_patches_nothing(refused) -> None:
    assert refused("int unused(void) { return 1; }", {}).codes == ("LP-MOD-006",)


def test_refuses_an_image_without_a_build_id(
    hv_image: Path, patch_sources: Path, tmp_path: Path
) -> None:
    stripped = tmp_path / "hv"
    section = ".note.gnu.build-id"
    command = ["objcopy", "--remove-section", section, hv_image, stripped]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(BuildError) as caught:
        build_c(patch_sources / "extra_version.c", EXTRA, open_image(stripped))
    assert caught.value.codes == ("LP-TGT-104",)


def test_refuses_an_image_that_is_not_linked(hv: Image, patch_sources: Path) -> None:
    built = build_c(patch_sources / "extra_version.c", EXTRA, hv)
    with pytest.raises(InputError, match="no linked image"):
        build_c(patch_sources / "hooks.c", EXTRA, parse_image(built.payload))


def test_a_source_that_does_not_compile_is_named_with_its_line(
    hv: Image, tmp_path: Path
) -> None:
    source = tmp_path / "patch.c"
    source.write_text("int f(void)\n{\n\treturn nothing;\n}\n")
    with pytest.raises(InputError, match=r"patch\.c:3:.*nothing") as caught:
        build_c(source, {"count_call": "f"}, hv)
    assert caught.value.exit_code == 13


def test_missing_source_and_compiler(
    hv: Image, tmp_path: Path, patch_sources: Path
) -> None:
    with pytest.raises(NotFoundError, match="no such source"):
        build_c(tmp_path / "none.c", EXTRA, hv)
    with pytest.raises(NotFoundError, match="no-such-compiler"):
        build_c(
            patch_sources / "extra_version.c", EXTRA, hv, compiler="no-such-compiler"
        )


@pytest.mark.parametrize(
    "wrong", [{"depends": "xyz"}, {"name": "x" * 200}, {"name": "a\nb"}]
)
def test_wrong_arguments(hv: Image, patch_sources: Path, wrong) -> None:
    with pytest.raises(UsageError):
        build_c(patch_sources / "extra_version.c", EXTRA, hv, **wrong)


def test_assembly_without_references(hv: Image, tmp_path: Path) -> None:
    built = build_asm("count_call", "mov eax, -38; ret", hv)
    patch = read_payload(built.payload, built.name)
    assert patch.violations == ()
    assert patch.undefined == ()
    assert only(patch).name == "count_call"
    assert only(patch).new_size == 6
    assert built.notes  # the image returns through a thunk
    readelf(built.payload, tmp_path)


def test_assembly_refers_to_the_image(hv: Image, tmp_path: Path) -> None:
    built = build_asm(
        "twin_add",
        """
        again:
        inc qword ptr [rip + calls]
        cmp dword ptr [rip + wait_flag], 7
        je again
        call only_here
        jne count_call
        movabs rdi, common/twin.c#total
        jmp __x86_return_thunk
        """,
        hv,
    )
    patch = read_payload(built.payload, built.name)
    assert patch.violations == ()
    assert set(patch.undefined) == {
        "calls",
        "wait_flag",
        "common/twin.c#only_here",
        "count_call",
        "__x86_return_thunk",
    }
    assert not built.notes
    text = readelf(built.payload, tmp_path)
    # The immediate behind the displacement counts too.
    assert "wait_flag - 5" in text
    assert "calls - 4" in text
    (total,) = hv.symbols.named("common/twin.c#total")
    assert total.value.to_bytes(8, "little") in built.payload


def linked(payload: bytes, hv: Image, directory: Path) -> bytes:
    """The payload's .text as GNU ld relocates it, 16 MiB behind the image."""
    (directory / "in.o").write_bytes(payload)
    patch = read_payload(payload, "linked")
    defined = [
        f"--defsym={name}={hv.symbols.named(name)[0].value:#x}"
        for name in patch.undefined
    ]
    command = ["ld", "-Ttext=0xffff82d041200000", "-e", "0", *defined]
    output = directory / "out"
    subprocess.run(
        [*command, "-o", output, directory / "in.o"], check=True, capture_output=True
    )
    image = open_image(output)
    section = image.section(".text")
    assert section is not None
    return image.section_data(section)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    lines=st.lists(
        st.sampled_from(
            [
                "call count_call",
                "jmp xen_banner",
                "jne console_write",
                "mov rax, [rip + calls]",
                "add dword ptr [rip + wait_flag], 1000",
                "lea rdi, [rip + console_ring]",
                "nop",
                "mov ecx, 77",
            ]
        ),
        max_size=8,
    )
)
def test_assembly_links_as_gnu_as_and_ld_link_it(
    hv: Image, tmp_path: Path, lines: list[str]
) -> None:
    code = [*lines, "ret"]
    built = build_asm("fibonacci", "\n".join(code), hv)
    oracle = tmp_path / "oracle.s"
    oracle.write_text(
        ".intel_syntax noprefix\n" + "\n".join(code).replace("[rip + ", "[rip+") + "\n"
    )
    subprocess.run(["as", "-o", tmp_path / "oracle.o", oracle], check=True)
    wanted = linked(built.payload, hv, tmp_path)
    names = read_payload(built.payload, "x").undefined
    defined = [f"--defsym={n}={hv.symbols.named(n)[0].value:#x}" for n in names]
    command = ["ld", "-Ttext=0xffff82d041200000", "-e", "0", *defined]
    subprocess.run(
        [*command, "-o", tmp_path / "oracle", tmp_path / "oracle.o"], check=True
    )
    image = open_image(tmp_path / "oracle")
    section = image.section(".text")
    assert section is not None
    assert image.section_data(section)[: len(wanted)] == wanted


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("mov eax, 1", "runs off its end"),
        ("", "no instructions"),
        ("bogus eax", "bogus"),
        ("call nowhere; ret", "nowhere"),
        ("jmp 0xffff82d040200100", "without a name"),
    ],
)
def test_assembly_that_cannot_be(hv: Image, code: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        build_asm("count_call", code, hv)


@pytest.mark.parametrize(
    ("function", "code", "refusal"),
    [
        ("short_tight", "xor eax, eax; ret", "LP-SHP-171"),
        ("boot_setup", "ret", "LP-SHP-172"),
        ("nowhere", "ret", "LP-SYM-151"),
        ("count_call", "call boot_setup; ret", "LP-SYM-155"),
        ("count_call", "call scale; ret", "LP-SYM-152"),
    ],
)
def test_assembly_refused(hv: Image, function: str, code: str, refusal: str) -> None:
    with pytest.raises(BuildError) as caught:
        build_asm(function, code, hv)
    assert caught.value.codes == (refusal,)


def test_assembly_is_reproducible(hv: Image) -> None:
    code = "call count_call; ret"
    assert build_asm("fibonacci", code, hv) == build_asm("fibonacci", code, hv)


def test_a_jump_back_to_the_replaced_function_is_noted(hv: Image) -> None:
    built = build_asm("count_call", "jmp count_call", hv)
    assert any("itself" in note for note in built.notes)


@pytest.mark.system
def test_builds_for_debians_xen(
    xen_image: Path, patch_sources: Path, tmp_path: Path
) -> None:
    image = open_image(xen_image)
    built = build_c(patch_sources / "extra_version.c", EXTRA, image)
    patch = read_payload(built.payload, built.name)
    assert patch.violations == ()
    assert patch.image_build_id == image.build_id
    assert only(patch).old_size == 12
    assert only(patch).expectation.enabled
    readelf(built.payload, tmp_path)


@pytest.mark.system
def test_emergency_stop_for_debians_xen(xen_image: Path) -> None:
    image = open_image(xen_image)
    built = build_asm("do_domctl", "mov eax, -38; ret", image)
    assert read_payload(built.payload, built.name).violations == ()
