"""Source trees are built once and rebuilt where a fix touches them; they themselves
never change, whatever happens."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lpengine.compile import cache
from lpengine.compile.applying import Applied
from lpengine.compile.events import BaseReady, Event, FixBuilt, Notify, ObjectBuilt
from lpengine.compile.fix import Fix, parse_fix
from lpengine.compile.make import BUILD_LOG, make
from lpengine.compile.recognise import open_tree
from lpengine.compile.source import base_key, built, copy_built, require
from lpengine.compile.toolchain import Toolchain
from lpengine.compile.tree import ObjectPair, Settings
from lpengine.compile.xen_tree import XenTree
from lpengine.errors import InputError, LockedError, NotFoundError

MAKEFILE = """\
all: one.o two.o three.o
%.o: %.c
\t@echo "  CC      $@"
\t@$(CC) -O2 -MMD -c -o $@ $<
-include *.d
"""
FILES = {
    "Makefile": MAKEFILE,
    "shared.h": "static inline int shared(int x)\n{\n\treturn x + 1;\n}\n",
    "one.c": '#include "shared.h"\nint one(int x)\n{\n\treturn shared(x);\n}\n',
    "two.c": '#include "shared.h"\nint two(int x)\n{\n\treturn 2 * shared(x);\n}\n',
    "three.c": "int three(int x)\n{\n\treturn 3 * x + __LINE__;\n}\n",
}
FILES_BUILT = ["one.o", "three.o", "two.o"]
FIX_THREE = """\
--- a/three.c
+++ b/three.c
@@ -1,3 +1,5 @@
+/* A comment. */
+
 int three(int x)
 {
 \treturn 3 * x + __LINE__;
"""
FIX_HEADER = """\
--- a/shared.h
+++ b/shared.h
@@ -2,3 +2,3 @@
 {
-\treturn x + 1;
+\treturn x + 2;
 }
"""


@dataclass(frozen=True)
class MakeTree:
    """The smallest tree there is: a Makefile and C sources."""

    root: Path
    format: str = "toy"
    programs: Sequence[str] = ("make",)
    inner: Sequence[str] = ("src",)

    def sources(self) -> Sequence[str]:
        return sorted(p.name for p in self.root.iterdir() if p.suffix != ".o")

    def concerns(self, path: str) -> bool:
        return not path.startswith("docs/")

    def keeps_numbers(self, path: str) -> bool:
        return path.endswith((".c", ".h"))

    def configuration(self) -> tuple[bytes, str]:
        return b"", "none"

    def build(self, copy: Path, settings: Settings, notify: Notify) -> None:
        make(
            copy,
            ["all"],
            log=copy.parent / BUILD_LOG,
            variables={"CC": settings.toolchain.compiler},
            environment={},
            jobs=settings.jobs,
            notify=notify,
        )

    def copy(self, base: Path, work: Path) -> None:
        copy_built(base, work)

    def rebuild(
        self,
        base: Path,
        work: Path,
        applied: Applied,
        settings: Settings,
        notify: Notify,
    ) -> Sequence[ObjectPair]:
        self.build(work, settings, notify)
        pairs = [ObjectPair(name, base / name, work / name) for name in FILES_BUILT]
        return [pair for pair in pairs if pair.differs]

    def objects(self, base: Path) -> Mapping[str, Path]:
        return {path.name: path for path in sorted(base.glob("*.o"))}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPENGINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> MakeTree:
    (tmp_path / "tree").mkdir()
    for name, text in FILES.items():
        (tmp_path / "tree" / name).write_text(text)
    return MakeTree(tmp_path / "tree")


def settings() -> Settings:
    return Settings(Toolchain("gcc"))


def state(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def fix(text: str) -> list[Fix]:
    return [parse_fix(text.encode(), "fix.patch")]


def test_only_what_a_fix_touches_is_built(tree: MakeTree) -> None:
    before = state(tree.root)
    events: list[Event] = []
    with built(tree, fix(FIX_HEADER), settings(), events.append) as done:
        assert [pair.name for pair in done.pairs] == ["one.o", "two.o"]
        for pair in done.pairs:
            assert pair.original is not None
            assert pair.patched is not None
            assert pair.original.read_bytes() != pair.patched.read_bytes()
        assert list(done.objects) == FILES_BUILT
    assert [e.name for e in events if isinstance(e, ObjectBuilt)] == [
        "one.o",
        "two.o",
        "three.o",
        "one.o",
        "two.o",
    ]
    assert [e.objects for e in events if isinstance(e, FixBuilt)] == [2]
    assert state(tree.root) == before


def test_the_base_is_built_once(tree: MakeTree) -> None:
    events: list[Event] = []
    for text in (FIX_HEADER, FIX_THREE):
        with built(tree, fix(text), settings(), events.append):
            pass
    assert [e.cached for e in events if isinstance(e, BaseReady)] == [False, True]


def test_lines_above_a_function_do_not_change_it(tree: MakeTree) -> None:
    events: list[Event] = []
    with built(tree, fix(FIX_THREE), settings(), events.append) as done:
        assert done.pairs == ()
    assert [e.name for e in events if isinstance(e, ObjectBuilt)][-1] == "three.o"


def test_the_key_is_of_contents_not_of_places(tree: MakeTree, tmp_path: Path) -> None:
    def key(root: Path, chosen: Settings) -> str:
        there = MakeTree(root)
        return base_key(there, there.sources(), chosen)

    copy = tmp_path / "elsewhere"
    copy_built(tree.root, copy)
    known = key(tree.root, settings())
    assert key(copy, settings()) == known
    other = Settings(Toolchain("gcc"), variables={"A": "b"})
    assert key(copy, other) != known
    assert key(copy, Settings(Toolchain("gcc"), b"CONFIG_X=y")) != known
    (copy / "three.c").write_text("int three;\n")
    assert key(copy, settings()) != known


def test_another_place_gives_the_same_objects(tree: MakeTree, tmp_path: Path) -> None:
    copy_built(tree.root, tmp_path / "elsewhere")
    objects = []
    for root in (tree.root, tmp_path / "elsewhere"):
        with built(MakeTree(root), fix(FIX_HEADER), settings()) as done:
            objects.append([p.patched.read_bytes() for p in done.pairs if p.patched])
        for kept in cache.kept_bases():
            cache.remove_base(kept.key)
    assert objects[0] == objects[1]


def test_a_tree_that_does_not_build_says_where(tree: MakeTree) -> None:
    (tree.root / "three.c").write_text("int three(int x) { return y; }\n")
    with (
        pytest.raises(
            InputError, match=r"three\.c:1:.*error: .y. undeclared"
        ) as caught,
        built(tree, fix(FIX_HEADER), settings()),
    ):
        pass
    log = Path(caught.value.hint.rpartition(": ")[2])
    assert "undeclared" in log.read_text()
    assert cache.kept_bases() == ()


def test_a_fix_that_does_not_build_leaves_the_base(tree: MakeTree) -> None:
    broken = FIX_HEADER.replace("+\treturn x + 2;", "+\treturn z;")
    with (
        pytest.raises(InputError, match="undeclared"),
        built(tree, fix(broken), settings()),
    ):
        pass
    events: list[Event] = []
    with built(tree, fix(FIX_HEADER), settings(), events.append) as done:
        assert len(done.pairs) == 2
    assert [e.cached for e in events if isinstance(e, BaseReady)] == [True]


def test_a_fix_that_does_not_fit_is_told_before_anything_is_built(
    tree: MakeTree,
) -> None:
    events: list[Event] = []
    stale = FIX_THREE.replace(" int three", " int four")
    assert stale != FIX_THREE
    with (
        pytest.raises(InputError, match="fits nowhere"),
        built(tree, fix(stale), settings(), events.append),
    ):
        pass
    assert events == []
    assert cache.kept_bases() == ()


def test_a_fix_of_other_files_touches_nothing(tree: MakeTree) -> None:
    text = "--- /dev/null\n+++ b/docs/new.txt\n@@ -0,0 +1 @@\n+text\n"
    with built(tree, fix(text), settings()) as done:
        assert done.pairs == ()
        assert done.applied.strangers == ("docs/new.txt",)


def test_what_is_missing_is_named(tree: MakeTree) -> None:
    lacking = MakeTree(tree.root, programs=("make", "no-such-program"))
    with (
        pytest.raises(NotFoundError, match="no-such-program: not installed"),
        built(lacking, fix(FIX_THREE), settings()),
    ):
        pass
    with (
        pytest.raises(NotFoundError, match="no-such-gcc: not installed"),
        built(tree, fix(FIX_THREE), Settings(Toolchain("no-such-gcc"))),
    ):
        pass


def test_missing_programs_come_with_their_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotFoundError, match="make, ld: not installed") as caught:
        require(("make", "ld"))
    assert caught.value.hint == "apt install make binutils"


def test_killed_in_the_middle_nothing_is_left_behind(
    tree: MakeTree, tmp_path: Path
) -> None:
    before = state(tree.root)
    script = textwrap.dedent(f"""
        from pathlib import Path
        from tests.test_compile_source import FIX_HEADER, MakeTree, built, fix, settings
        with built(MakeTree(Path({str(tree.root)!r})), fix(FIX_HEADER), settings()):
            print("open", flush=True)
            import time; time.sleep(60)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        (left,) = (tmp_path / "cache/build").glob("*/tree")
        os.kill(process.pid, signal.SIGKILL)
    assert left.exists()
    assert state(tree.root) == before
    with built(tree, fix(FIX_THREE), settings()) as done:
        assert done.pairs == ()
    assert not left.exists()


def test_two_at_once_wait_for_each_other(
    tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_WAIT_SECONDS", 0.1)
    with (
        built(tree, fix(FIX_THREE), settings()),
        pytest.raises(LockedError, match="in use by another"),
        built(tree, fix(FIX_HEADER), settings()),
    ):
        pass


def test_bases_are_listed_and_forgotten(tree: MakeTree) -> None:
    with built(tree, fix(FIX_THREE), settings()):
        pass
    (kept,) = cache.kept_bases()
    assert kept.described["tree"] == str(tree.root)
    assert kept.size > 0
    assert cache.prune(keep_days=1) == ()
    record = cache.builds_directory() / kept.key / "base.json"
    os.utime(record, (time.time() - 3 * 86400,) * 2)
    assert [each.key for each in cache.prune(keep_days=1)] == [kept.key]
    assert cache.kept_bases() == ()
    with pytest.raises(NotFoundError):
        cache.remove_base(kept.key)


def test_a_directory_that_is_no_tree(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither Xen's"):
        open_tree(tmp_path)
    with pytest.raises(NotFoundError, match="no such directory"):
        open_tree(tmp_path / "missing")


def xen_like(root: Path) -> Path:
    for name in (
        "Config.mk",
        "config/StdGNU.mk",
        "xen/Kconfig",
        "xen/common/domain.c",
        "xen/common/domain.o",
        "xen/common/.domain.o.d",
        "xen/include/generated/autoconf.h",
        "xen/include/public/xen.h",
        "xen/.config",
        "tools/libs/light.c",
        "tools/flask/policy/Makefile",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_xens_tree_is_recognised(tmp_path: Path) -> None:
    root = xen_like(tmp_path)
    assert open_tree(root) == open_tree(root / "xen") == XenTree(root)


def test_what_a_hypervisor_is_built_of(tmp_path: Path) -> None:
    tree = XenTree(xen_like(tmp_path))
    assert tree.sources() == [
        "Config.mk",
        "config/StdGNU.mk",
        "tools/flask/policy/Makefile",
        "xen/Kconfig",
        "xen/common/domain.c",
        "xen/include/public/xen.h",
    ]
    assert not tree.concerns("tools/libs/light.c")
    assert tree.concerns("xen/arch/x86/mm.c")
    assert tree.keeps_numbers("xen/arch/x86/mm.c")
    assert not tree.keeps_numbers("xen/include/public/xen.h")
    assert tree.configuration() == (b"xen/.config", str(tmp_path / "xen/.config"))
