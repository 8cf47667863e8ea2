"""Calls carried on step by step, as test harnesses do, and patched in between."""

import contextlib
from collections.abc import Iterator

import pytest

from lpengine.core import Site
from lpengine.elf import Image
from lpengine.errors import BusyError, FaultError, UsageError
from lpengine.machine import EmulatedMachine


@pytest.fixture
def machine(probe: Image) -> EmulatedMachine:
    return EmulatedMachine.from_image(probe, cpus=3)


@contextlib.contextmanager
def undone(machine: EmulatedMachine) -> Iterator[None]:
    """A transaction that fails at its end."""
    with pytest.raises(ZeroDivisionError), machine.transaction():  # noqa: PT012
        yield  # what follows must be in the same block to end the transaction
        raise ZeroDivisionError


def test_a_call_runs_instruction_by_instruction(machine: EmulatedMachine) -> None:
    one = machine.address_of("one")
    call = machine.start("one", cpu=1)
    (stopped,) = machine.stopped()
    assert (stopped.name, stopped.instruction_pointer) == ("CPU 1", one)
    machine.step(1)
    assert machine.stopped()[0].instruction_pointer == one + 5
    assert not call.done
    with pytest.raises(UsageError, match="not returned"):
        _ = call.result
    machine.step(1)
    assert call.done
    assert call.result == 1
    assert machine.stopped() == ()


def test_steps_behind_the_end_are_not_taken(machine: EmulatedMachine) -> None:
    call = machine.start("one", cpu=0)
    assert machine.step(0, 100) is call
    assert call.result == 1
    with pytest.raises(UsageError, match="idle"):
        machine.step(0)


def test_stepping_gives_what_a_whole_call_gives(machine: EmulatedMachine) -> None:
    arguments = [1, 2, 3, 4, 5, 6, 7, 8]
    call = machine.start("sum8", arguments, cpu=2)
    machine.step(2, 1000)
    assert call.result == machine.call_by_name("sum8", arguments)


def test_a_stopped_cpu_shows_where_it_came_from(machine: EmulatedMachine) -> None:
    outer, load = machine.address_of("outer"), machine.address_of("load")
    page = machine.image.image.symbols.named("page")[0].value
    machine.start("outer", [page], cpu=0)
    machine.run_until(0, load)
    (stopped,) = machine.stopped()
    assert stopped.instruction_pointer == load
    assert stopped.stack_pointer == machine.registers(0)["rsp"]
    assert int.from_bytes(stopped.stack[:8], "little") == outer + 6
    assert len(stopped.stack) % 8 == 0
    assert machine.finish(0) == 0


def test_running_until_an_address_stops_before_it_every_time(
    machine: EmulatedMachine,
) -> None:
    count_up = machine.address_of("count_up")
    machine.call_by_name("count_to", [3])  # so that it is translated already
    call = machine.start("count_to", [3], cpu=0)
    for _ in range(3):
        machine.run_until(0, count_up)
        assert machine.stopped()[0].instruction_pointer == count_up
    machine.run_until(0, count_up)
    assert call.done


def test_a_function_is_redirected_under_a_stopped_cpu(machine: EmulatedMachine) -> None:
    """The CPU inside goes on in the old code, the next call is the new one."""
    two = machine.address_of("two")
    machine.start("one", cpu=0)
    machine.step(0)
    installed = machine.redirect([Site(machine.address_of("one"), two, 11)])
    assert machine.finish(0) == 1
    assert machine.call_by_name("one", cpu=1) == 2
    machine.start("one", cpu=2)
    machine.step(2)  # the jump
    assert machine.stopped()[0].instruction_pointer == two
    machine.take_back(installed)
    assert machine.finish(2) == 2


def test_code_changes_under_a_loop_that_runs(machine: EmulatedMachine) -> None:
    """Blocks that are chained to each other notice, too."""
    machine.start("spin", cpu=0)
    for _ in range(5):
        machine.let_run()
    spin = machine.address_of("spin")
    assert machine.stopped()[0].instruction_pointer in range(spin, spin + 4)
    machine.write(spin, b"\x90\x90\x90\xc3")
    machine.let_run()
    assert machine.stopped() == ()


def test_cpus_take_turns(machine: EmulatedMachine) -> None:
    """Locked counting by three CPUs over one memory loses nothing."""
    calls = [machine.start("count_to", [300], cpu=cpu) for cpu in range(3)]
    turns = 0
    while machine.stopped():
        machine.let_run()
        turns += 1
    assert turns > 1
    assert all(call.done for call in calls)
    assert machine.call_by_name("count_up") == 901


def test_a_fault_ends_only_the_call_it_is_in(machine: EmulatedMachine) -> None:
    bug, loop = machine.start("bug", cpu=0), machine.start("spin", cpu=1)
    machine.let_run()
    assert bug.done
    with pytest.raises(FaultError, match="ud2"):
        _ = bug.result
    assert not loop.done
    assert [each.name for each in machine.stopped()] == ["CPU 1"]
    with pytest.raises(FaultError, match="ud2"):
        machine.finish(machine.start("bug", cpu=0).cpu)


def test_a_budget_that_is_not_enough_leaves_the_call_as_it_is(
    machine: EmulatedMachine,
) -> None:
    machine.start("count_to", [100], cpu=0)
    with pytest.raises(FaultError, match="still running after 10"):
        machine.finish(0, budget=10)
    machine.finish(0)
    assert machine.call_by_name("count_up") == 101


def test_a_cpu_does_one_thing_at_a_time(machine: EmulatedMachine) -> None:
    machine.start("spin", cpu=0)
    for attempt in (machine.start, machine.call_by_name):
        with pytest.raises(BusyError, match="CPU 0 is inside a call"):
            attempt("one", cpu=0)
    assert machine.call_by_name("one") == 1
    for cpu in (1, 2):
        machine.start("spin", cpu=cpu)
    assert machine.call_by_name("one") == 1  # on a CPU of the engine's own
    assert len(machine.stopped()) == 3
    assert list(machine.iterate_cpu_names()) == ["CPU 0", "CPU 1", "CPU 2"]


def test_a_failing_transaction_puts_cpus_back(machine: EmulatedMachine) -> None:
    call = machine.start("count_to", [50], cpu=0)
    machine.step(0, 20)
    before = machine.stopped()
    for _ in range(2):
        with undone(machine):
            while machine.stopped():
                machine.let_run()
            assert call.done
            machine.start("spin", cpu=1)
        assert not call.done
        assert machine.stopped() == before
    machine.finish(0)
    assert machine.call_by_name("count_up") == 51


def test_a_buffer_argument_is_filled_when_the_call_returns(
    machine: EmulatedMachine,
) -> None:
    buffer = bytearray(4)
    machine.start("fill", [buffer, 0x61, 3], cpu=0)
    assert machine.call_by_name("length", ["of another"], cpu=1) == 10
    machine.finish(0)
    assert buffer == b"aaa\0"
