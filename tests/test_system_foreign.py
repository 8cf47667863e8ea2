"""Live patch modules that others have made, by the kernel's own build: read, planned,
applied to the real kernel and taken off again."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.hosts import lab
from lpengine.patch.reader import load_patch

pytestmark = pytest.mark.system

SOURCES = Path(__file__).parent.parent / "fixtures/klp/kbuild"
# The headers' makefiles know where they are installed; here they are not.
BUILD = """\
set -e
mount --make-rprivate /
mount -t overlay overlay -o lowerdir=$1/usr:/usr /usr
make -s -C /usr/src/linux-headers-$2 M=$3 modules
"""


@pytest.fixture(scope="module")
def modules(
    linux_guest: lab.Guest,
    package_files: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    release = lab.stocked("linux").release
    common = f"{release.removesuffix('-cloud-amd64')}-common"
    series = ".".join(release.split(".")[:2])
    tree, build = tmp_path_factory.mktemp("headers"), tmp_path_factory.mktemp("m")
    for package in (
        f"linux-headers-{release}",
        f"linux-headers-{common}",
        f"linux-kbuild-{series}",
    ):
        files = package_files(package)
        shutil.copytree(files, tree, symlinks=True, dirs_exist_ok=True)
    shutil.copytree(SOURCES, build, dirs_exist_ok=True)
    words = ["unshare", "--mount", "sh", "-c", BUILD, "sh", tree, release, build]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem: path for path in build.glob("*.ko")}


def lpengine(guest: lab.Guest, *words: object) -> dict:
    argv = ["lpengine", *map(str, words), "--target", "linux", "--json"]
    done = guest.run(argv)
    assert done.status == 0, done.stdout.decode() + done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "says", "replace"),
    [
        ("lp_sample", "by kbuild", False),
        ("lp_kpatch", "by kpatch", True),
        ("lp_klp_build", "by klp-build", True),
    ],
)
def test_a_module_of_others_is_as_good_as_ours(
    linux_guest: lab.Guest,
    modules: dict[str, Path],
    name: str,
    says: str,
    replace: bool,
) -> None:
    patch = load_patch(modules[name])
    assert patch.violations == ()
    assert (patch.name, patch.replace) == (name, replace)
    assert [function.name for function in patch.functions] == ["cmdline_proc_show"]
    before = linux_guest.read("/proc/cmdline")
    planned = lpengine(linux_guest, "plan", modules[name])
    assert planned["verdict"] == "ready"
    applied = lpengine(linux_guest, "apply", modules[name])
    assert applied["outcome"]["status"] == "done"
    assert linux_guest.read("/proc/cmdline").decode() == f"{says}\n"
    (loaded,) = lpengine(linux_guest, "status")["patches"]
    assert (loaded["name"], loaded["build_id"]) == (name, patch.build_id)
    lpengine(linux_guest, "revert", name)
    assert linux_guest.read("/proc/cmdline") == before
    lpengine(linux_guest, "unload", name)
    assert name not in linux_guest.run(["lsmod"]).stdout.decode()
