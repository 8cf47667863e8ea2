"""The linters, as tests: one command says whether a change is fit to land."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYTHON_SOURCES = ["lpengine", "tests", "bench", "csrc", "setup.py"]


def run_tool(name: str, *arguments: str) -> None:
    """Fail with the tool's own output. A missing tool is a skip on a laptop and a
    failure in CI."""
    if shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"):
        done = subprocess.run(
            [sys.executable, "-m", name, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
    elif os.environ.get("CI"):
        pytest.fail(f"{name} is not installed")
    else:
        pytest.skip(f"{name} is not installed")


def test_ruff_check() -> None:
    run_tool("ruff", "check", *PYTHON_SOURCES)


def test_ruff_format() -> None:
    run_tool("ruff", "format", "--check", *PYTHON_SOURCES)


def test_mypy_strict() -> None:
    run_tool("mypy", "lpengine")


def test_no_file_is_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for folder, pattern in (("lpengine", "*.py"), ("csrc", "*.c"))
        for path in sorted((ROOT / folder).rglob(pattern))
        if (count := len(path.read_text().splitlines())) > 500
    ]
    assert long == []
