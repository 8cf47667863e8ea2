"""What is particular to a machine as a target."""

from pathlib import Path

import pytest

from lpengine.elf import Image
from lpengine.errors import NotFoundError, UsageError
from lpengine.machine import EmulatedMachine
from lpengine.patch.xen.spec import FunctionSpec
from lpengine.targets import open_target
from lpengine.targets.machine import MachineTarget
from tests.contract.subject import SHORTLY, returns
from tests.loader_cases import make_patch


@pytest.fixture
def target(hv: Image, tmp_path: Path) -> MachineTarget:
    return MachineTarget(EmulatedMachine.from_image(hv, cpus=2), "here", tmp_path)


@pytest.mark.parametrize("uri", ["", "emulated", "emulated:", "xen:x", "qemu:x", ":x"])
def test_not_a_target(uri: str) -> None:
    with pytest.raises(UsageError, match="not a target") as caught:
        open_target(uri)
    assert "emulated:" in caught.value.hint


def test_no_machine_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        open_target(f"emulated:{tmp_path / 'nothing'}")


def test_what_it_can_do(target: MachineTarget) -> None:
    facts = target.facts()
    assert facts.target == "here"
    assert facts.capabilities.careful
    assert facts.capabilities.relocations == (0, 1, 2, 4)
    assert facts.capabilities.features == 672
    assert facts.image.version == "4.17.7"
    area = facts.image.patch_area
    assert 0 < facts.image.patch_area_free <= area.end - area.start
    assert facts.image.text.end - facts.image.text.start > 0
    for first, second in zip(facts.image.init, facts.image.init[1:], strict=False):
        assert first.end < second.start


def test_busy_cpus(target: MachineTarget) -> None:
    machine = target.machine
    assert isinstance(machine, EmulatedMachine)
    assert target.facts().busy == ()
    machine.start("wait_outer", [3], cpu=1)
    machine.step(1, 20)
    (busy,) = target.facts().busy
    assert busy.who == "CPU 1"
    assert busy.function.startswith("wait_for_flag")
    assert busy.backtrace[0] == busy.function
    assert any(frame.startswith("wait_outer+") for frame in busy.backtrace)


def test_code_around_an_address_inside_a_function(
    hv: Image, target: MachineTarget
) -> None:
    (memcpy,) = hv.symbols.named("memcpy")
    inside = memcpy.value + 3
    patch = make_patch(
        hv, "a", {}, functions=(FunctionSpec("x", 9, returns(1), old_address=inside),)
    )
    code = target.facts([patch]).code[inside]
    assert code.address == memcpy.value
    assert code.symbol == "memcpy"
    assert code.size == memcpy.size
    assert code.live == code.shipped
    assert len(code.live) >= memcpy.size


def test_room_ends_at_the_next_symbol(hv: Image, target: MachineTarget) -> None:
    results = {"short_padded": 1, "short_tight": 1}
    code = target.facts([make_patch(hv, "a", results)]).code
    lengths = {fact.symbol: len(fact.live) for fact in code.values()}
    assert lengths == {"short_padded": 16, "short_tight": 3}


def test_addresses_in_patch_code_have_names(hv: Image, target: MachineTarget) -> None:
    target.load(make_patch(hv, "a", {"xen_major_version": 5}))
    target.apply("a", SHORTLY)
    (loaded,) = target.loader.patches
    start = loaded.functions[0].new_address
    assert target.loader.symbolize(start) == "xen_major_version [a]"
    assert target.loader.symbolize(start + 5) == "xen_major_version+0x5 [a]"
    assert target.loader.symbolize(0x1000) == ""
    target.revert("a", SHORTLY)
    target.unload("a")
    assert target.loader.symbolize(start) == ""
