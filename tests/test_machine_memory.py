"""Memory of an emulated machine: allocation, protection, transactions."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.core import RedirectError, Site, changed_chunks
from lpengine.elf import Image
from lpengine.errors import FaultError, LpengineError, TargetError, UsageError
from lpengine.machine import EmulatedMachine, Protection

READ_WRITE = Protection.READ | Protection.WRITE
READ_EXECUTE = Protection.READ | Protection.EXECUTE
PAGE = 4096
ROOT = Path(__file__).parent.parent


@pytest.fixture
def machine(probe: Image) -> EmulatedMachine:
    return EmulatedMachine.from_image(probe)


@contextlib.contextmanager
def undone(machine: EmulatedMachine) -> Iterator[None]:
    """A transaction that fails at its end."""
    with pytest.raises(ZeroDivisionError), machine.transaction():  # noqa: PT012
        yield  # what follows must be in the same block to end the transaction
        raise ZeroDivisionError


def address(machine: EmulatedMachine, name: str) -> int:
    (symbol,) = machine.image.image.symbols.named(name)
    return symbol.value


def span(probe: Image) -> tuple[int, int]:
    """Start and size of the image in memory."""
    segments = [each for each in probe.segments if each.type == 1]
    start = min(each.virtual_address for each in segments)
    return start, max(each.end for each in segments) - start


def test_the_image_is_in_memory_as_its_segments_say(
    machine: EmulatedMachine, probe: Image
) -> None:
    start, size = span(probe)
    expected = b"".join(
        probe.read(each.virtual_address, each.memory_size)
        for each in probe.segments
        if each.type == 1
    )
    assert machine.read(start, size) == expected


def test_new_memory_is_zero_near_and_of_whole_pages(machine: EmulatedMachine) -> None:
    start, end, _ = machine.patch_area
    first, second = machine.allocate(1), machine.allocate(3 * PAGE)
    assert first == start
    assert second == first + 2 * PAGE  # a page in between is not mapped
    assert machine.read(first, PAGE) == bytes(PAGE)
    assert second + 3 * PAGE <= end
    with pytest.raises(TargetError, match="no memory"):
        machine.read(first + PAGE, 1)


def test_the_patch_area_is_within_reach_of_the_image(
    machine: EmulatedMachine, probe: Image
) -> None:
    image, size = span(probe)
    start, end, largest = machine.patch_area
    assert image + size <= start
    assert end - image <= 1 << 30
    assert start < start + largest < end


def test_freed_memory_is_gone_and_comes_back_zeroed(machine: EmulatedMachine) -> None:
    first = machine.allocate(2 * PAGE)
    behind = machine.allocate(PAGE)
    machine.write(first, b"x" * 2 * PAGE)
    machine.free(first)
    with pytest.raises(TargetError, match="no memory"):
        machine.read(first, 1)
    assert machine.allocate(3 * PAGE) > behind
    assert machine.allocate(2 * PAGE) == first
    assert machine.read(first, 2 * PAGE) == bytes(2 * PAGE)


def test_what_is_not_allocated_cannot_be_freed(machine: EmulatedMachine) -> None:
    first = machine.allocate(2 * PAGE)
    for wrong in (first + PAGE, first - PAGE, 0):
        with pytest.raises(TargetError, match="no allocation"):
            machine.free(wrong)
    machine.free(first)
    with pytest.raises(TargetError, match="no allocation"):
        machine.free(first)


def test_running_out_of_memory_says_so(machine: EmulatedMachine) -> None:
    largest = machine.patch_area[2]
    with pytest.raises(TargetError) as caught:
        machine.allocate(largest + 1)
    assert (caught.value.cause, caught.value.errno) == ("out-of-memory", "ENOMEM")
    machine.allocate(largest)
    assert machine.patch_area[2] == 0
    with pytest.raises(UsageError):
        machine.allocate(0)


def test_memory_is_writable_or_executable_never_both(machine: EmulatedMachine) -> None:
    code = machine.allocate(16)
    machine.write(code, b"\xb8\x07\0\0\0\xc3")
    with pytest.raises(FaultError, match=r"fetch of .* not permitted"):
        machine.call(code)
    with pytest.raises(UsageError, match="never both"):
        machine.protect(code, 16, READ_WRITE | Protection.EXECUTE)
    machine.protect(code, 16, READ_EXECUTE)
    assert machine.call(code) == 7
    with pytest.raises(FaultError, match=r"write of .* not permitted"):
        machine.call_by_name("store", [code, 0])
    machine.protect(code, 16, READ_WRITE)
    machine.call_by_name("store", [code, 5])
    with pytest.raises(FaultError, match=r"fetch of .* not permitted"):
        machine.call(code)
    assert machine.read(code, 1) == b"\5"


def test_memory_the_machine_may_only_read_can_be_written_from_outside(
    machine: EmulatedMachine,
) -> None:
    data = machine.allocate(8)
    machine.protect(data, 8, Protection.READ)
    machine.write(data, b"\x2a")
    assert machine.call_by_name("load", [data]) == 0x2A


def test_protection_is_for_allocated_memory_only(machine: EmulatedMachine) -> None:
    first = machine.allocate(PAGE)
    machine.allocate(PAGE)
    for start, size in ((address(machine, "one"), 8), (first, 3 * PAGE)):
        with pytest.raises(TargetError, match="not inside one allocation"):
            machine.protect(start, size, Protection.READ)


@pytest.mark.parametrize("size", [1, PAGE, 1 << 40, -1])
def test_outside_of_memory_nothing_is_read_or_written(
    machine: EmulatedMachine, size: int
) -> None:
    start = machine.patch_area[0]
    with pytest.raises(TargetError) as caught:
        machine.read(start, size)
    assert (caught.value.cause, caught.value.errno) == ("memory-range", "EFAULT")
    with pytest.raises(TargetError):
        machine.write(start - 1, b"ab")
    for strange in (0, -1, (1 << 64) - 1, 1 << 64):
        with pytest.raises(TargetError):
            machine.read(strange, 1)


def test_sites_outside_of_memory_are_refused(machine: EmulatedMachine) -> None:
    hole = machine.patch_area[0] + 16 * PAGE
    with pytest.raises(TargetError, match="no memory"):
        machine.redirect([Site(hole, address(machine, "one"), 16)])


def test_a_failing_transaction_undoes_everything(machine: EmulatedMachine) -> None:
    kept = machine.allocate(PAGE)
    machine.write(kept, b"kept")
    machine.record = b"before"
    one = address(machine, "one")
    area, code = machine.patch_area, machine.read(one, 16)
    with undone(machine):
        other = machine.allocate(5 * PAGE)
        machine.write(other, b"other")
        machine.free(kept)
        machine.record = b"after"
        machine.redirect([Site(one, address(machine, "two"), 16)])
        machine.call_by_name("count_to", [5])
        assert machine.call(one) == 2
    assert machine.record == b"before"
    assert machine.patch_area == area
    assert machine.read(one, 16) == code
    assert machine.read(kept, 4) == b"kept"
    assert machine.call(one) == 1
    assert machine.call_by_name("count_up") == 1


def test_a_transaction_that_ends_well_stays(machine: EmulatedMachine) -> None:
    one = address(machine, "one")
    with machine.transaction():
        machine.call_by_name("count_to", [5])
        installed = machine.redirect([Site(one, address(machine, "two"), 16)])
    assert machine.call(one) == 2
    assert machine.call_by_name("count_up") == 6
    with machine.transaction():
        machine.take_back(installed)
    assert machine.call(one) == 1


def test_a_fault_inside_a_transaction_undoes_only_the_call(
    machine: EmulatedMachine,
) -> None:
    page = address(machine, "page")
    with machine.transaction():
        machine.write(page, b"mine")
        with contextlib.suppress(FaultError):
            machine.call_by_name("fill", [page, 0xEE, 1 << 30])
        assert machine.read(page, 8) == b"mine\0\0\0\0"
        machine.call_by_name("fill", [page + 4, 0x61, 2])
    assert machine.read(page, 8) == b"mineaa\0\0"


def test_a_refused_redirection_leaves_all_sites_alone(machine: EmulatedMachine) -> None:
    one, two = address(machine, "one"), address(machine, "two")
    before = machine.read(one, 64)
    with pytest.raises(RedirectError):
        machine.redirect([Site(one, two, 16), Site(two, one, 2)])
    assert machine.read(one, 64) == before
    assert machine.call(one) == 1


def test_transactions_do_not_nest(machine: EmulatedMachine) -> None:
    with (
        pytest.raises(LpengineError, match="already under way"),
        machine.transaction(),
        machine.transaction(),
    ):
        pass
    with machine.transaction():
        pass


def test_writes_of_the_machine_are_undone_in_every_transaction(
    machine: EmulatedMachine,
) -> None:
    """The CPU may cache that it can write a page; that must end with each one."""
    for _ in range(3):
        with undone(machine):
            assert machine.call_by_name("count_up") == 1
            assert machine.call_by_name("count_up") == 2
    assert machine.call_by_name("count_up") == 1
    with undone(machine):
        assert machine.call_by_name("count_up") == 2
    assert machine.call_by_name("count_up") == 2


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("allocate"), st.integers(1, 4 * PAGE)),
        st.tuples(st.just("free"), st.integers(0, 9)),
        st.tuples(st.just("write"), st.integers(0, 9), st.binary(max_size=40)),
        st.tuples(st.just("protect"), st.integers(0, 9), st.sampled_from([1, 3, 5])),
        st.tuples(st.just("image"), st.integers(0, 3000), st.binary(max_size=40)),
        st.tuples(st.just("fill"), st.integers(0, 9000), st.integers(0, 300)),
        st.tuples(st.just("record"), st.binary(max_size=5)),
    ),
    max_size=12,
)


def carry_out(machine: EmulatedMachine, held: list[int], action: tuple) -> None:  # type: ignore[type-arg]
    """One action; `held` are the allocations, which it updates."""
    match action:
        case "allocate", size:
            held.append(machine.allocate(size))
        case "free", which if held:
            machine.free(held.pop(which % len(held)))
        case "write", which, content if held:
            machine.write(held[which % len(held)], content)
        case "protect", which, bits if held:
            machine.protect(held[which % len(held)], 1, Protection(bits))
        case "image", offset, content:
            machine.write(address(machine, "page") + offset, content)
        case "fill", offset, count:
            start = address(machine, "page") + offset
            machine.call_by_name("fill", [start, 0x5A, count])
        case "record", content:
            machine.record = content


def everything(machine: EmulatedMachine, held: list[int]) -> list[object]:
    start, size = span(machine.image.image)
    kept = [(each, machine.read(each, PAGE)) for each in held]
    return [machine.read(start, size), kept, machine.patch_area, machine.record]


def executable(machine: EmulatedMachine, code: int) -> bool:
    try:
        machine.call(code, budget=1)
    except FaultError as error:
        return "not permitted" not in error.message
    return True


@settings(max_examples=60, deadline=None)
@given(before=ACTIONS, during=ACTIONS, again=ACTIONS)
def test_whatever_a_failing_transaction_did_it_did_not(
    probe: Image,
    before: list[tuple],  # type: ignore[type-arg]
    during: list[tuple],  # type: ignore[type-arg]
    again: list[tuple],  # type: ignore[type-arg]
) -> None:
    machine, held = EmulatedMachine.from_image(probe), list[int]()
    for action in before:
        carry_out(machine, held, action)
    for actions in (during, again):
        expected = everything(machine, held)
        permitted = [executable(machine, each) for each in held]
        with undone(machine):
            inside = list(held)
            for action in actions:
                carry_out(machine, inside, action)
        assert everything(machine, held) == expected
        assert [executable(machine, each) for each in held] == permitted


def test_a_call_changes_no_more_than_it_should(
    machine: EmulatedMachine, probe: Image
) -> None:
    """By the C core's comparison of the whole image."""
    start, size = span(probe)
    before = machine.read(start, size)
    page = address(machine, "page")
    machine.call_by_name("fill", [page + 4096 - 2, 1, 4])
    first = (page - start) // PAGE
    after = machine.read(start, size)
    assert changed_chunks(before, after, PAGE) == (first, first + 1)


def test_the_collector_survives_memory_in_cycles() -> None:
    """In a process of its own: views that lend their bytes once crashed it."""
    code = (
        "import gc, mmap\n"
        "from lpengine.core import Memory, SymbolIndex\n"
        "gc.disable()\n"
        "for _ in range(100):\n"
        "    memory = Memory()\n"
        "    memory.add(4096, mmap.mmap(-1, 4096))\n"
        "    memory.itself = memory\n"
        "    view = memoryview(bytes(48))\n"
        "    symbols = SymbolIndex(view[:48], 24, view[:1])\n"
        "    symbols.itself = symbols\n"
        "del memory, symbols, view\n"
        "gc.collect()\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
