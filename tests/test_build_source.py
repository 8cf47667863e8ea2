"""A source fix goes in, a payload for the image that runs comes out, or a clear no.
With a tree in miniature that is built as Xen's (fixtures/tree)."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import lpengine
from lpengine.api.source_builds import build_source
from lpengine.cli import run
from lpengine.diff.changes import Verdict
from lpengine.elf import open_image, parse_image
from lpengine.elf.constants import SHF_WRITE
from lpengine.errors import BuildError, InputError, NotFoundError, UsageError
from lpengine.patch.model import Patch
from lpengine.patch.source import SourceResult
from lpengine.patch.unproved import NotProvedError
from lpengine.patch.xen.reader import read_payload
from lpengine.planner import Severity
from tests.source_trees import build_image, make_tree, write_fix

Edits = Mapping[str, Mapping[str, str]]
VERSION, COUNTER, TWIN = (
    f"xen/common/{name}.c" for name in ("version", "counter", "twin")
)
CONTROL, HEADER = "xen/common/control.c", "xen/include/hv.h"
BANNER = {VERSION: {'"hv " VERSION_EXTRA': '"HV " VERSION_EXTRA'}}

# What the fixture lacks: code behind which lines are counted, an inline function
# that two files use, and what runs as a processor comes up.
MORE_HEADER = """\
static inline __attribute__((always_inline)) u64 limit(u64 value)
{
\treturn value < 100 ? value : 100;
}

u64 bring_up(u64 value);

#endif
"""
LINES = """\
#include "hv.h"

u64 first(u64 value)
{
\treturn value * 3;
}

HV_NOINLINE void complain(u64 line, const char *file)
{
\trecord_event(line);
\tconsole_write(file);
}

u64 second(u64 value)
{
\tif (value > 7)
\t\tcomplain(__LINE__, __FILE__);
\treturn limit(value) + __LINE__;
}
"""
BOOT = """\
#include "hv.h"

u64 settings;

HV_NOINLINE u64 bring_up(u64 value)
{
\tsettings = limit(value);
\treturn settings;
}

HV_INIT u64 start_up(u64 value)
{
\treturn bring_up(value) + 1;
}
"""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_tree(tmp_path_factory.mktemp("pristine") / "tree")
    header = root / HEADER
    header.write_text(header.read_text().replace("#endif\n", MORE_HEADER))
    (root / "xen/common/lines.c").write_text(LINES)
    (root / "xen/common/boot.c").write_text(BOOT)
    return root


@pytest.fixture(scope="module")
def image(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_image(pristine, tmp_path_factory.mktemp("image") / "built")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tree(
    pristine: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("LPENGINE_CACHE", str(cache))
    return Path(shutil.copytree(pristine, tmp_path / "tree"))


@pytest.fixture
def build(tree: Path, image: Path, tmp_path: Path) -> Callable[..., SourceResult]:
    def build_(*fixes: Edits, **options: object) -> SourceResult:
        patches = [
            write_fix(tmp_path / f"{number}.patch", tree, edits)
            for number, edits in enumerate(fixes)
        ]
        chosen = {"image": image, "name": "fix", **options}
        return build_source(tree, patches, **chosen)  # type: ignore[arg-type]

    return build_


def patch_of(result: SourceResult) -> Patch:
    assert result.verdict is Verdict.CHANGED, result.refusals
    assert result.built is not None
    patch = read_payload(result.built.payload, "fix")
    assert patch.violations == ()
    return patch


def called(
    result: SourceResult, image: Path, tmp_path: Path, name: str, *arguments: str
) -> tuple[object, object, object]:
    """What a function answers before, with and after the payload."""
    assert result.built is not None
    path = tmp_path / "fix.livepatch"
    path.write_bytes(result.built.payload)
    kind = "string" if name == "xen_banner" else "int"
    emulated = lpengine.emulate(
        [path],
        image,
        calls=[(name, list(arguments), kind)],
        state_directory=tmp_path / "state",
    )
    findings = emulated.acted.planned.plan.findings
    allowed = {"LP-DAT-305"} if result.changes.objects[0].new_data else set()
    loud = {f.code for f in findings if f.severity is not Severity.INFO}
    assert loud <= allowed
    assert emulated.restored or allowed
    [call] = emulated.calls
    return call.before.value, call.patched.value, call.reverted.value


def test_a_fix_becomes_a_payload(
    build: Callable[..., SourceResult], image: Path, tmp_path: Path
) -> None:
    result = build(BANNER)
    patch = patch_of(result)
    assert [each.name for each in patch.functions] == ["xen_banner"]
    assert result.objects == ("common/version.o",)
    assert result.proved > 50
    answers = called(result, image, tmp_path, "xen_banner")
    assert answers == ("hv .7", "HV .7", "hv .7")


def test_what_the_payload_says(build: Callable[..., SourceResult]) -> None:
    result = build(BANNER, modinfo=[("title", "shout")])
    patch = patch_of(result)
    metadata = dict(patch.metadata)
    assert metadata["title"] == "shout"
    assert metadata["functions"] == "xen_banner"
    assert metadata["compiler"].startswith("GCC: ")
    (function,) = patch.functions
    assert function.expectation.enabled
    assert function.expectation.length >= 7
    assert patch.new_symbols == ()
    assert result.built is not None
    elf = parse_image(result.built.payload)
    funcs = elf.section(".livepatch.funcs")
    assert funcs is not None
    assert funcs.flags & SHF_WRITE


def test_the_authors_own_words_are_kept(
    tree: Path, image: Path, tmp_path: Path
) -> None:
    fix = write_fix(tmp_path / "fix.patch", tree, BANNER)
    subject = "Subject: =?UTF-8?q?[PATCH]_xen:_Monn=C3=A9=27s_banner?=\n\n"
    fix.write_bytes(subject.encode() + fix.read_bytes())
    patch = patch_of(build_source(tree, [fix], image, name="fix"))
    assert dict(patch.metadata)["title"] == "xen: Monné's banner"


def test_statics_of_one_name_are_bound_to_the_right_one(
    build: Callable[..., SourceResult], image: Path, tmp_path: Path
) -> None:
    edits = {
        TWIN: {"total += scale(value);": "total += scale(value) + 1;"},
        COUNTER: {"total += scale(value);": "total += scale(value) + 2;"},
    }
    result = build(edits)
    patch = patch_of(result)
    assert {"common/twin.c#total", "common/counter.c#total"} <= set(patch.undefined)
    assert called(result, image, tmp_path, "twin_add", "2") == (510, 511, 510)
    assert called(result, image, tmp_path, "counter_add", "2") == (106, 108, 106)


def test_a_static_local_keeps_its_value(
    build: Callable[..., SourceResult], image: Path, tmp_path: Path
) -> None:
    result = build({COUNTER: {"return ticket++;": "return ticket += 5;"}})
    (name,) = [n for n in patch_of(result).undefined if "#ticket" in n]
    assert name.startswith("common/counter.c#ticket")
    assert called(result, image, tmp_path, "next_ticket") == (1000, 1005, 1000)


def test_an_inline_of_a_header_is_patched_where_it_is(
    build: Callable[..., SourceResult], image: Path, tmp_path: Path
) -> None:
    edits = {HEADER: {"value < 100 ? value : 100": "value < 50 ? value : 50"}}
    result = build(edits, hooks={})
    assert result.verdict is Verdict.REFUSED
    assert [each.subject for each in result.refusals] == ["bring_up"]
    assert {"common/lines.o", "common/boot.o"} <= set(result.objects)


def test_lines_that_moved_change_nothing_else(
    build: Callable[..., SourceResult], image: Path, tmp_path: Path
) -> None:
    edits = {
        "xen/common/lines.c": {
            "\treturn value * 3;": "\tif (!value)\n\t\treturn 1;\n\n\treturn value * 3;"
        }
    }
    result = build(edits)
    assert [each.name for each in patch_of(result).functions] == ["first"]
    assert called(result, image, tmp_path, "first", "0") == (0, 1, 0)


def test_new_functions_and_data_come_along(
    build: Callable[..., SourceResult], image: Path, tmp_path: Path
) -> None:
    edits = {
        COUNTER: {
            "u64 calls = 7;": "u64 calls = 7;\nu64 fresh = 30;\n\n"
            "HV_NOINLINE u64 renew(u64 by)\n{\n\treturn fresh += by + calls;\n}",
            "return ++calls;": "return renew(1);",
        },
        TWIN: {
            "u64 twin_add(u64 value)\n{": "u64 renew(u64 by);\n\n"
            "u64 twin_add(u64 value)\n{\n\tvalue += renew(0);"
        },
    }
    result = build(edits)
    patch = patch_of(result)
    assert {f.name for f in patch.functions} == {"count_call", "twin_add"}
    assert [s.name.partition(".")[0] for s in patch.new_symbols] == ["renew"]
    assert called(result, image, tmp_path, "count_call") == (8, 38, 8)
    assert called(result, image, tmp_path, "twin_add", "1") == (505, 690, 505)


def test_a_new_file_comes_along(
    build: Callable[..., SourceResult], image: Path, tmp_path: Path
) -> None:
    edits = {
        "xen/common/fresh.c": {
            "": '#include "hv.h"\n\nu64 renew(u64 by)\n{\n\treturn by + 90;\n}\n'
        },
        COUNTER: {
            "u64 count_call(void)\n{": "u64 renew(u64 by);\n\nu64 count_call(void)\n{",
            "return ++calls;": "return renew(++calls);",
        },
    }
    result = build(edits)
    patch = patch_of(result)
    assert [each.name for each in patch.functions] == ["count_call"]
    assert result.objects == ("common/counter.o", "common/fresh.o")
    assert called(result, image, tmp_path, "count_call") == (8, 98, 8)


def test_what_is_nowhere_is_named(build: Callable[..., SourceResult]) -> None:
    call = "u64 nobody(void);\n\nu64 count_call(void)\n{"
    edits = {
        COUNTER: {
            "u64 count_call(void)\n{": call,
            "return ++calls;": "return ++calls + nobody();",
        },
    }
    with pytest.raises(BuildError, match="has no symbol 'nobody'") as caught:
        build(edits)
    assert caught.value.codes == ("LP-SYM-151",)


def test_several_patches_make_one_payload(
    build: Callable[..., SourceResult], tree: Path, image: Path, tmp_path: Path
) -> None:
    first = write_fix(tmp_path / "a.patch", tree, BANNER)
    second = write_fix(
        tmp_path / "b.patch", tree, {CONTROL: {"rounds + extra": "rounds + 2 * extra"}}
    )
    result = build_source(tree, [first, second], image, name="both")
    names = {each.name for each in patch_of(result).functions}
    assert names == {"xen_banner", "wait_outer"}


def test_what_only_ran_at_boot_is_refused_unless_a_hook_makes_up_for_it(
    build: Callable[..., SourceResult],
) -> None:
    fix = {"xen/common/boot.c": {"settings = limit(value);": "settings = value;"}}
    result = build(fix)
    assert result.verdict is Verdict.REFUSED
    (refusal,) = result.refusals
    assert (refusal.code, refusal.cause) == ("LP-DAT-304", "bring-up-only")
    assert refusal.subject == "bring_up"
    assert "start_up calls bring_up" in refusal.evidence
    with pytest.raises(UsageError, match="the fix has no hook set_again"):
        build(fix, hooks={"bring_up": "set_again"})
    hook = (
        "HV_INIT u64 start_up(u64 value)",
        "static void set_again(void)\n{\n\tsettings = 5;\n}\n"
        "static void (*const hook)(void) __attribute__((used, section("
        '".livepatch.hooks.load"))) = set_again;\n\n'
        "HV_INIT u64 start_up(u64 value)",
    )
    with_hook = {"xen/common/boot.c": {**fix["xen/common/boot.c"], hook[0]: hook[1]}}
    patch = patch_of(build(with_hook, hooks={"bring_up": "set_again"}))
    assert [(h.kind.value, h.symbol.partition(".")[0]) for h in patch.hooks] == [
        ("load", "set_again")
    ]
    assert [each.name for each in patch.functions] == ["bring_up"]


@pytest.mark.parametrize(
    "edits",
    [
        {VERSION: {"const char *xen_banner": "/* It. */\nconst char *xen_banner"}},
        {TWIN: {"u64 twin_add": "u64 unused(void)\n{\n\treturn 1;\n}\n\nu64 twin_add"}},
        {"xen/arch/arm/mm.c": {"": "int arm;\n"}},
        {"docs/misc/xen.txt": {"": "text\n"}},
    ],
)
def test_an_image_that_is_not_affected_gets_no_module(
    build: Callable[..., SourceResult], edits: Edits
) -> None:
    result = build(edits)
    assert result.verdict is Verdict.UNCHANGED
    assert result.built is None
    assert result.refusals == ()


def test_a_tree_that_the_image_is_not_of(
    build: Callable[..., SourceResult], tree: Path
) -> None:
    path = tree / CONTROL
    path.write_text(path.read_text().replace("rounds + extra", "rounds - extra"))
    with pytest.raises(NotProvedError) as caught:
        build(BANNER)
    error = caught.value
    assert {(d.object, d.function) for d in error.differences} == {
        ("common/control.o", "wait_outer")
    }
    assert "wait_outer: at +0x" in error.report
    assert "common/control.o" in error.hint
    assert error.codes == ("LP-TGT-108",)


def test_flags_that_the_image_was_not_built_with(
    build: Callable[..., SourceResult],
) -> None:
    with pytest.raises(NotProvedError, match="functions of") as caught:
        build(BANNER, variables={"EXTRA_CFLAGS_XEN_CORE": "-g -Os"})
    assert len(caught.value.differences) > 3
    assert "and the tree at the image's commit?" in caught.value.hint


def test_text_that_differs_is_no_other_tree(
    build: Callable[..., SourceResult], tree: Path
) -> None:
    path = tree / VERSION
    path.write_text(path.read_text().replace('".7"', '".8"'))
    edits = {CONTROL: {"rounds + extra": "rounds + 2 * extra"}}
    assert [each.name for each in patch_of(build(edits)).functions] == ["wait_outer"]


def test_the_same_bytes_elsewhere_and_another_day(
    tree: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = {VERSION: {'"hv " VERSION_EXTRA': '"hv " __DATE__ " " __TIME__ __FILE__'}}
    fix = write_fix(tmp_path / "fix.patch", tree, stamp)
    elsewhere = tmp_path / "another/place/with a longer name"
    shutil.copytree(tree, elsewhere)
    for path in elsewhere.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    payloads = []
    for number, root in enumerate((tree, elsewhere)):
        monkeypatch.setenv("LPENGINE_CACHE", str(tmp_path / f"cache-{number}"))
        result = build_source(root, [fix], image, name="fix")
        assert result.built is not None
        payloads.append(result.built.payload)
        time.sleep(1.1 if number == 0 else 0)
    assert payloads[0] == payloads[1]


def test_the_tree_is_only_read(build: Callable[..., SourceResult], tree: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in tree.rglob("*")
        }

    before = state()
    build(BANNER)
    assert state() == before


def test_stacked_and_cumulative(
    build: Callable[..., SourceResult], tree: Path, image: Path, tmp_path: Path
) -> None:
    first = write_fix(tmp_path / "a.patch", tree, BANNER)
    second = write_fix(
        tmp_path / "b.patch", tree, {CONTROL: {"rounds + extra": "rounds + 2 * extra"}}
    )
    below = tmp_path / "below.livepatch"
    base = build_source(tree, [first], image, name="below")
    assert base.built is not None
    below.write_bytes(base.built.payload)

    stacked = build_source(tree, [second], image, name="above", depends=below)
    assert patch_of(stacked).depends == base.built.build_id
    both = build_source(tree, [first, second], image, name="all", replaces=[below])
    assert patch_of(both).depends == open_image(image).build_id
    with pytest.raises(BuildError, match="below patches xen_banner") as caught:
        build_source(tree, [second], image, name="lacking", replaces=[below])
    assert caught.value.codes == ("LP-DEP-517",)


def test_errors_are_one_line_with_the_way_out(
    build: Callable[..., SourceResult], tree: Path, image: Path, tmp_path: Path
) -> None:
    fix = write_fix(tmp_path / "fix.patch", tree, BANNER)
    with pytest.raises(InputError, match="neither Xen's"):
        build_source(tmp_path, [fix], image, name="x")
    with pytest.raises(NotFoundError, match="no such patch file"):
        build_source(tree, [tmp_path / "missing"], image, name="x")
    with pytest.raises(NotFoundError, match="no-such-gcc: not installed"):
        build_source(tree, [fix], image, name="x", compiler="no-such-gcc")
    with pytest.raises(InputError, match=r"does not build: .*version\.c.*error:"):
        build({VERSION: {'"hv " VERSION_EXTRA': "nonsense"}})
    off = tmp_path / "off"
    off.write_text("CONFIG_LIVEPATCH=n\n")
    with pytest.raises(BuildError, match="no CONFIG_LIVEPATCH"):
        build_source(tree, [fix], image, name="x", configuration=off)


def test_the_command_line(
    tree: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lines(patch: Path, *more: str) -> tuple[int, str, str]:
        output = tmp_path / "out/fix.livepatch"
        output.parent.mkdir(exist_ok=True)
        argv = ["build", "source", "--tree", tree, "--patch", patch]
        argv += ["--image", image, "-o", output, *more]
        code = run([str(each) for each in argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    fix = write_fix(tmp_path / "fix.patch", tree, BANNER)
    code, out, err = lines(fix)
    assert (code, err) == (0, "")
    assert "xen_banner, build id " in out
    assert (tmp_path / "out/fix.livepatch").is_file()

    page = tmp_path / "report.html"
    code, out, _ = lines(fix, "--json", "--report", str(page))
    assert "xen_banner" in page.read_text()
    document = json.loads(out)
    assert (code, document["verdict"]) == (0, "changed")
    assert document["objects"][0]["changed_functions"] == ["xen_banner"]
    assert document["name"] == "fix"

    (tmp_path / "out/fix.livepatch").unlink()
    at = "HV_INIT u64 start_up"
    later = {at: f"HV_INIT u64 later(void)\n{{\n\treturn 1;\n}}\n\n{at}"}
    boot = {"xen/common/boot.c": {"settings = limit(value);": "settings = value;"}}
    code, out, _ = lines(write_fix(tmp_path / "boot.patch", tree, boot))
    assert code == 10
    assert "LP-DAT-304 common/boot.o: bring_up" in out
    both = {"xen/common/boot.c": {**later, **boot["xen/common/boot.c"]}}
    _, out, _ = lines(write_fix(tmp_path / "both.patch", tree, both))
    assert "      later in .init.text is new and will not run" in out
    comment = {VERSION: {"const char *xen_banner": "/* It. */\nconst char *xen_banner"}}
    code, out, _ = lines(write_fix(tmp_path / "comment.patch", tree, comment))
    assert code == 15
    assert "not affected" in out
    added = write_fix(tmp_path / "later.patch", tree, {"xen/common/boot.c": later})
    code, out, _ = lines(added)
    assert code == 15
    assert "  common/boot.o: later in .init.text is new and will not run" in out
    assert not (tmp_path / "out/fix.livepatch").exists()

    off = tmp_path / "off"
    off.write_text("CONFIG_LIVEPATCH=n\n")
    code, out, err = lines(fix, "--config", str(off))
    assert code == 10
    assert "no CONFIG_LIVEPATCH" in err
    assert "(LP-" in err.partition("\n")[0]

    (tmp_path / "fix.patch").write_text("nonsense\n")
    code, out, err = lines(fix)
    assert code == 13
    assert err.count("\n") == 2
    assert run(["build", "cache", "list", "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)["bases"]
    assert {each["format"] for each in kept} == {"xen"}
