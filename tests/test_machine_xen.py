"""Functions of Debian's Xen, run where no Xen has booted."""

import time
from pathlib import Path

import pytest

from lpengine.elf import Image, open_image
from lpengine.errors import FaultError
from lpengine.machine import EmulatedMachine, create_machine, open_machine

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def xen(xen_image: Path) -> Image:
    return open_image(xen_image)


@pytest.fixture(scope="module")
def machine(xen: Image) -> EmulatedMachine:
    return EmulatedMachine.from_image(xen, cpus=2)


def test_xen_says_its_version(machine: EmulatedMachine, xen_image: Path) -> None:
    assert xen_image.name.startswith("xen-syms-4.17")
    assert machine.version.startswith("4.17.")
    assert machine.call_by_name("do_xen_version", [0, 0]) == 4 << 16 | 17
    compiler = machine.read_string(machine.call_by_name("xen_compiler"))
    assert "gcc" in compiler


def test_xen_computes(machine: EmulatedMachine) -> None:
    assert machine.call_by_name("simple_strtoul", ["0x1234abcd", 0, 0]) == 0x1234ABCD
    buffer = bytearray(32)
    arguments = [buffer, len(buffer), "%d-%s-%x", 42, "str", 0xBEEF]
    assert machine.call_by_name("snprintf", arguments) == 11
    assert buffer.startswith(b"42-str-beef\0")
    # The test vector of the xxHash specification.
    assert machine.call_by_name("xxh64", ["", 0, 0]) == 0xEF46DB3751D8E999


def test_xen_takes_a_lock_and_prints(machine: EmulatedMachine) -> None:
    lock = bytearray(16)
    machine.call_by_name("_spin_lock", [lock])
    assert lock != bytes(16)
    machine.call_by_name("_spin_unlock", [lock])
    machine.call_by_name("printk", ["%s\n", "hello"])


def test_asking_for_the_version_leaves_no_trace(xen: Image) -> None:
    machine = EmulatedMachine.from_image(xen)
    (segment,) = (each for each in xen.segments if each.type == 1)
    start, size = segment.virtual_address, segment.memory_size
    assert machine.read(start, size) == xen.read(start, size)


def test_a_null_pointer_is_reported_where_it_is(machine: EmulatedMachine) -> None:
    with pytest.raises(FaultError) as caught:
        machine.call_by_name("domain_kill", [0])
    assert "domain_kill+" in caught.value.message
    assert "-> " in caught.value.report


def test_every_tenth_function_ends_in_a_result_or_a_report(xen: Image) -> None:
    """With arguments that mean nothing; and memory is pristine after each."""
    machine = EmulatedMachine.from_image(xen)
    functions = [each for each in xen.symbols if each.is_function and each.size][::10]
    assert len(functions) > 300
    (segment,) = (each for each in xen.segments if each.type == 1)
    start, size = segment.virtual_address, segment.memory_size
    pristine = machine.read(start, size)
    returned = 0
    for function in functions:
        returned += returns(machine, function.value)
        assert machine.read(start, size) == pristine, function.name
    assert returned > len(functions) // 5


def returns(machine: EmulatedMachine, function: int) -> bool:
    class EnoughError(Exception):
        pass

    try:
        with machine.transaction():
            machine.call(function, [1, "text", bytearray(64), 0], budget=100_000)
            raise EnoughError
    except EnoughError:
        return True
    except FaultError as error:
        report = error.report
    assert "->" in report or "none there" in report
    return False


def test_opening_is_quick(xen_image: Path, machine_dir: Path) -> None:
    create_machine(machine_dir, xen_image)
    started = time.perf_counter()
    machine = open_machine(machine_dir)
    taken = time.perf_counter() - started
    assert machine.version
    assert taken < 0.5  # some 0.012 s on an idle machine
