"""Modules that are not loaded, from their files."""

import gzip
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lpengine.patch.model import KlpSymbol
from lpengine.targets.linux_modules import look_at_files
from tests.fake_linux import RELEASE, FakeKernel, module

SOURCE = """\
__attribute__((section(".modinfo"), used)) static const char info[] = "name=odd_one";
static int twice_a(void) { return 1; }
int seen(void) { return twice_a(); }
"""
TWIN = """\
int twin(void) { return 2; }
"""


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    fake = FakeKernel(tmp_path / "root")
    (tmp_path / "m.c").write_text(SOURCE + TWIN)
    words = ["gcc", "-c", "-O2", "-pg", "-mfentry", "-mrecord-mcount", "-fno-pic"]
    built = tmp_path / "odd-one.ko"
    subprocess.run([*words, "-o", built, tmp_path / "m.c"], check=True)
    packed = gzip.compress(built.read_bytes())
    folder = f"lib/modules/{RELEASE}"
    fake.put(f"{folder}/kernel/odd-one.ko.gz", packed)
    fake.put(f"{folder}/kernel/broken.ko", b"\x7fELF")
    lines = "kernel/odd-one.ko.gz:\nkernel/broken.ko: kernel/odd-one.ko.gz\n"
    fake.put(f"{folder}/modules.dep", lines)
    return fake


def test_what_a_patch_wants_of_it_is_looked_up(kernel: FakeKernel) -> None:
    patch = module("p", "odd_one:seen", "odd_one:nothing", "cmdline_proc_show")
    patch = replace(patch, klp_symbols=(KlpSymbol("odd_one", "twin", 0),))
    absent = look_at_files(kernel.tree, [patch], ["ext4"])
    assert [one.name for one in absent.modules] == ["odd_one"]
    found = {(each.name, each.owner, each.traced) for each in absent.symbols}
    assert found == {("seen", "odd_one", True), ("twin", "odd_one", True)}


def test_what_is_loaded_or_cannot_be_read_is_left_out(kernel: FakeKernel) -> None:
    loaded = look_at_files(kernel.tree, [module("p", "odd_one:seen")], ["odd_one"])
    assert loaded.modules == ()
    for name in ("broken", "unheard_of"):
        absent = look_at_files(kernel.tree, [module("p", f"{name}:seen")], [])
        assert absent.modules == ()


def test_nothing_is_read_for_patches_of_the_kernel_itself(kernel: FakeKernel) -> None:
    (kernel.root / f"lib/modules/{RELEASE}/modules.dep").unlink()
    assert look_at_files(kernel.tree, [module("p")], []).modules == ()


def test_facts_have_it(kernel: FakeKernel, tmp_path: Path) -> None:
    patch = module("p", "odd_one:seen")
    facts = kernel.target(tmp_path / "state").facts([patch])
    assert facts.kernel is not None
    assert facts.kernel.file("odd_one") is not None
    (seen,) = facts.symbols["seen"]
    assert (seen.owner, seen.traced) == ("odd_one", True)
