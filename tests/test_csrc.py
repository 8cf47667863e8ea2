"""The C core's own tests, under sanitizers, and its format."""

import shutil
import subprocess
import sys
from pathlib import Path

CSRC = Path(__file__).parent.parent / "csrc"


def test_unit_tests_and_fuzz_replay(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "-s", "-j2", "-C", str(CSRC), "check", f"BUILD={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
    written = len(list(CSRC.glob("tests/test_*.c")) + list(CSRC.glob("tests/fuzz_*.c")))
    assert len(done.stdout.splitlines()) == written


def test_format() -> None:
    tool = shutil.which("clang-format", path=str(Path(sys.executable).parent))
    tool = tool or shutil.which("clang-format")
    assert tool, "clang-format is not installed: pip install --group dev"
    sources = sorted(str(path) for path in CSRC.rglob("*.[ch]"))
    done = subprocess.run(
        [tool, "--dry-run", "-Werror", *sources],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"\n{done.stderr}"


def test_files_are_short() -> None:
    long = [
        path.name
        for path in CSRC.rglob("*.[ch]")
        if len(path.read_text().splitlines()) >= 400
    ]
    assert long == []
