"""Debian's own Xen in an emulated machine: built, applied, called, taken back."""

from pathlib import Path

import pytest

import lpengine
from lpengine.api.machines import image_memory

pytestmark = pytest.mark.system

HELLO = """\
const char *xen_extra_version(void)
{
	return "%s";
}
"""


@pytest.fixture
def payload(xen_image: Path, tmp_path: Path):
    """Builds a payload that makes Xen's extra version say something else."""

    def make(name: str, says: str, depends: Path | None = None) -> Path:
        source = tmp_path / f"{name}.c"
        source.write_text(HELLO % says)
        built = lpengine.build_c(
            source,
            {"xen_extra_version": "xen_extra_version"},
            xen_image,
            depends=depends,
        )
        path = tmp_path / f"{name}.livepatch"
        path.write_bytes(built.payload)
        return path

    return make


@pytest.fixture
def machine(xen_image: Path, machine_dir: Path) -> Path:
    lpengine.create_machine(machine_dir, xen_image)
    return machine_dir


def extra_version(machine: Path) -> object:
    return lpengine.call(machine, "xen_extra_version", returns="string").value


def test_xen_extra_version_old_new_old(payload, machine) -> None:
    hello, target = payload("hello", "+LP-HELLO-1"), f"emulated:{machine}"
    pristine = image_memory(lpengine.open_machine(machine))
    old = extra_version(machine)
    assert isinstance(old, str)
    assert old.startswith(".")

    applied = lpengine.apply([hello], target)
    assert applied.outcome is not None
    assert applied.outcome.status == "done"
    assert [change.name for change in applied.changes] == ["xen_extra_version"]
    assert extra_version(machine) == "+LP-HELLO-1"

    lpengine.revert(["hello"], target)
    assert extra_version(machine) == old
    lpengine.unload(["hello"], target)
    assert image_memory(lpengine.open_machine(machine)) == pristine


def test_version_and_build_id_are_observed(machine, xen_image) -> None:
    facts = lpengine.status(f"emulated:{machine}").facts
    assert facts.image.version.startswith("4.17.")
    assert facts.image.build_id == lpengine.open_image(xen_image).build_id
    assert "do_xen_version" not in facts.symbols


def test_stack_and_replace(payload, machine) -> None:
    target = f"emulated:{machine}"
    first = payload("first", "+1")
    second = payload("second", "+2", depends=first)
    cumulative = payload("cumulative", "+3")
    lpengine.apply([first, second], target)
    assert extra_version(machine) == "+2"
    refused = lpengine.revert(["first"], target)
    assert refused.planned.plan.verdict is lpengine.Verdict.REFUSED
    lpengine.replace(cumulative, target)
    assert extra_version(machine) == "+3"
    assert lpengine.status(target).facts.applied == ("cumulative",)


def test_emergency_stop_of_a_hypercall(xen_image, machine, tmp_path) -> None:
    built = lpengine.build_asm("do_xen_version", "mov rax, -38; ret", xen_image)
    path = tmp_path / "stop.livepatch"
    path.write_bytes(built.payload)
    before = lpengine.call(machine, "do_xen_version", ["0", "0"]).value
    assert before == (4 << 16) | 17
    lpengine.apply([path], f"emulated:{machine}")
    stopped = lpengine.call(machine, "do_xen_version", ["0", "0"]).value
    assert stopped == 2**64 - 38


def test_emulate_on_a_throw_away_machine(payload, xen_image, tmp_path) -> None:
    emulated = lpengine.emulate(
        [payload("hello", "+X")],
        xen_image,
        cpus=2,
        calls=[("xen_extra_version", [], "string")],
        state_directory=tmp_path,
    )
    assert emulated.restored
    [call] = emulated.calls
    assert call.patched.value == "+X"
    assert call.before.value == call.reverted.value


def test_a_static_is_known_by_its_qualified_name_only(machine, xen_image) -> None:
    symbols = lpengine.open_image(xen_image).symbols
    statics = [s for s in symbols if s.is_local and s.is_function and s.file]
    some = statics[0]
    assert symbols.xen_named(some.qualified_name)
    assert all(not s.is_local for s in symbols.xen_named(some.name))
