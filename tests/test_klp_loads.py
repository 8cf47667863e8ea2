"""Loads of an address are rewritten to loads from memory, into the same register."""

import pytest

from lpengine.arch import x86
from lpengine.elf.constants import (
    R_X86_64_32,
    R_X86_64_32S,
    R_X86_64_PLT32,
    SHF_ALLOC,
    SHF_EXECINSTR,
)
from lpengine.patch.linux.linking import link
from lpengine.patch.linux.loads import is_load, load_from_memory
from lpengine.patch.linux.object import Material, Piece, Use
from lpengine.patch.linux.spec import Import, Place
from lpengine.patch.model import KlpSymbol

CODE = SHF_ALLOC | SHF_EXECINSTR
REGISTERS = [
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
]


def load(number: int) -> bytes:
    return bytes((0x48 | number >> 3, 0xC7, 0xC0 | number & 7, 0, 0, 0, 0))


def piece(code: bytes, *uses: Use, name: str = ".text", flags: int = CODE) -> Piece:
    return Piece(name, flags, bytearray(code), 16, None, list(uses))


def text(code: bytes) -> str:
    (instruction,) = x86.disassemble(bytes(code), 0)
    return instruction.text


@pytest.mark.parametrize(("number", "name"), list(enumerate(REGISTERS)))
def test_every_register_stays_itself(number: int, name: str) -> None:
    code = bytearray(load(number))
    assert text(code) == f"mov {name}, 0"
    assert is_load(piece(code), Use(3, R_X86_64_32S, "a", 0))
    load_from_memory(code, 3)
    assert text(code) == f"mov {name}, qword ptr [rip]"


@pytest.mark.parametrize(
    ("code", "use"),
    [
        (load(0), Use(3, R_X86_64_32S, "a", 8)),  # not the symbol itself
        (load(0), Use(3, R_X86_64_32, "a", 0)),
        (load(0), Use(3, R_X86_64_PLT32, "a", 0)),
        (bytes.fromhex("48c70000000000"), Use(3, R_X86_64_32S, "a", 0)),  # to memory
        (bytes.fromhex("48c7c800000000"), Use(3, R_X86_64_32S, "a", 0)),  # no mov
        (bytes.fromhex("c7c000000000"), Use(2, R_X86_64_32S, "a", 0)),  # 32 bits
        (bytes.fromhex("483d00000000"), Use(2, R_X86_64_32S, "a", 0)),  # cmp
        (bytes.fromhex("4881ff00000000"), Use(3, R_X86_64_32S, "a", 0)),
        (bytes.fromhex("4ac7c000000000"), Use(3, R_X86_64_32S, "a", 0)),
    ],
)
def test_other_uses_are_left_alone(code: bytes, use: Use) -> None:
    assert not is_load(piece(code), use)


def test_so_are_replacements_and_data() -> None:
    use = Use(3, R_X86_64_32S, "a", 0)
    assert not is_load(piece(load(0), name=".altinstr_replacement"), use)
    assert not is_load(piece(load(0), name=".text", flags=SHF_ALLOC), use)


def linked(count: int) -> tuple[list[object], bytes]:
    symbol = KlpSymbol("vmlinux", "lock", 0)
    uses = [Use(7 * n + 3, R_X86_64_32S, symbol, 0) for n in range(count)]
    found = link(
        Material([piece(load(7) * count, *uses)], (), ()), lambda name: Import(name), {}
    )
    looked_up = [
        each.target for section in found.sections for each in section.relocations
    ]
    return looked_up, found.sections[0].data


def test_many_loads_take_one_look_up() -> None:
    symbol = KlpSymbol("vmlinux", "lock", 0)
    targets, code = linked(3)
    assert targets.count(symbol) == 1
    assert targets.count(Place(".rodata.klp_pointers", 0)) == 3
    assert [each.text for each in x86.disassemble(code, 0)] == [
        "mov rdi, qword ptr [rip]"
    ] * 3


def test_one_load_stays_as_it_is() -> None:
    targets, code = linked(1)
    assert targets == [KlpSymbol("vmlinux", "lock", 0)]
    assert code == load(7)
