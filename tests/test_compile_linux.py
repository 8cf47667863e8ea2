"""Kernel trees: what a fix touches is found and compiled, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from lpengine.compile.fix import parse_fix
from lpengine.compile.includes import Includes, parse, scan
from lpengine.compile.kbuild import Entry, Kbuild, State
from lpengine.compile.kconfig import require_kept
from lpengine.compile.linux_tree import LinuxTree
from lpengine.compile.recognise import open_tree
from lpengine.compile.source import SourceBuild, built
from lpengine.compile.toolchain import Toolchain
from lpengine.compile.touched import touched_objects
from lpengine.compile.tree import Settings
from lpengine.elf import open_image
from lpengine.errors import BuildError, InputError
from tests.kernel_tree import CONFIG, make_tree
from tests.source_trees import edited

STANDARD = ("arch/x86/include", "include")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "linux")


@pytest.fixture
def configured(tree: Path) -> Path:
    (tree / "include/config").mkdir()
    (tree / "include/config/auto.conf").write_text("CONFIG_EXT=m\n")
    return tree


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LPENGINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def names(tree: Path) -> Sequence[str]:
    return [p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()]


def kbuild(tree: Path) -> Kbuild:
    return Kbuild(tree, "gcc", names(tree))


def test_the_tree_is_recognised(tree: Path) -> None:
    opened = open_tree(tree)
    assert isinstance(opened, LinuxTree)
    assert opened.format == "linux"


def test_sources_are_what_a_build_reads(tree: Path) -> None:
    for name in ("vmlinux", "fs/.open.o.cmd", "fs/open.o", "include/generated/a.h"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("")
    found = LinuxTree(tree).sources()
    assert found == sorted(found)
    left_out = set(names(tree)) - set(found)
    assert left_out == {
        *("vmlinux", "fs/.open.o.cmd", "fs/open.o", "include/generated/a.h"),
        *("Documentation/text.rst", "tools/testing/test.c", "arch/arm/kernel/arm.c"),
    }


@pytest.mark.parametrize(
    ("path", "concerned"),
    [
        ("fs/open.c", True),
        ("include/linux/new.h", True),
        ("Makefile", True),
        ("fs/Kconfig", True),
        ("MAINTAINERS", False),
        ("Documentation/admin-guide/sysctl.rst", False),
        ("tools/testing/selftests/a.c", False),
        ("arch/arm/kernel/arm.c", False),
        ("arch/x86/kernel/x.c", True),
        ("scripts/mod/modpost.c", False),
        ("scripts/Makefile.lib", True),
    ],
)
def test_a_fix_to_the_manual_does_not_concern_the_build(
    tree: Path, path: str, concerned: bool
) -> None:
    assert LinuxTree(tree).concerns(path) is concerned


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("fs/open.c", [(State.KERNEL, "fs/open.o", "")]),
        ("fs/ext/super.c", [(State.MODULE, "fs/ext/super.o", "ext_fs")]),
        ("fs/ext/sub/inode.c", [(State.MODULE, "fs/ext/sub/inode.o", "ext_fs")]),
        ("fs/ext/acl.c", [(State.OFF, "fs/ext/acl.o", "")]),
        ("fs/off.c", [(State.OFF, "fs/off.o", "")]),
        ("fs/off/deep.c", [(State.OFF, "fs/off/deep.o", "")]),
        (
            "virt/shared.c",
            [(State.MODULE, "fs/ext/../../virt/shared.o", "ext_fs")],
        ),
        ("kernel/rt.c", []),
        ("arch/x86/boot/main.c", []),
    ],
)
def test_makefiles_tell_what_becomes_of_a_source(
    configured: Path, source: str, found: list[tuple[State, str, str]]
) -> None:
    entries = kbuild(configured).objects_of(source)
    assert [(each.state, each.target, each.module) for each in entries] == found


def test_a_source_listed_elsewhere_is_found_under_its_own_name(
    configured: Path,
) -> None:
    (entry,) = kbuild(configured).objects_of("virt/shared.c")
    assert entry.path == "virt/shared.o"


def test_an_object_of_two_modules_is_found_in_both(configured: Path) -> None:
    makefile = configured / "fs/ext/Makefile"
    text = makefile.read_text() + "obj-m += other.o\nother-y := super.o\n"
    makefile.write_text(text)
    found = touched_objects(configured, ["fs/ext/super.c"], "gcc")
    assert [(each.path, each.module) for each in found] == [
        ("fs/ext/super.o", "ext_fs"),
        ("fs/ext/super.o", "other"),
    ]


def test_a_makefile_that_cannot_be_asked_is_an_error_if_it_matters(
    configured: Path,
) -> None:
    for name in ("fs/ext/Makefile", "fs/off/Makefile"):
        (configured / name).write_text("$(error made up)\n")
    with pytest.raises(InputError, match="made up"):
        kbuild(configured).objects_of("fs/ext/super.c")
    assert kbuild(configured).objects_of("fs/off/deep.c") == ()


def including(tree: Path, *files: str) -> set[str]:
    includes = Includes(parse(scan(tree)), names(tree), STANDARD)
    return set(includes.reaching(files))


def test_includers_are_found_through_other_headers(tree: Path) -> None:
    found = including(tree, "include/linux/one.h")
    assert found >= {
        *("include/linux/one.h", "fs/open.c", "fs/ext/local.h", "fs/ext/super.c"),
        *("fs/ext/sub/inode.c", "fs/off.c"),
    }
    # Of two headers of one name, the directive says which.
    assert "kernel/fork.c" not in found
    assert including(tree, "include/linux/other/one.h") == {
        "include/linux/other/one.h",
        "kernel/fork.c",
    }


def test_an_unclear_include_counts_as_any_that_it_may_be(tree: Path) -> None:
    """The directory may be one that a makefile adds."""
    (tree / "fs/ext/unclear.c").write_text('#include "deep/one.h"\n')
    (tree / "kernel/deep").mkdir()
    (tree / "kernel/deep/one.h").write_text("")
    assert "fs/ext/unclear.c" in including(tree, "kernel/deep/one.h")


def test_a_standard_header_is_nobodys_in_the_tree(tree: Path) -> None:
    (tree / "include/trace").mkdir()
    (tree / "include/trace/signal.h").write_text("int x;\n")
    (tree / "fs/tool.c").write_text("#include <signal.h>\n")
    (tree / "fs/other.c").write_text('#include "signal.h"\n')
    assert including(tree, "include/trace/signal.h") == {
        *("include/trace/signal.h", "fs/other.c"),
    }


def test_a_macro_that_names_a_header_includes_it(tree: Path) -> None:
    (tree / "fs/magic.h").write_text("#define MAGIC_FILE <linux/one.h>\n")
    (tree / "fs/magic.c").write_text('#include "magic.h"\n#include MAGIC_FILE\n')
    assert "fs/magic.c" in including(tree, "include/linux/one.h")


def touched(base: Path, *files: str) -> list[str]:
    return [each.path for each in touched_objects(base, files, "gcc")]


def test_a_source_touches_its_object(configured: Path) -> None:
    assert touched(configured, "fs/open.c") == ["fs/open.o"]
    assert touched(configured, "kernel/rt.c") == ["kernel/policy.o"]


def test_a_header_touches_all_that_include_it_and_are_built(configured: Path) -> None:
    assert touched(configured, "include/linux/one.h") == [
        *("fs/ext/sub/inode.o", "fs/ext/super.o", "fs/open.o"),
    ]


def test_what_is_switched_off_is_not_affected(configured: Path) -> None:
    assert touched(configured, "fs/off.c", "fs/off/deep.c", "kernel/orphan.c") == []


def test_what_every_object_includes_is_refused(configured: Path) -> None:
    with pytest.raises(BuildError, match="every object"):
        touched(configured, "include/linux/kconfig.h")
    with pytest.raises(BuildError, match="every object"):
        touched(configured, "include/generated/autoconf.h")


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("fs/Makefile", "LP-CHG-908"),
        ("fs/Kconfig", "LP-CHG-908"),
        ("arch/x86/entry/syscalls/syscall_64.tbl", "LP-CHG-908"),
        ("arch/x86/boot/main.c", "LP-DAT-304"),
    ],
)
def test_what_takes_effect_in_other_ways_is_refused(
    configured: Path, file: str, code: str
) -> None:
    with pytest.raises(BuildError) as caught:
        touched(configured, file)
    assert caught.value.codes == (code,)


def test_the_configuration_has_to_come_through() -> None:
    require_kept(
        b'CONFIG_A=y\nCONFIG_CC_VERSION_TEXT="gcc-12"\n# CONFIG_B is not set\n',
        b'CONFIG_A=y\nCONFIG_CC_VERSION_TEXT="gcc"\nCONFIG_NEW=y\n',
    )
    with pytest.raises(InputError, match="CONFIG_A=y becomes n") as caught:
        require_kept(b"CONFIG_A=y\nCONFIG_DEBUG_INFO_BTF=y\n", b"CONFIG_A=n\n")
    assert caught.value.hint == "apt install dwarves"


FIX = b"""\
--- a/fs/open.c
+++ b/fs/open.c
@@ -1,5 +1,7 @@
 #include <linux/one.h>
 int do_open(int x)
 {
+\tif (x < 0)
+\t\treturn -1;
 \treturn one(x) + __LINE__;
 }
"""
HEADER_FIX = b"""\
--- a/include/linux/one.h
+++ b/include/linux/one.h
@@ -2,4 +2,4 @@
 static inline int one(int x)
 {
-\treturn x + HERE;
+\treturn x - HERE;
 }
"""


def build(
    tree: Path, raw: bytes, then, configuration: str = CONFIG, most: int = 150
) -> None:
    settings = Settings(Toolchain("gcc"), configuration.encode(), "a file", {}, 2)
    opened = LinuxTree(tree, most, programs=("make",))
    with built(opened, [parse_fix(raw)], settings) as done:
        then(done)


def snapshot(tree: Path) -> dict[str, tuple[int, bytes]]:
    return {
        n: ((tree / n).stat().st_mtime_ns, (tree / n).read_bytes()) for n in names(tree)
    }


def functions(path: Path | None) -> dict[str, bytes]:
    assert path is not None
    image = open_image(path)
    return {
        each.name: image.section_data(image.sections[each.section_index])
        for each in image.symbols
        if each.is_function
    }


def test_only_what_is_touched_is_compiled_and_the_tree_stays(tree: Path) -> None:
    before = snapshot(tree)

    def check(done: SourceBuild) -> None:
        (pair,) = done.pairs
        assert pair.name == "fs/open.o"
        assert pair.differs
        assert functions(pair.original).keys() == {"do_open"}
        assert pair.original is not None
        assert open_image(pair.original).section(".text.do_open")
        compiled = {p.relative_to(done.base) for p in done.base.rglob("*.o")}
        assert compiled == {Path("fs/open.o")}

    build(tree, FIX, check)
    assert snapshot(tree) == before


def test_added_lines_do_not_move_the_others(tree: Path) -> None:
    moved = FIX.replace(
        b"+\tif (x < 0)\n+\t\treturn -1;\n", b"+\t/* only */\n+\t/* a comment */\n"
    )

    def check(done: SourceBuild) -> None:
        (pair,) = done.pairs
        assert functions(pair.original) == functions(pair.patched)

    build(tree, moved, check)


def test_the_base_is_prepared_once_and_survives_a_fix(tree: Path, cache: Path) -> None:
    kept = []

    def check(done: SourceBuild) -> None:
        kept.append(snapshot(done.base))

    build(tree, FIX, check)
    build(tree, HEADER_FIX, check)
    first, second = kept
    assert first[".prepared"] == second[".prepared"]
    assert {n: v for n, v in second.items() if n in first} == {
        n: v if n != "fs/open.o" else second[n] for n, v in first.items()
    }
    assert not list(cache.glob("build/*/tree"))


def test_a_header_lets_objects_of_the_kernel_and_of_a_module_be_compiled(
    tree: Path,
) -> None:
    def check(done: SourceBuild) -> None:
        assert [each.name for each in done.pairs] == [
            *("fs/ext/sub/inode.o", "fs/ext/super.o", "fs/open.o"),
        ]
        differing = [each.name for each in done.pairs if each.differs]
        assert differing == ["fs/ext/super.o", "fs/open.o"]

    build(tree, HEADER_FIX, check)


@pytest.fixture
def wide(tree: Path) -> Path:
    """The header reaches five more objects, none of which uses it."""
    for number in range(5):
        text = f"#include <linux/one.h>\nint more{number};\n"
        (tree / f"fs/more{number}.c").write_text(text)
    makefile = tree / "fs/Makefile"
    more = " ".join(f"more{number}.o" for number in range(5))
    makefile.write_text(f"{makefile.read_text()}obj-y += {more}\n")
    return tree


def test_of_many_objects_only_those_that_use_what_changed_are_compiled(
    wide: Path,
) -> None:
    def check(done: SourceBuild) -> None:
        assert [each.name for each in done.pairs] == ["fs/ext/super.o", "fs/open.o"]
        assert not list(done.base.rglob("*.i"))

    build(wide, HEADER_FIX, check)
    build(wide, HEADER_FIX, check, most=2)


def test_of_what_a_header_adds_only_the_fix_itself_can_make_use(wide: Path) -> None:
    def check(done: SourceBuild) -> None:
        assert [each.name for each in done.pairs] == ["fs/open.o"]

    edits = {
        "include/linux/one.h": {"static inline": "int do_it(int x);\nstatic inline"},
        "fs/open.c": {
            "int do_open": "int do_it(int x)\n{\n\treturn x;\n}\nint do_open"
        },
    }
    build(wide, edited(wide, edits), check, most=1)


def test_an_object_whose_headers_only_its_build_makes_is_compiled(wide: Path) -> None:
    text = '#include <linux/one.h>\n#include "made.h"\nint more = MADE;\n'
    (wide / "fs/more0.c").write_text(text)
    with (wide / "Makefile").open("a") as makefile:
        makefile.write("fs/more0.o: fs/made.h\n")
        makefile.write("fs/made.h:\n\techo '#define MADE 7' > $@\n")

    def check(done: SourceBuild) -> None:
        assert [each.name for each in done.pairs] == [
            *("fs/ext/super.o", "fs/more0.o", "fs/open.o"),
        ]

    build(wide, HEADER_FIX, check)


@pytest.mark.parametrize(
    ("most", "message"), [(1, "8 objects include it, .*the 5"), (2, "3 objects use")]
)
def test_more_objects_than_allowed_are_refused_with_their_number(
    wide: Path, most: int, message: str
) -> None:
    if most == 2:
        text = "#include <linux/one.h>\nint more(int x)\n{\n\treturn one(x);\n}\n"
        (wide / "fs/more0.c").write_text(text)
    with pytest.raises(BuildError, match=message) as caught:
        build(wide, HEADER_FIX, lambda done: None, most=most)
    assert "--fan-out" in caught.value.hint
    assert caught.value.codes == ("LP-CHG-905",)


@pytest.fixture
def mapped(tree: Path) -> Path:
    """Has code of the vDSO, for which the tree's makefile has no flags, and beside it
    code of the kernel."""
    files = {
        "Makefile": "obj-y += vdso/\n",
        "vdso/Makefile": "vobjs-y := clock.o\nobj-y += vma.o\n",
        "vdso/vma.c": "int vma(void)\n{\n\treturn 1;\n}\n",
        "vdso/clock.c": "#include <linux/one.h>\n"
        '_Static_assert(sizeof(long) == 4, "");\nint clock(void)\n{\n\treturn 1;\n}\n',
    }
    for name, text in files.items():
        path = tree / "arch/x86/entry" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tree


def test_what_the_vdso_does_not_use_may_change(mapped: Path) -> None:
    def check(done: SourceBuild) -> None:
        assert "fs/open.o" in {each.name for each in done.pairs}
        assert not any("vdso" in each.name for each in done.pairs)

    build(mapped, HEADER_FIX, check)


def test_what_changes_in_the_vdso_is_refused(mapped: Path) -> None:
    edits = {"arch/x86/entry/vdso/clock.c": {"return 1": "return 2"}}
    with pytest.raises(BuildError, match=r"vdso/clock\.o: would change") as caught:
        build(mapped, edited(mapped, edits), lambda done: None)
    assert caught.value.codes == ("LP-SHP-172",)


def test_code_of_the_kernel_beside_the_vdso_is_like_any_other(mapped: Path) -> None:
    def check(done: SourceBuild) -> None:
        assert [each.name for each in done.pairs] == ["arch/x86/entry/vdso/vma.o"]

    edits = {"arch/x86/entry/vdso/vma.c": {"return 1": "return 2"}}
    build(mapped, edited(mapped, edits), check)


def test_a_configuration_that_cannot_be_had_is_refused(tree: Path) -> None:
    with pytest.raises(InputError, match="CONFIG_LOST=y becomes n"):
        build(tree, FIX, lambda done: None, CONFIG + "CONFIG_LOST=y\n")


def test_a_tree_without_a_configuration_says_where_one_is(tree: Path) -> None:
    with pytest.raises(InputError, match="is not configured") as caught:
        build(tree, FIX, lambda done: None, "")
    assert "--config" in caught.value.hint


IBT = CONFIG + "CONFIG_X86_KERNEL_IBT=y\nCONFIG_UNWINDER_ORC=y\n"


@pytest.mark.parametrize(("configuration", "treated"), [(CONFIG, False), (IBT, True)])
def test_objtool_is_run_where_the_build_would_do_so_at_its_end(
    tree: Path, configuration: str, treated: bool
) -> None:
    def check(done: SourceBuild) -> None:
        for pair in done.pairs:
            for path in (pair.original, pair.patched):
                assert path is not None
                assert (open_image(path).section(".orc_unwind") is not None) is treated
        if treated:
            calls = (done.base / "objtool.log").read_text().splitlines()
            assert calls == [
                *("--orc --module fs/ext/sub/inode.o.objtool",),
                *("--orc --module fs/ext/super.o.objtool", "--orc fs/open.o.objtool"),
            ]

    build(tree, HEADER_FIX, check, configuration)


def test_link_time_optimization_is_refused(tree: Path) -> None:
    with pytest.raises(BuildError, match="CONFIG_LTO_CLANG"):
        build(tree, FIX, lambda done: None, CONFIG + "CONFIG_LTO_CLANG=y\n")


def test_entries_of_the_kernel_are_in_no_module() -> None:
    assert Entry(State.KERNEL, "a.o", "a.o", "a.o").module == ""
