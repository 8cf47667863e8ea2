"""Patches are read, applied to the byte, and keep the lines behind them in place."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.compile.applying import apply_fixes
from lpengine.compile.fix import described, parse_fix
from lpengine.compile.lines import ADDED, Line, numbered, with_original_numbers
from lpengine.errors import InputError

SOURCE = "".join(f"line {number}\n" for number in range(1, 31))
MAIL = """\
From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001
From: Somebody <somebody@example.org>
Subject: [PATCH for-4.17 2/3] x86/mm: take the lock
 before the page

This is XSA-999 / CVE-2026-12345.
---
"""


def diff(old: str, new: str, name: str = "mm.c") -> bytes:
    """What the system's own diff says of two texts."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        for side, text in (("a", old), ("b", new)):
            (Path(scratch) / side).mkdir()
            (Path(scratch) / side / name).write_text(text)
        argv = ["diff", "-u", f"a/{name}", f"b/{name}"]
        return subprocess.run(argv, cwd=scratch, capture_output=True).stdout


def applied(tmp_path: Path, raw: bytes, name: str = "mm.c", old: str = SOURCE) -> str:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(old)
    apply_fixes(tmp_path, [parse_fix(raw)])
    return (tmp_path / name).read_text()


def test_what_a_mail_says_of_its_patch() -> None:
    fix = parse_fix(MAIL.encode() + diff(SOURCE, SOURCE + "more\n"))
    assert fix.title == "x86/mm: take the lock before the page"
    assert fix.commit == "0123456789abcdef0123456789abcdef01234567"
    assert fix.identifiers == ("XSA-999", "CVE-2026-12345")
    assert dict(described([fix, fix]))["fixes"] == "XSA-999 CVE-2026-12345"


def test_what_git_show_says() -> None:
    said = "commit 0123456789abcdef\nAuthor: A <a@b>\n\n    x86: stop\n\n    More.\n\n"
    fix = parse_fix(said.encode() + diff(SOURCE, SOURCE + "more\n"))
    assert (fix.title, fix.commit) == ("x86: stop", "0123456789abcdef")


def test_a_plain_diff_says_nothing() -> None:
    fix = parse_fix(diff(SOURCE, SOURCE + "more\n"))
    assert (fix.title, fix.commit, fix.identifiers) == ("", "", ())
    assert described([fix]) == ()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from("abcd"), max_size=25),
    st.lists(st.sampled_from("abcd"), max_size=25),
)
def test_applying_gives_what_was_diffed(
    tmp_path_factory: pytest.TempPathFactory, old: list[str], new: list[str]
) -> None:
    texts = ["".join(f"{line}\n" for line in lines) for lines in (old, new)]
    if not texts[0] or texts[0] == texts[1]:
        return
    raw = diff(*texts)
    assert applied(tmp_path_factory.mktemp("tree"), raw, old=texts[0]) == texts[1]


def test_files_that_come_go_and_move(tmp_path: Path) -> None:
    (tmp_path / "gone.c").write_text("int gone;\n")
    (tmp_path / "old.c").write_text("int one;\nint two;\n")
    raw = (
        b"--- a/gone.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-int gone;\n"
        b"--- /dev/null\n+++ b/sub/new.c\n@@ -0,0 +1,2 @@\n+int a;\n+int b;\n"
        b"diff --git a/old.c b/moved.c\nrename from old.c\nrename to moved.c\n"
        b"--- a/old.c\n+++ b/moved.c\n@@ -1,2 +1,2 @@\n int one;\n-int two;\n+int 2;\n"
    )
    done = apply_fixes(tmp_path, [parse_fix(raw)])
    assert not (tmp_path / "gone.c").exists()
    assert not (tmp_path / "old.c").exists()
    assert (tmp_path / "sub/new.c").read_text() == "int a;\nint b;\n"
    assert (tmp_path / "moved.c").read_text() == "int one;\nint 2;\n"
    assert done.files == ("gone.c", "moved.c", "old.c", "sub/new.c")


def test_a_hunk_that_moved_is_reported(tmp_path: Path) -> None:
    raw = diff(SOURCE, SOURCE.replace("line 20\n", "line twenty\n"))
    (tmp_path / "mm.c").write_text("three\nnew\nlines\n" + SOURCE)
    done = apply_fixes(tmp_path, [parse_fix(raw, "fix.patch")])
    assert done.notes == ("fix.patch: mm.c:17: found +3 lines away",)
    assert "line twenty" in (tmp_path / "mm.c").read_text()


def test_patches_build_upon_one_another(tmp_path: Path) -> None:
    middle = SOURCE.replace("line 5\n", "five\nfive and a half\n")
    end = middle.replace("five and a half\n", "half past five\n")
    (tmp_path / "mm.c").write_text(SOURCE)
    fixes = [parse_fix(diff(SOURCE, middle)), parse_fix(diff(middle, end))]
    apply_fixes(tmp_path, fixes)
    assert (tmp_path / "mm.c").read_text() == end


def test_files_that_no_build_reads_are_left_alone(tmp_path: Path) -> None:
    raw = diff("a\n", "b\n", "tools.c") + diff(SOURCE, SOURCE + "x\n")
    (tmp_path / "mm.c").write_text(SOURCE)
    done = apply_fixes(tmp_path, [parse_fix(raw)], concerns=lambda path: path == "mm.c")
    assert done.strangers == ("tools.c",)
    assert done.files == ("mm.c",)


@pytest.mark.parametrize(
    ("old", "says"),
    [
        (SOURCE.replace("line 20\n", "other\n"), "fits nowhere"),
        (SOURCE.replace("line 20\n", "line twenty\n"), "is in the tree already"),
        ("".join(f"line {n}\n" for n in range(17, 24)) * 2, "in several places"),
    ],
)
def test_a_hunk_without_its_place_is_refused(
    tmp_path: Path, old: str, says: str
) -> None:
    raw = diff(SOURCE, SOURCE.replace("line 20\n", "line twenty\n"))
    (tmp_path / "mm.c").write_text(old)
    (tmp_path / "other.c").write_text(SOURCE)
    first = parse_fix(diff(SOURCE, SOURCE + "x\n", "other.c"))
    with pytest.raises(InputError, match=says) as caught:
        apply_fixes(tmp_path, [first, parse_fix(raw, "fix.patch")])
    assert "fix.patch" in caught.value.message
    assert "mm.c:17" in caught.value.message
    assert caught.value.hint
    assert (tmp_path / "mm.c").read_text() == old
    assert (tmp_path / "other.c").read_text() == SOURCE


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "holds no unified diff"),
        (b"--- a/x\n+++ b/x\n", "has no hunk"),
        (b"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n", "breaks off"),
        (b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n?\n", "breaks off"),
        (b"--- a/x\n+++ b/x\n@@ -1,1 +1,1 @@\n-a\n-b\n+c\n", "counts its hunk's"),
        (b"--- a/x\n+++ b/../../x\n@@ -1 +1 @@\n-a\n+b\n", "outside of a tree"),
        (b"--- a//etc/x\n+++ b//etc/x\n@@ -1 +1 @@\n-a\n+b\n", "outside of a tree"),
        (b"diff --git a/x b/x\nGIT binary patch\nliteral 1\n", "binary file"),
    ],
)
def test_a_broken_patch_is_named(raw: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_fix(raw, "fix.patch")


def test_a_link_out_of_the_tree_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.c"
    outside.write_text("a\n")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/mm.c").symlink_to(outside)
    with pytest.raises(InputError, match=r"has no mm\.c"):
        apply_fixes(tmp_path / "tree", [parse_fix(diff("a\n", "b\n"))])
    assert outside.read_text() == "a\n"


def preprocessed(text: bytes) -> list[str]:
    """What a compiler sees of a source: its tokens, __LINE__ replaced."""
    argv = ["gcc", "-E", "-P", "-w", "-x", "c", "-"]
    done = subprocess.run(argv, input=text, capture_output=True, check=True)
    return done.stdout.decode().split()


# Each uses its line number; the blocks are what may stand around and between them.
USES = "at_{n}: __LINE__;"
BLOCKS = [
    USES,
    "/* a comment\n over lines, with \" and '\n*/",
    "#define M_{n}(x) \\\n    x; \\\n    x\nM_{n}(__LINE__)",
    "#ifdef NOT_THERE\nskipped __LINE__;\n#else\nkept_{n} __LINE__;\n#endif",
    "#if 1\nin_{n} __LINE__;\n#elif 0\nnever\n#endif",
    "f_{n}(__LINE__,\n  1,\n  __LINE__);",
    '"a string /* with an opening"; \'"\'; // and a " comment',
]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_lines_keep_the_numbers_they_had(data: st.DataObject) -> None:
    """Whatever is added or removed between blocks, in the middle of comments,
    macros and skipped parts too: what is left expands as it did."""
    chosen = data.draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=8))
    blocks = [block.replace("{n}", str(n)) for n, block in enumerate(chosen)]
    lines = numbered("\n".join([*blocks, USES.replace("{n}", "end")]).encode())
    before = preprocessed(b"\n".join(line.text for line in lines))
    fixed: list[Line] = []
    inside = False
    for line in lines:
        room = not fixed or not fixed[-1].text.endswith(b"\\")
        for _ in range(data.draw(st.integers(0, 2))) if room else ():
            fixed.append(Line(b"/* added */" if not inside else b"added", ADDED))
        fixed.append(line)
        inside = (b"/*" in line.text and b'"' not in line.text) or (
            inside and b"*/" not in line.text
        )
    assert preprocessed(with_original_numbers(fixed)) == before


def test_a_line_that_takes_anothers_place_needs_no_directive() -> None:
    lines = numbered(b"a\nb\nc\n")
    lines[1] = Line(b"changed", ADDED)
    assert with_original_numbers(lines) == b"a\nchanged\nc\n"


def test_lines_that_are_gone_are_counted() -> None:
    lines = numbered(b"a\nb\nc\n")
    assert with_original_numbers([lines[0], *lines[2:]]) == b"a\n#line 3\nc\n"
