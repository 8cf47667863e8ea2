"""Which line became which, against difflib."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.diff.changes import Verdict
from lpengine.diff.differ import Options, diff_images
from lpengine.diff.linemap import read_line_map
from lpengine.elf import parse_image
from tests.diff_cases import case_named, compile_text

PATCH = """\
diff --git a/common/domain.c b/common/domain.c
--- a/common/domain.c
+++ b/common/domain.c
@@ -10,4 +10,6 @@ int f(void)
 ten
+new
+new
 eleven
-twelve
+other
 thirteen
@@ -30 +31,0 @@ gone
-thirty
--- a/include/xen/sched.h
+++ b/include/xen/sched.h
@@ -0,0 +1 @@
+first
"""


def test_lines_of_a_patch() -> None:
    lines = read_line_map(PATCH).of("common/domain.c")
    assert lines
    assert [lines.moved(n) for n in (1, 9, 10, 11, 12, 13, 14, 29, 30, 31)] == [
        *(1, 9, 10, 13, None, 15, 16, 31, None, 32),
    ]
    header = read_line_map(PATCH).of("./include/xen/sched.h")
    assert header
    assert header.moved(1) == 2


@pytest.mark.parametrize("path", ["common/domain.c", "xen/common/domain.c", "domain.c"])
def test_files_are_known_from_wherever_the_compiler_ran(path: str) -> None:
    assert read_line_map(PATCH).of(path)
    assert read_line_map(PATCH).of("other/" + path + "x") is None


def test_any_file_may_move_a_line() -> None:
    found = read_line_map(PATCH)
    assert found.moves(11, 13)
    assert found.moves(7, 8)
    assert not found.moves(11, 14)
    assert not read_line_map("no patch at all").moves(1, 1)


TEXTS = st.lists(st.sampled_from("abcde"), max_size=30)


@given(TEXTS, TEXTS, st.integers(0, 4))
def test_kept_lines_are_where_the_diff_has_them(
    before: list[str], after: list[str], context: int
) -> None:
    old, new = ([f"{line}\n" for line in text] for text in (before, after))
    patch = "".join(difflib.unified_diff(old, new, "a/f.c", "b/f.c", n=context))
    lines = read_line_map(patch).of("f.c")
    if old == new:
        assert lines is None
        return
    assert lines
    for number, line in enumerate(before, 1):
        moved = lines.moved(number)
        if moved is not None:
            assert after[moved - 1] == line
    kept = [moved for n in range(1, len(before) + 1) if (moved := lines.moved(n))]
    assert kept == sorted(set(kept))


def test_a_map_explains_a_number_without_company() -> None:
    case = case_named("lines-alone")
    text = "extern void wait(int);\nvoid use(void)\n{\n\twait(__LINE__);\n}\n"
    before = parse_image(compile_text(case, text, "gcc"))
    after = parse_image(compile_text(case, "\n\n" + text, "gcc"))
    patch = "--- a/source.c\n+++ b/source.c\n@@ -0,0 +1,2 @@\n+\n+\n"
    other = patch.replace("1,2", "1,3") + "+\n"
    for shown, verdict in ((patch, Verdict.UNCHANGED), (other, Verdict.CHANGED)):
        options = Options(line_map=read_line_map(shown))
        assert diff_images("object", before, after, options).verdict is verdict
