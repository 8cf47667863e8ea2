"""The loader refuses each broken payload by Xen's name for what is broken."""

import subprocess
from pathlib import Path

import pytest

from lpengine.elf import Image, open_image
from lpengine.errors import TargetError
from lpengine.loader import Loader
from lpengine.machine import EmulatedMachine
from lpengine.patch.xen.reader import read_payload
from lpengine.patch.xen.refusals import REFUSALS
from tests.contract.subject import SHORTLY
from tests.payloads import BROKEN, DEFECTIVE, IMAGE_ID, good_payload

# What tests/payloads.py is made for.
_SOURCE = """
	.text
	.macro FUNCTION name, size
	.balign 16, 0x90
	.globl \\name
	.type \\name, @function
	.size \\name, \\size
\\name:
	.endm
FUNCTION old_function, 40
	push %rbp
	rex.W nop
	.fill 36, 1, 0x90
	pop %rbp
	ret
FUNCTION blanked, 20
	.fill 19, 1, 0x90
	ret
FUNCTION helper, 1
	ret
FUNCTION f, 40
	.fill 39, 1, 0x90
	ret
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    directory = tmp_path_factory.mktemp("image")
    source, built = directory / "image.S", directory / "image"
    source.write_text(_SOURCE)
    _link(source, built)
    return open_image(built)


def _link(source: Path, built: Path) -> None:
    flags = (
        f"-Wl,--build-id=0x{IMAGE_ID}",
        "-Wl,-Ttext=0xffff82d040200000",
        "-Wl,--section-start=.note.gnu.build-id=0xffff82d040300000",
        "-Wl,-e,helper,-z,max-page-size=4096,--no-warn-rwx-segments",
    )
    subprocess.run(
        ["gcc", "-nostdlib", "-static", *flags, "-o", built, source],
        check=True,
        capture_output=True,
        timeout=60,
    )


@pytest.fixture
def loader(image: Image) -> Loader:
    return Loader(EmulatedMachine.from_image(image))


def test_the_good_payload_is_taken(loader: Loader) -> None:
    loader.load(read_payload(good_payload(), "a"))
    loader.apply("a", SHORTLY)
    loader.revert("a", SHORTLY)
    loader.unload("a")


@pytest.mark.parametrize("cause", BROKEN)
def test_broken(loader: Loader, cause: str) -> None:
    patch = read_payload(BROKEN[cause](good_payload()), "a")
    _refused(loader, patch, cause, REFUSALS[cause].errno)


@pytest.mark.parametrize("cause", [c for c in DEFECTIVE if c != "readonly-funcs"])
def test_defective(loader: Loader, cause: str) -> None:
    patch = read_payload(DEFECTIVE[cause](good_payload()), "a")
    _refused(loader, patch, cause, "")


def test_function_records_may_be_constant(loader: Loader) -> None:
    loader.load(read_payload(DEFECTIVE["readonly-funcs"](good_payload()), "a"))
    loader.apply("a", SHORTLY)
    loader.revert("a", SHORTLY)


@pytest.mark.parametrize("name", ["", "a" * 128, "a\0b"])
def test_bad_name(loader: Loader, name: str) -> None:
    _refused(loader, read_payload(good_payload(), name), "bad-name", "EINVAL")


def _refused(loader: Loader, patch: object, cause: str, errno: str) -> None:
    free = loader.machine.patch_area
    with pytest.raises(TargetError) as caught:
        loader.load(patch)  # type: ignore[arg-type]
    assert (caught.value.cause, caught.value.errno) == (cause, errno)
    assert "\n" not in caught.value.message
    assert loader.patches == ()
    assert loader.machine.record == b""
    assert loader.machine.patch_area == free
