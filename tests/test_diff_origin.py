"""Objects that no compiler left like this, or not the same one: never "unchanged",
and a cause that says what they are."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.cli import run
from tests.diff_cases import Case, case_named, compile_side

CASE = "match-strings"
WITH_STATIC = """
static __attribute__((noinline)) int scale(int x) { return x * FACTOR; }
int twice(int x) { return scale(x) + scale(x + 1); }
"""


def write(directory: Path, files: dict[str, bytes]) -> tuple[Path, Path]:
    paths = (directory / "before.o", directory / "after.o")
    for path in paths:
        path.write_bytes(files[path.stem])
    return paths


def compiled(
    case: Case, flags: dict[str, tuple[str, ...]], by: dict[str, str]
) -> dict[str, bytes]:
    return {
        side: compile_side(case, side, by.get(side, "gcc"), flags.get(side, ()))
        for side in ("before", "after")
    }


def both(*flags: str) -> dict[str, tuple[str, ...]]:
    return {"before": flags, "after": flags}


def refused(paths: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> str:
    original, patched = paths
    command = ["build", "objects", "--original", str(original)]
    assert run([*command, "--patched", str(patched)]) == 10
    return capsys.readouterr().out


def test_gccs_intermediate_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no code that could differ, which is not the same as no difference."""
    files = compiled(case_named(CASE), both("-flto", "-fno-fat-lto-objects"), {})
    said = refused(write(tmp_path, files), capsys)
    assert "LP-CHG-907" in said
    assert said.count("intermediate code (-flto)") == 1


def test_one_build_with_intermediate_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = compiled(case_named(CASE), {"after": ("-flto",)}, {})
    assert "intermediate code (-flto)" in refused(write(tmp_path, files), capsys)


def test_llvms_intermediate_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by = {"before": "clang", "after": "clang"}
    files = compiled(case_named(CASE), both("-flto"), by)
    assert "intermediate code (-flto)" in refused(write(tmp_path, files), capsys)


def test_intermediate_code_beside_machine_code_is_as_good_as_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = compiled(case_named(CASE), both("-flto", "-ffat-lto-objects"), {})
    original, patched = write(tmp_path, files)
    command = ["build", "objects", "--original", str(original)]
    assert run([*command, "--patched", str(patched)]) == 0
    assert "changed  first" in capsys.readouterr().out


def test_two_compilers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = compiled(case_named(CASE), {}, {"after": "clang"})
    said = refused(write(tmp_path, files), capsys)
    assert "the original was compiled by GCC" in said
    assert "clang" in said


def test_a_compiler_that_does_not_say_who_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = compiled(case_named(CASE), {"after": ("-fno-ident",)}, {})
    original, patched = write(tmp_path, files)
    command = ["build", "objects", "--original", str(original)]
    assert run([*command, "--patched", str(patched)]) == 0


def test_stripped_of_local_symbols(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A static function has no name then, and is no assembly either."""
    paths = (tmp_path / "before.o", tmp_path / "after.o")
    for factor, path in enumerate(paths, 5):
        flags = ["gcc", "-O2", "-ffunction-sections", "-x", "c", "-c", "-", "-o", path]
        source = WITH_STATIC.replace("FACTOR", str(factor))
        subprocess.run(flags, input=source.encode(), check=True)
        subprocess.run(["strip", "--strip-unneeded", path], check=True)
    said = refused(paths, capsys)
    assert said.count("code without a symbol in .text.scale changed") == 1
    assert "local symbols were stripped" in said


def archive(raw: bytes) -> bytes:
    return b"!<arch>\n" + raw


def of_32_bits(raw: bytes) -> bytes:
    return raw[:4] + b"\x01" + raw[5:]


def text(raw: bytes) -> bytes:
    return b"no object\n" + raw


@pytest.mark.parametrize(
    ("form", "what"),
    [
        (archive, "is an archive, not one object"),
        (of_32_bits, "is no 64-bit x86 object"),
        (text, "is no object file"),
    ],
)
def test_what_is_no_object_is_called_what_it_is(
    form: Callable[[bytes], bytes],
    what: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = compiled(case_named(CASE), {}, {})
    paths = write(tmp_path, {side: form(raw) for side, raw in files.items()})
    said = refused(paths, capsys)
    assert "LP-CHG-907" in said
    assert what in said
