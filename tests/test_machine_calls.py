"""Calls into an emulated machine: arguments, results, and code that changed."""

import ctypes
import mmap
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lpengine.arch.x86 import assemble
from lpengine.core import Redirection, Site
from lpengine.elf import Image, open_image
from lpengine.errors import FaultError, NotFoundError, UsageError
from lpengine.machine import EmulatedMachine, Protection

WORD = st.integers(0, (1 << 64) - 1)


@pytest.fixture
def machine(probe: Image) -> EmulatedMachine:
    return EmulatedMachine.from_image(probe)


def returning(value: int) -> bytes:
    """mov eax, value; ret"""
    return b"\xb8" + value.to_bytes(4, "little") + b"\xc3"


def test_returns_what_the_function_returns(machine: EmulatedMachine) -> None:
    assert machine.call_by_name("one") == 1
    assert machine.call(machine.address_of("two")) == 2


def test_six_arguments_in_registers_the_rest_on_the_stack(
    machine: EmulatedMachine,
) -> None:
    arguments = [1, 20, 300, 4000, 50000, 600000, 7000000, 80000000]
    expected = sum(arguments[:7]) - arguments[7]
    assert machine.call_by_name("sum8", arguments) == expected % (1 << 64)


def test_integers_are_64_bits_signed_or_not(machine: EmulatedMachine) -> None:
    assert machine.call_by_name("second", [0, -1]) == (1 << 64) - 1
    assert machine.call_by_name("second", [0, (1 << 64) - 1]) == (1 << 64) - 1
    with pytest.raises(UsageError, match="does not fit 64 bits"):
        machine.call_by_name("second", [0, 1 << 64])


def test_strings_and_bytes_are_pointers(machine: EmulatedMachine) -> None:
    assert machine.call_by_name("length", ["grüße"]) == len("grüße".encode())
    assert machine.call_by_name("length", [b"abc\0def"]) == 3
    pointer = machine.call_by_name("second", ["first", "and second"])
    assert machine.read_string(pointer) == "and second"


def test_a_bytearray_receives_what_the_function_wrote(
    machine: EmulatedMachine,
) -> None:
    untouched, buffer = b"1234", bytearray(b"abcdefgh")
    machine.call_by_name("fill", [buffer, ord("x"), 5, untouched])
    assert buffer == b"xxxxxfgh"
    assert untouched == b"1234"


def test_a_bytearray_stays_as_it_is_when_the_call_faults(
    machine: EmulatedMachine,
) -> None:
    buffer = bytearray(8)
    with pytest.raises(FaultError):
        machine.call_by_name("fill", [buffer, 1, 1 << 40])
    assert buffer == bytes(8)


@pytest.mark.parametrize("count", range(6, 12))
def test_the_stack_is_aligned_as_the_abi_says(
    machine: EmulatedMachine, count: int
) -> None:
    pointer = machine.call_by_name("stack_pointer", [0] * count)
    assert pointer % 16 == 8


def test_every_call_starts_from_the_same_state(machine: EmulatedMachine) -> None:
    """A direction flag left set by one call is clear in the next."""
    code = machine.allocate(16)
    machine.write(code, b"\xfd\xc3")  # std; ret
    machine.protect(code, 16, Protection.READ | Protection.EXECUTE)
    machine.call(code)
    assert not machine.call_by_name("flags") & 0x400


def test_per_cpu_data_above_the_stack_is_zero(machine: EmulatedMachine) -> None:
    assert machine.call_by_name("per_cpu") == 0


def test_arguments_that_do_not_fit_are_refused(machine: EmulatedMachine) -> None:
    with pytest.raises(UsageError, match="there is room for"):
        machine.call_by_name("length", [bytes(2 << 20)])
    with pytest.raises(UsageError, match="too many"):
        machine.call_by_name("one", [0] * 1000)
    with pytest.raises(UsageError, match="float"):
        machine.call_by_name("one", [1.5])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="budget"):
        machine.call_by_name("one", budget=0)
    with pytest.raises(UsageError, match="no CPU 7"):
        machine.call_by_name("one", cpu=7)


def test_an_unknown_function_is_not_found(machine: EmulatedMachine) -> None:
    with pytest.raises(NotFoundError, match="no function 'three'"):
        machine.call_by_name("three")


def test_strings_are_read_up_to_a_limit(machine: EmulatedMachine, probe: Image) -> None:
    (text,) = probe.symbols.named("text")
    assert machine.read_string(text.value) == "probe"
    assert machine.read_string(text.value, 3) == "pro"


def test_written_code_runs_on_every_cpu(probe: Image) -> None:
    machine = EmulatedMachine.from_image(probe, cpus=3)
    address = machine.address_of("one")
    for value in (7, 8, 9):
        machine.write(address, returning(value))
        for cpu in range(3):
            assert machine.call(address, cpu=cpu) == value


def test_code_over_a_page_boundary_is_forgotten_too(machine: EmulatedMachine) -> None:
    function = machine.address_of("crossing")
    assert machine.call(function) == 0x04030201
    middle = (function & -4096) + 2 * 4096  # where the operand continues
    machine.write(middle, b"\xaa")
    assert machine.call(function) == 0x04AA0201


def redirected(machine: EmulatedMachine, old: str, new: str) -> tuple[Redirection, ...]:
    site = Site(machine.address_of(old), machine.address_of(new), 10)
    return machine.redirect([site])


def test_a_redirected_function_is_the_new_one_until_taken_back(probe: Image) -> None:
    machine = EmulatedMachine.from_image(probe, cpus=2)
    before = machine.read(machine.address_of("two"), 16)
    for _ in range(3):
        assert [machine.call_by_name("two", cpu=cpu) for cpu in (0, 1)] == [2, 2]
        installed = redirected(machine, "two", "one")
        assert [machine.call_by_name("two", cpu=cpu) for cpu in (0, 1)] == [1, 1]
        machine.take_back(installed)
        assert machine.read(machine.address_of("two"), 16) == before


def test_many_sites_at_once(machine: EmulatedMachine) -> None:
    """More than are forgotten one by one."""
    code = machine.allocate(64 * 16)
    machine.write(code, b"".join(returning(n).ljust(16, b"\x90") for n in range(64)))
    machine.protect(code, 64 * 16, Protection.READ | Protection.EXECUTE)
    functions = [code + 16 * n for n in range(64)]
    assert [machine.call(each) for each in functions] == list(range(64))
    one = machine.address_of("one")
    installed = machine.redirect([Site(each, one, 16) for each in functions])
    assert {machine.call(each) for each in functions} == {1}
    machine.take_back(installed)
    assert [machine.call(each) for each in functions] == list(range(64))


def test_code_that_changes_itself(
    build_probe: Callable[..., Path], tmp_path: Path
) -> None:
    """Also what other CPUs have translated before."""
    path = build_probe(tmp_path, 0xFFFF82D040200000, writable_code=True)
    machine = EmulatedMachine.from_image(open_image(path), cpus=2)
    for value in (3, 4, 5):
        for cpu in (0, 1):
            result = machine.call_by_name("modify_self", [0, value + cpu], cpu=cpu)
            assert result == value + cpu


@pytest.mark.parametrize("base", [0x400000, 0x7F0000000000, 0xFFFFFFFF81000000])
def test_images_anywhere(
    build_probe: Callable[..., Path], tmp_path: Path, base: int
) -> None:
    path = build_probe(tmp_path, base, writable_code=False)
    machine = EmulatedMachine.from_image(open_image(path))
    assert machine.call_by_name("one") == 1
    code = machine.allocate(1)
    machine.write(code, returning(5))
    machine.protect(code, 6, Protection.READ | Protection.EXECUTE)
    assert machine.call(code) == 5
    assert abs(code - machine.address_of("one")) < 1 << 31


def native(code: bytes) -> Callable[[int, int], int]:
    """The function run by this computer, as an oracle."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
    entry = function(address)

    def run(left: int, right: int, _keep: mmap.mmap = page) -> int:
        return int(entry(left, right))

    return run


BMI = "bmi2" in Path("/proc/cpuinfo").read_text()
TRUSTED = [
    "andn rax, rdi, rsi",
    "blsi rax, rdi",
    "blsmsk rax, rdi",
    "blsr rax, rdi",
    "mov rdx, rdi; mulx rax, rcx, rsi",
    "mov rdx, rdi; mulx rcx, rax, rsi",
    "pext rax, rdi, rsi",
    "rorx rax, rdi, 13",
    "sarx rax, rdi, rsi",
    "shlx rax, rdi, rsi",
    "shrx rax, rdi, rsi",
]


def narrowed(text: str) -> str:
    """The same instructions on 32-bit registers."""
    return re.sub(r"\br(ax|cx|dx|si|di)\b", r"e\1", text)


@pytest.mark.skipif(not BMI, reason="this computer lacks BMI2 to compare with")
@pytest.mark.parametrize("text", TRUSTED + [narrowed(each) for each in TRUSTED])
def test_bit_manipulation_is_emulated_as_the_processor_does_it(
    machine: EmulatedMachine, text: str
) -> None:
    """These are VEX-encoded, too, and must not be refused."""
    code = assemble(f"{text}; ret")
    oracle, function = native(code), machine.address_of("one")
    machine.write(function, code)

    @settings(max_examples=60, deadline=None, database=None)
    @given(WORD, WORD | st.integers(0, 300))
    @example(0, 0)
    @example((1 << 64) - 1, (1 << 64) - 1)
    def compare(left: int, right: int) -> None:
        assert machine.call(function, [left, right]) == oracle(left, right)

    compare()


@pytest.mark.parametrize(
    "text", ["bzhi rax, rdi, rsi", "bextr eax, edi, esi", "pdep eax, edi, esi"]
)
def test_bit_manipulation_that_is_emulated_wrongly_is_refused(
    machine: EmulatedMachine, text: str
) -> None:
    machine.write(machine.address_of("one"), assemble(f"{text}; ret"))
    with pytest.raises(FaultError, match="computes it wrongly"):
        machine.call_by_name("one")
