"""Patches are read, applied to the byte, and keep the lines behind them in place."""

import subprocess
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.compile.applying import Applied, fit
from lpengine.compile.fix import Fix, described, parse_fix
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


def apply_fixes(
    root: Path,
    fixes: Sequence[Fix],
    concerns: Callable[[str], bool] = lambda path: True,
    inner: Sequence[str] = (),
) -> Applied:
    fitted = fit(root, fixes, concerns=concerns, inner=inner)
    return fitted.write(root, lambda path: False)


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


# The same fix, as people make it: the tree tells which file is meant.
SPELLINGS = {
    "git": ("a/xen/common/mm.c", "b/xen/common/mm.c"),
    "git with prefixes of its own": ("i/xen/common/mm.c", "w/xen/common/mm.c"),
    "git --no-prefix": ("xen/common/mm.c", "xen/common/mm.c"),
    "diff of two trees": ("xen-4.17.orig/xen/common/mm.c", "xen-4.17/xen/common/mm.c"),
    "in xen/": ("a/common/mm.c", "b/common/mm.c"),
    "in xen/, git --no-prefix": ("common/mm.c", "common/mm.c"),
    "a copy that was kept": ("a/xen/common/mm.c.orig", "a/xen/common/mm.c"),
    "a copy that was kept, in xen/": ("common/mm.c~", "common/mm.c"),
    "from further up": ("a/deb/xen/common/mm.c", "b/deb/xen/common/mm.c"),
}


@pytest.mark.parametrize(("old", "new"), SPELLINGS.values(), ids=list(SPELLINGS))
def test_files_are_found_however_the_patch_was_made(
    tmp_path: Path, old: str, new: str
) -> None:
    path = tmp_path / "xen/common/mm.c"
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE)
    fixed = SOURCE.replace("line 20\n", "line twenty\n")
    raw = diff(SOURCE, fixed).replace(b"a/mm.c", old.encode())
    raw = raw.replace(b"b/mm.c", new.encode())
    done = apply_fixes(tmp_path, [parse_fix(raw)], inner=("xen",))
    assert path.read_text() == fixed
    assert done.files == ("xen/common/mm.c",)


def test_a_fix_of_another_tree_is_no_fix_of_strangers(tmp_path: Path) -> None:
    """Else a patch with a wrong name would leave the image "not affected"."""
    (tmp_path / "mm.c").write_text(SOURCE)
    raw = diff(SOURCE, SOURCE + "x\n", "kernel/fork.c".replace("/", "_"))
    with pytest.raises(InputError, match=r"has no kernel_fork\.c") as caught:
        apply_fixes(
            tmp_path, [parse_fix(raw, "fix.patch")], concerns=lambda path: False
        )
    assert "--tree" in caught.value.hint


def test_a_later_patch_changes_what_an_earlier_one_made(tmp_path: Path) -> None:
    make = b"--- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+int a;\n"
    change = b"--- a/new.c\n+++ b/new.c\n@@ -1 +1 @@\n-int a;\n+int b;\n"
    apply_fixes(tmp_path, [parse_fix(make), parse_fix(change)])
    assert (tmp_path / "new.c").read_text() == "int b;\n"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "options", [[], ["--no-prefix"], ["-C", "--find-copies-harder"]]
)
def test_what_git_moves_copies_makes_and_removes(
    tmp_path: Path, options: list[str], ending: str
) -> None:
    """Against git itself: the tree becomes what was committed."""
    before, after = tmp_path / "before", tmp_path / "after"

    def git(*argv: str) -> bytes:
        command = ["git", "-C", after, *argv]
        return subprocess.run(command, check=True, capture_output=True).stdout

    for root in (before, after):
        (root / "sub").mkdir(parents=True)
        for file in ("moved.c", "edited.c", "copied.c", "gone.c"):
            (root / file).write_text("".join(f"{file} {n}\n" for n in range(40)))
        (root / "empty.h").touch()
    git("init", "-q")
    git("add", ".")
    tree = git("write-tree").decode().strip()
    (after / "moved.c").rename(after / "sub/moved.c")
    text = (after / "edited.c").read_text()
    (after / "sub/edited.c").write_text(text.replace(" 20\n", " twenty\n"))
    text = (after / "copied.c").read_text()
    (after / "copy.c").write_text(text.replace(" 20\n", " twenty\n"))
    (after / "new.h").write_text("")
    for name in ("edited.c", "gone.c", "empty.h"):
        (after / name).unlink()
    git("add", "-A")
    said = git("diff", "--cached", "-M", *options, tree)
    raw = said.replace(b"\n", ending.encode())
    apply_fixes(before, [parse_fix(raw)])
    assert _texts(before) == _texts(after)


def _texts(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def test_a_file_that_goes_goes_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "gone.c").write_text("int gone;\nint more;\n")
    raw = b"--- a/gone.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-int gone;\n"
    with pytest.raises(InputError, match=r"gone\.c, of which the tree has more"):
        apply_fixes(tmp_path, [parse_fix(raw)])


def test_lines_without_context_have_no_place(tmp_path: Path) -> None:
    (tmp_path / "mm.c").write_text(SOURCE)
    raw = b"--- a/mm.c\n+++ b/mm.c\n@@ -20,0 +21 @@\n+more\n"
    with pytest.raises(InputError, match="no lines around it"):
        apply_fixes(tmp_path, [parse_fix(raw)])


def test_carriage_returns_of_a_patch_stay_out(tmp_path: Path) -> None:
    raw = diff(SOURCE, SOURCE.replace("line 9\n", "nine\n")).replace(b"\n", b"\r\n")
    assert applied(tmp_path, raw) == SOURCE.replace("line 9\n", "nine\n")


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64", "8bit"])
def test_a_mail_is_decoded(tmp_path: Path, encoding: str) -> None:
    fixed = SOURCE.replace("line 9\n", "line = 9; /* Monné */\n")
    mail = EmailMessage()
    mail["From"] = "Roger Pau Monné <roger@example.org>"
    mail["Subject"] = (
        "[PATCH v2] x86/mm: remove Monné's page from the list of pages, all"
    )
    text = "This is XSA-999.\n---\n" + diff(SOURCE, fixed).decode() + "-- \n2.39.2\n"
    mail.set_content(text, cte=encoding)
    fix = parse_fix(mail.as_bytes())
    assert fix.title == "x86/mm: remove Monné's page from the list of pages, all"
    assert fix.identifiers == ("XSA-999",)
    (tmp_path / "mm.c").write_text(SOURCE)
    apply_fixes(tmp_path, [fix])
    assert (tmp_path / "mm.c").read_text() == fixed


def test_a_mail_with_attachments_is_no_patch() -> None:
    mail = EmailMessage()
    mail["Subject"] = "advisory"
    mail.set_content("See below.\n")
    mail.add_attachment(diff(SOURCE, SOURCE + "x\n"), "application", "octet-stream")
    with pytest.raises(InputError, match="is a mail with attachments"):
        parse_fix(mail.as_bytes(), "advisory.eml")


def test_a_mailbox_of_a_series_is_one_fix(tmp_path: Path) -> None:
    middle = SOURCE.replace("line 5\n", "five\n")
    end = middle.replace("five\n", "5\n")
    raw = MAIL.encode() + diff(SOURCE, middle) + b"-- \n2.39.2\n\n"
    raw += MAIL.encode() + diff(middle, end) + b"-- \n2.39.2\n\n"
    assert applied(tmp_path, raw) == end


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
