"""What an emulated machine says and does when its code faults."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.elf import Image
from lpengine.errors import FaultError
from lpengine.machine import EmulatedMachine, Protection


@pytest.fixture
def machine(probe: Image) -> EmulatedMachine:
    return EmulatedMachine.from_image(probe)


def fault(
    machine: EmulatedMachine, name: str, *arguments: int, budget: int = 10_000_000
) -> FaultError:
    """The fault of a call, after which everything must be as before."""
    with pytest.raises(FaultError) as caught:
        machine.call_by_name(name, arguments, budget=budget)
    assert machine.call_by_name("one") == 1
    return caught.value


def data(probe: Image, name: str) -> int:
    (symbol,) = probe.symbols.named(name)
    return symbol.value


@pytest.mark.parametrize(
    ("name", "offset", "what"),
    [
        ("bug", 1, "ud2"),
        ("breakpoint", 1, "int3"),
        ("interrupt", 1, "interrupt 0x80"),
        ("system_call", 1, "syscall at"),
        ("hypercall", 1, "vmcall at"),
        ("halt", 1, "hlt at"),
        ("port", 1, "port I/O at"),
        ("vector512", 1, "VEX-encoded instruction at"),
    ],
)
def test_what_a_machine_cannot_do_is_a_fault_at_that_instruction(
    machine: EmulatedMachine, name: str, offset: int, what: str
) -> None:
    error = fault(machine, name)
    assert error.address == machine.address_of(name) + offset
    assert f"{name}+{offset:#x}" in error.message
    assert what in error.message


@pytest.mark.parametrize("address", [0, 0x10, 0xFFFF82D041000000, 1 << 63])
def test_reads_and_writes_of_nothing_name_the_exact_address(
    machine: EmulatedMachine, address: int
) -> None:
    error = fault(machine, "load", address)
    assert f"load+0x1 ({error.address:#x})" in error.message
    assert f"read of {address:#x}: no memory there" in error.message
    error = fault(machine, "store", address)
    assert f"write of {address:#x}: no memory there" in error.message


def test_an_access_over_a_page_boundary_names_the_byte_that_is_missing(
    machine: EmulatedMachine,
) -> None:
    code = machine.allocate(4096)
    end = code + 4096
    assert f"write of {end:#x}" in fault(machine, "store_far_down", end).message
    assert machine.read(code, 4096) == bytes(4096)


def test_read_only_memory_is_not_written(machine: EmulatedMachine) -> None:
    one = machine.address_of("one")
    before = machine.read(one, 16)
    error = fault(machine, "store", one + 8, 0x1234)
    assert f"write of {one + 8:#x}: not permitted there" in error.message
    assert machine.read(one, 16) == before


def test_looking_for_the_exact_address_has_no_effects(
    machine: EmulatedMachine,
) -> None:
    """The instruction writes the stack, which a step does not roll back."""
    machine.start("push_from", [0x10], cpu=0)
    before = machine.stopped()[0].stack
    with pytest.raises(FaultError, match="read of 0x10"):
        machine.step(0)
    machine.start("push_from", [0x10], cpu=0)
    assert machine.stopped()[0].stack == before


def test_data_is_not_executed(machine: EmulatedMachine, probe: Image) -> None:
    page = data(probe, "page")
    machine.write(page, b"\xc3")
    error = fault(machine, "jump_to", page)
    assert error.address == page
    assert f"fetch of {page:#x}: not permitted there" in error.message


def test_a_jump_to_nowhere(machine: EmulatedMachine) -> None:
    error = fault(machine, "jump_to", 0x1230)
    assert error.address == 0x1230
    assert "fetch of 0x1230: no memory there" in error.message
    assert "code: none there" in error.report


def test_the_stack_has_an_end(machine: EmulatedMachine) -> None:
    assert "stack overflow" in fault(machine, "recurse").message


def test_the_budget_is_in_instructions(machine: EmulatedMachine) -> None:
    error = fault(machine, "spin", budget=1000)
    assert "still running after 1000 instructions" in error.message
    assert machine.call_by_name("one", budget=2) == 1


def test_a_division_by_zero(machine: EmulatedMachine) -> None:
    assert machine.call_by_name("divide", [42, 6]) == 7
    error = fault(machine, "divide", 42, 0)
    assert "divide error" in error.message
    assert error.address == machine.address_of("divide") + 6


def test_vector_code_is_refused_only_where_it_is_reached(
    machine: EmulatedMachine,
) -> None:
    """In the same function; twice, since code is translated only once."""
    for _ in range(3):
        assert machine.call_by_name("vector", [0]) == 3
        error = fault(machine, "vector", 1)
        assert "VEX-encoded" in error.message
        assert "vaddps" in error.message
        assert "computes it wrongly" in error.message
    for cpu in (0,):
        machine.start("vector", [1], cpu=cpu)
        machine.step(cpu, 3)
        assert machine.registers(cpu)["rip"] == machine.address_of("vector") + 6


def test_code_that_replaces_vector_code_runs(machine: EmulatedMachine) -> None:
    error = fault(machine, "vector", 1)
    machine.write(error.address, b"\x90" * 4)
    assert machine.call_by_name("vector", [1]) == 3


def test_vector_code_that_replaces_other_code_is_refused(
    machine: EmulatedMachine,
) -> None:
    assert machine.call_by_name("one") == 1
    before = machine.read(machine.address_of("one"), 4)
    machine.write(machine.address_of("one"), bytes.fromhex("c5f058c2"))
    with pytest.raises(FaultError, match="VEX-encoded"):
        machine.call_by_name("one")
    machine.write(machine.address_of("one"), before)
    assert machine.call_by_name("one") == 1


VECTOR = bytes.fromhex("c5f058c2")  # vaddps xmm0, xmm1, xmm2


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_vector_instruction_escapes(probe: Image, data: st.DataObject) -> None:
    """Blocks that jump to each other in any order, rewritten over and over on a
    machine that goes on: the one with vector code is refused, wherever it is."""
    machine = EmulatedMachine.from_image(probe, cpus=2)
    code = machine.allocate(4096)
    for _ in range(data.draw(st.integers(1, 4))):
        count = data.draw(st.integers(1, 6))
        slots = data.draw(st.permutations(range(8)))[:count]
        marked = data.draw(st.none() | st.integers(0, count - 1))
        for cpu in range(2):
            put_blocks(machine, code, slots, marked)
            if marked is None:
                machine.call(code + 64 * slots[0], cpu=cpu)
                continue
            with pytest.raises(FaultError, match="VEX-encoded") as caught:
                machine.call(code + 64 * slots[0], cpu=cpu)
            assert caught.value.address == code + 64 * slots[marked] + marked


def put_blocks(
    machine: EmulatedMachine, code: int, slots: list[int], marked: int | None
) -> None:
    """A chain of blocks, each in its slot of 64 bytes; block n starts with n nops."""
    machine.protect(code, 4096, Protection.READ | Protection.WRITE)
    for index, slot in enumerate(slots):
        content = b"\x90" * index + (VECTOR if index == marked else b"")
        here = 64 * slot + len(content) + 5
        last = index + 1 == len(slots)
        after = (
            b""
            if last
            else (64 * slots[index + 1] - here).to_bytes(4, "little", signed=True)
        )
        content += b"\xc3" if last else b"\xe9" + after
        machine.write(code + 64 * slot, content)
    machine.protect(code, 4096, Protection.READ | Protection.EXECUTE)


def test_a_fault_undoes_the_call(machine: EmulatedMachine, probe: Image) -> None:
    page, size = data(probe, "page"), 3 * 4096
    machine.write(page, bytes(range(256)) * 48)
    before = machine.read(page, size)
    fault(machine, "fill", page, 0xEE, 1 << 30)
    assert machine.read(page, size) == before


def test_the_report_says_all_that_is_needed(machine: EmulatedMachine) -> None:
    error = fault(machine, "outer", 0x10)
    lines = error.report.splitlines()
    assert lines[0] == f"{error.message} on CPU 0"
    (marked,) = [line for line in lines if line.startswith("->")]
    assert f"{error.address:x}" in marked
    assert "mov rax, qword ptr [rdi]" in marked
    assert "rdi 0000000000000010" in error.report
    (backtrace,) = [line for line in lines if "outer+" in line]
    assert f"{machine.address_of('outer') + 6:#x}" in backtrace


def test_patch_code_is_named_by_whoever_put_it_there(
    machine: EmulatedMachine,
) -> None:
    code = machine.allocate(16)
    machine.write(code, b"\x90\x0f\x0b")
    machine.protect(code, 16, Protection.READ | Protection.EXECUTE)
    machine.symbolize = lambda address: "patch#fix" if address >= code else ""
    with pytest.raises(FaultError, match=r"^patch#fix .*: ud2"):
        machine.call(code)
