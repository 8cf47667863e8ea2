"""Fixes from a directory, built for Debian's kernel and tried on it, and what takes a
base of its own:

    LPENGINE_LINUX_FIXES=DIRECTORY pytest -m slow tests/test_slow_linux_fixes.py

NAME.patch is a fix to Debian's source of the kernel; those of fixes that it has already
are best turned around. Beside it may stand NAME.modules, which names modules to load
first, and NAME.check, a shell script: what it prints has to change with the patch, and
to be as before without.
"""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from lpengine.api.source_builds import build_source
from lpengine.diff.changes import Verdict
from lpengine.hosts import lab
from lpengine.patch.unproved import NotProvedError
from tests.debian_kernel import fetch_source
from tests.klp_flips import Flip
from tests.source_trees import write_fix

DIRECTORY = os.environ.get("LPENGINE_LINUX_FIXES", "")
FIXES = sorted(Path(DIRECTORY).glob("*.patch")) if DIRECTORY else []

SOCKETS = {
    "net/core/sock.c": {
        "\t\tWRITE_ONCE(*timeo_p, 0);\n": "\t\tWRITE_ONCE(*timeo_p, HZ);\n",
    }
}

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not FIXES, reason="LPENGINE_LINUX_FIXES names no fixes")
@pytest.mark.parametrize("fix", FIXES, ids=lambda each: each.stem)
def test_a_fix_takes_effect_and_comes_off_again(
    fix: Path, linux_image: lab.Stock, linux_guest: lab.Guest
) -> None:
    name = f"lp_{fix.stem.replace('-', '_')}"
    tree = fetch_source(linux_image)
    result = build_source(tree, [fix], linux_image.kernel, name=name)
    assert result.verdict is Verdict.CHANGED, result.refusals
    assert result.built is not None
    for module in lines(fix.with_suffix(".modules")):
        linux_guest.run(["modprobe", module], timeout=timedelta(minutes=1))
    flip = Flip(linux_guest, name, result.built.payload)
    check = fix.with_suffix(".check")
    script = check.read_text() if check.is_file() else "uname -r"
    before, patched, after = flip.seen("sh", "-c", script)
    assert after == before
    if check.is_file():
        assert patched != before


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.is_file() else []


def test_another_configuration_is_told_from_the_kernels(
    linux_image: lab.Stock, tmp_path: Path
) -> None:
    """One that the tree can be built with, and most code does not tell from it."""
    own = linux_image.kernel.with_name(f"config-{linux_image.release}").read_text()
    for before, after in (
        ("CONFIG_HZ_250=y", "# CONFIG_HZ_250 is not set"),
        ("# CONFIG_HZ_1000 is not set", "CONFIG_HZ_1000=y"),
        ("CONFIG_HZ=250", "CONFIG_HZ=1000"),
    ):
        assert before in own
        own = own.replace(before, after)
    (tmp_path / "config").write_text(own)
    tree = fetch_source(linux_image)
    fix = write_fix(tmp_path / "fix.patch", tree, SOCKETS)
    with pytest.raises(NotProvedError) as caught:
        build_source(
            *(tree, [fix], linux_image.kernel),
            name="n",
            configuration=tmp_path / "config",
        )
    differing = {each.function for each in caught.value.differences}
    assert "sock_set_timeout" in differing
    assert "configuration" in caught.value.hint
