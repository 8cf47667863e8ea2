"""No code changes while a CPU is inside it."""

from datetime import timedelta

import pytest

from lpengine.elf import Image
from lpengine.errors import BusyError
from lpengine.loader import Loader
from lpengine.loader.quiesce import BusyCode, quiesce
from lpengine.machine import EmulatedMachine, StoppedCpu
from lpengine.planner.facts import Span
from tests.contract.subject import SHORTLY
from tests.loader_cases import make_patch

NO_TIME = timedelta(0)
LONG = timedelta(seconds=20)


@pytest.fixture
def machine(hv: Image) -> EmulatedMachine:
    return EmulatedMachine.from_image(hv, cpus=2)


@pytest.fixture
def loader(machine: EmulatedMachine) -> Loader:
    return Loader(machine)


def test_an_instruction_pointer_in_the_function_blocks(
    hv: Image, machine: EmulatedMachine, loader: Loader
) -> None:
    loader.load(make_patch(hv, "a", {"wait_for_flag": 5}))
    machine.start("wait_for_flag", [], cpu=1)
    machine.step(1, 3)
    before = machine.record
    with pytest.raises(BusyError) as caught:
        loader.apply("a", SHORTLY)
    assert caught.value.cause == "quiesce-timeout"
    assert caught.value.errno == "EBUSY"
    assert "wait_for_flag was still in use by CPU 1" in caught.value.message
    assert machine.record == before
    assert loader.applied == ()


def test_a_return_address_in_the_function_blocks(
    hv: Image, machine: EmulatedMachine, loader: Loader
) -> None:
    loader.load(make_patch(hv, "a", {"wait_outer": 5}))
    machine.start("wait_outer", [3], cpu=0)
    machine.step(0, 20)
    with pytest.raises(BusyError) as caught:
        loader.apply("a", NO_TIME)
    assert "wait_outer was still in use by CPU 0" in caught.value.message
    assert " < wait_outer+" in caught.value.message


def test_other_functions_do_not_block(
    hv: Image, machine: EmulatedMachine, loader: Loader
) -> None:
    loader.load(make_patch(hv, "a", {"xen_major_version": 5}))
    machine.start("wait_outer", [3], cpu=0)
    machine.step(0, 20)
    loader.apply("a", NO_TIME)
    assert machine.call_by_name("xen_major_version", []) == 5


def test_waits_for_a_call_that_ends(
    hv: Image, machine: EmulatedMachine, loader: Loader
) -> None:
    loader.load(make_patch(hv, "a", {"fibonacci": 5}))
    call = machine.start("fibonacci", [12], cpu=1)
    machine.step(1, 50)
    loader.apply("a", LONG)
    assert call.done
    assert call.result == 144
    assert machine.call_by_name("fibonacci", [12]) == 5


def test_a_revert_waits_for_the_patch_code(
    hv: Image, machine: EmulatedMachine, loader: Loader
) -> None:
    loader.load(make_patch(hv, "a", {"xen_major_version": 5}))
    loader.apply("a", SHORTLY)
    machine.start("xen_major_version", [], cpu=0)
    # Into the replacement: the jump, then its first instruction.
    machine.step(0, 2)
    (cpu,) = machine.stopped()
    assert cpu.instruction_pointer in loader.patches[0].text
    with pytest.raises(BusyError, match="patch a was still in use by CPU 0"):
        loader.revert("a", NO_TIME)
    assert loader.applied == ("a",)
    loader.revert("a", LONG)
    assert machine.stopped() == ()


def test_a_second_patch_of_a_function_waits_for_the_first_ones_code(
    hv: Image, machine: EmulatedMachine, loader: Loader
) -> None:
    first = make_patch(hv, "a", {"xen_major_version": 5})
    loader.load(first)
    loader.load(make_patch(hv, "b", {"xen_major_version": 6}, depends=first.build_id))
    loader.apply("a", SHORTLY)
    machine.start("xen_major_version", [], cpu=0)
    machine.step(0, 2)
    with pytest.raises(BusyError, match="patch a was still in use"):
        loader.apply("b", NO_TIME)
    loader.apply("b", LONG)


class _Resting:
    """A machine that is nothing but CPUs at rest, which never get on."""

    def __init__(self, *cpus: StoppedCpu) -> None:
        self._cpus = cpus
        self.ran = 0

    def stopped(self) -> tuple[StoppedCpu, ...]:
        return self._cpus

    def let_run(self) -> None:
        self.ran += 1


@pytest.mark.parametrize(
    ("instruction_pointer", "word", "busy"),
    [
        (0x1000, 0, True),
        (0x10FF, 0, True),
        (0x1100, 0, False),
        (0xFFF, 0, False),
        (0, 0x1001, True),
        (0, 0x10FF, True),
        (0, 0x1100, False),
        # A pointer to the function, no return address into it.
        (0, 0x1000, False),
    ],
)
def test_where_a_function_begins_and_ends(
    loader: Loader, instruction_pointer: int, word: int, busy: bool
) -> None:
    stack = bytes(8) + word.to_bytes(8, "little")
    machine = _Resting(StoppedCpu("CPU 0", instruction_pointer, 0x8000, stack))
    code = [
        BusyCode("other", Span(0x3000, 0x4000)),
        BusyCode("this", Span(0x1000, 0x1100)),
        BusyCode("part of this", Span(0x1010, 0x1020)),
    ]
    if not busy:
        quiesce(machine, loader.names, code, NO_TIME)  # type: ignore[arg-type]
        return
    with pytest.raises(BusyError, match="this was still in use by CPU 0"):
        quiesce(machine, loader.names, code, SHORTLY)  # type: ignore[arg-type]
    assert machine.ran > 0
