"""A source tree in miniature that is built as Xen's, fixes for it, and the image that
runs: built from it elsewhere, at another time, without debug information."""

import difflib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "fixtures"


def make_tree(root: Path) -> Path:
    """The tree, which may be changed at will."""
    shutil.copytree(FIXTURES / "hv", root / "xen")
    shutil.copy(FIXTURES / "tree/Makefile", root / "xen/Makefile")
    (root / "xen/Kconfig").touch()
    (root / "Config.mk").touch()
    return root


def build_image(tree: Path, directory: Path) -> Path:
    """What runs: the tree's own build, in a copy."""
    shutil.copytree(tree, directory)
    argv = ["make", "-s", "-C", directory / "xen", "olddefconfig", "build"]
    subprocess.run(argv, check=True, capture_output=True)
    return directory / "xen/xen-syms"


def edited(tree: Path, edits: Mapping[str, Mapping[str, str]]) -> bytes:
    """A patch that replaces texts in files; each has to be there exactly once. The
    text "" stands for a file that is not there yet."""
    lines: list[str] = []
    for name, replacements in edits.items():
        path = tree / name
        old = path.read_text() if path.exists() else ""
        new = old
        for before, after in replacements.items():
            assert not before or new.count(before) == 1, (name, before)
            new = new.replace(before, after) if before else after
        a = f"a/{name}" if old else os.devnull
        lines += difflib.unified_diff(
            old.splitlines(True), new.splitlines(True), a, f"b/{name}"
        )
    return "".join(lines).encode()


def write_fix(path: Path, tree: Path, edits: Mapping[str, Mapping[str, str]]) -> Path:
    path.write_bytes(edited(tree, edits))
    return path
