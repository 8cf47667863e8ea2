"""`lpengine build objects`: what it prints, how it exits, and the page it writes."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lpengine.cli import run
from lpengine.planner import CATALOGUE
from tests.diff_cases import case_named, compile_side

CHANGED, REFUSED, UNCHANGED = "match-strings", "refused-initial-data", "match-nothing"


def write_pair(name: str, directory: Path, file: str = "object.o") -> tuple[Path, Path]:
    """Both builds of a case as files of the same name."""
    paths = []
    for side in ("before", "after"):
        path = directory / side / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(compile_side(case_named(name), side, "gcc"))
        paths.append(path)
    return paths[0], paths[1]


def build(
    original: Path, patched: Path, *more: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, Any]]:
    command = ["build", "objects", "--original", str(original)]
    code = run([*command, "--patched", str(patched), "--json", *more])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("name", "code", "verdict"),
    [(CHANGED, 0, "changed"), (REFUSED, 10, "refused"), (UNCHANGED, 15, "unchanged")],
)
def test_verdicts_have_exit_codes(
    name: str,
    code: int,
    verdict: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exit_code, document = build(*write_pair(name, tmp_path), capsys=capsys)
    assert exit_code == code
    assert document["schema"] == "lpengine/build-objects/1"
    assert document["verdict"] == verdict
    (only,) = document["objects"]
    assert only["verdict"] == verdict
    assert set(only) >= {
        *("changed_functions", "new_functions", "new_data", "refusals"),
    }


def test_refusals_say_why_and_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, document = build(*write_pair(REFUSED, tmp_path), capsys=capsys)
    (refusal,) = document["refusals"]
    assert refusal["code"] in CATALOGUE
    assert refusal["subject"] == "limit"
    assert "05000000 became 06000000" in refusal["evidence"]
    assert refusal["remedy"]


def test_people_see_the_first_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original, patched = write_pair(CHANGED, tmp_path)
    code = run(
        [*("build", "objects"), "--original", str(original), "--patched", str(patched)]
    )
    assert code == 0
    out = capsys.readouterr().out
    assert "object.o: changed" in out
    assert "changed  first" in out
    assert "\n      - " in out


def test_directories_are_compared_object_by_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(CHANGED, tmp_path, "a/one.o")
    write_pair(UNCHANGED, tmp_path, "a/two.o")
    write_pair(REFUSED, tmp_path, "three.o")
    code, document = build(tmp_path / "before", tmp_path / "after", capsys=capsys)
    assert code == 10
    verdicts = {each["name"]: each["verdict"] for each in document["objects"]}
    assert verdicts == {
        "a/one.o": "changed",
        "a/two.o": "unchanged",
        "three.o": "refused",
    }


def test_an_object_that_was_not_rebuilt_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(CHANGED, tmp_path, "one.o")
    original, _ = write_pair(UNCHANGED, tmp_path, "two.o")
    (tmp_path / "after" / "two.o").unlink()
    code, document = build(original.parent, tmp_path / "after", capsys=capsys)
    assert code == 0
    assert [each["name"] for each in document["objects"]] == ["one.o"]


def test_an_object_of_the_fix_alone_is_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original, patched = write_pair(CHANGED, tmp_path, "one.o")
    original.unlink()
    write_pair(UNCHANGED, tmp_path, "two.o")
    code, document = build(original.parent, patched.parent, capsys=capsys)
    assert code == 0
    new = document["objects"][0]
    assert sorted(new["new_functions"]) == ["first", "second"]
    assert new["changed_functions"] == []


@pytest.mark.parametrize(
    "data", [b"\x7fELF\x01 16-bit boot code", b"\x7fELF\x02"[:4] + b"\x01"]
)
def test_what_is_no_object_must_not_differ(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(CHANGED, tmp_path, "one.o")
    (tmp_path / "before/boot.o").write_bytes(data)
    (tmp_path / "after/boot.o").write_bytes(data)
    code, _ = build(tmp_path / "before", tmp_path / "after", capsys=capsys)
    assert code == 0
    (tmp_path / "after/boot.o").write_bytes(data + b"!")
    code, document = build(tmp_path / "before", tmp_path / "after", capsys=capsys)
    assert code == 10
    assert [each["code"] for each in document["refusals"]] == ["LP-CHG-907"]


def test_a_hook_has_to_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = write_pair("taken-hook", tmp_path)
    assert build(*pair, capsys=capsys)[0] == 10
    code, document = build(*pair, "--hook", "limit=convert", capsys=capsys)
    assert code == 0
    assert document["objects"][0]["lifted"][0]["hook"] == "convert"
    code, document = build(*pair, "--hook", "limit=absent", capsys=capsys)
    assert code == 2
    assert "no hook absent" in document["message"]


@pytest.mark.parametrize(
    ("original", "patched", "code"),
    [("absent.o", "after/object.o", 4), ("before", "after/object.o", 4)],
)
def test_files_that_are_not_there(
    original: str,
    patched: str,
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_pair(UNCHANGED, tmp_path)
    found, document = build(tmp_path / original, tmp_path / patched, capsys=capsys)
    assert found == code
    assert document["message"]


class _Tags(HTMLParser):
    """Open tags, closed in order, and everything the page would load."""

    VOID = frozenset(("meta", "br"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.loaded += [str(v) for k, v in attrs if k in ("src", "href")]
        assert tag not in ("script", "link", "img")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", [CHANGED, REFUSED, UNCHANGED, "xen-hooks"])
def test_the_page_needs_nothing_else(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "out.html"
    pair = write_pair(name, tmp_path)
    build(*pair, "--report", str(page), capsys=capsys)
    text = page.read_text()
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    assert all(each.startswith("#") for each in tags.loaded)
    assert ("first" in text) == (name == CHANGED)


def test_the_page_quotes_what_names_hold(tmp_path: Path) -> None:
    from lpengine.diff.changes import Changes, ObjectChanges, Refusal, Verdict
    from lpengine.patch.objects import ObjectsResult
    from lpengine.report.change_html import changes_page

    refusal = Refusal("LP-DAT-302", "initial-data", "x", "<script>", "do")
    changed = ObjectChanges("<b>", Verdict.REFUSED, refusals=(refusal,))
    text = changes_page(ObjectsResult(Changes((changed,))))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<b>" not in text
