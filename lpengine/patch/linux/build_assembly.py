"""Turns assembly into the material of a live patch module."""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence

from lpengine.arch import x86
from lpengine.elf.constants import (
    R_X86_64_PC32,
    R_X86_64_PLT32,
    SHF_ALLOC,
    SHF_EXECINSTR,
)
from lpengine.elf.kernel import KernelImage
from lpengine.elf.orc import NOTHING, SP, OrcEntry
from lpengine.errors import UsageError
from lpengine.patch.linux.abi import RETURN_THUNK
from lpengine.patch.linux.object import Material, Piece, Use
from lpengine.patch.linux.spec import OrcSpec, Place, SymbolSpec
from lpengine.patch.linux.stack_depth import stack_depths

_TEXT = ".text"
_LABEL = re.compile(r"(?:^|[\n;])\s*([A-Za-z_.$][\w.$]*)\s*:")
_RETURN = re.compile(r"(^|[\n;:])(\s*)ret[nq]?(?=\s*(?:$|[\n;#]))", re.IGNORECASE)
_LAST = frozenset(("jmp", "ud2", "hlt"))
_CALLS = (0xE8, 0xE9)
# Two places behind the kernel: far enough that every reference to it takes 32
# bits, near enough to reach it.
_DISTANCES = (16 << 20, 32 << 20)


def assemble_material(
    name: str, code: str, kernel: KernelImage, *, return_thunks: bool
) -> Material:
    """The code as one section with one function. Returns go through the kernel's
    thunk where it has one.

    What refers to the kernel is found by assembling twice, at two addresses: those
    instructions differ, by exactly the distance. Raises UsageError for code that
    cannot be assembled, does not end, or keeps its stack in a way that the kernel
    could not unwind.
    """
    text = _RETURN.sub(rf"\1\2jmp {RETURN_THUNK}", code) if return_thunks else code
    symbols = _KernelSymbols(kernel, frozenset(_LABEL.findall(code)))
    base = max(entry.address for entry in kernel.symbols) & ~0xFFF
    first, second = (x86.assemble(text, base + far, symbols) for far in _DISTANCES)
    instructions = x86.disassemble(first, base + _DISTANCES[0])
    _require_end(code, first, instructions)
    uses = list(_uses(instructions, second, symbols))
    piece = Piece(
        _TEXT, SHF_ALLOC | SHF_EXECINSTR, _emptied(first, uses), 16, None, uses
    )
    function = SymbolSpec(name, Place(_TEXT), len(first), function=True)
    return Material([piece], (function,), tuple(_orc(instructions)))


class _KernelSymbols(Mapping[str, int]):
    """The kernel's symbols by name. Remembers which were asked for."""

    def __init__(self, kernel: KernelImage, labels: frozenset[str]) -> None:
        self._kernel = kernel
        self._labels = labels
        self.used: dict[int, str] = {}

    def __getitem__(self, name: str) -> int:
        found = self._kernel.named(name)
        if name in self._labels or not found:
            raise KeyError(name)
        self.used[found[0].address] = name
        return found[0].address

    def __iter__(self) -> Iterator[str]:
        return iter(self._kernel.names)

    def __len__(self) -> int:
        return len(self._kernel.names)


def _uses(
    instructions: Sequence[x86.Instruction], second: bytes, symbols: _KernelSymbols
) -> Iterator[Use]:
    start = instructions[0].address
    for instruction in instructions:
        offset = instruction.address - start
        other = second[offset : offset + instruction.size]
        if other == instruction.bytes:
            continue
        field = _moved_field(instruction.bytes, other)
        (distance,) = struct.unpack_from("<i", instruction.bytes, field)
        name = symbols.used.get(instruction.end + distance)
        if name is None:
            raise UsageError(
                f"{instruction.text}: refers to an address without a name",
                hint="name the kernel's symbol instead of its address",
            )
        call = instruction.bytes[field - 1] in _CALLS and field == 1
        type_ = R_X86_64_PLT32 if call else R_X86_64_PC32
        yield Use(offset + field, type_, name, field - instruction.size)


def _moved_field(first: bytes, second: bytes) -> int:
    """Where in an instruction its distance to something outside is."""
    distance = _DISTANCES[1] - _DISTANCES[0]
    for field in range(1, len(first) - 3):
        (here,) = struct.unpack_from("<i", first, field)
        (there,) = struct.unpack_from("<i", second, field)
        rest = first[:field] + first[field + 4 :]
        if rest == second[:field] + second[field + 4 :] and here - there == distance:
            return field
    raise UsageError(
        f"the instruction {first.hex(' ')} depends on where the code lies",
        hint="refer to the kernel only by calls, jumps and [rip + symbol]",
    )


def _emptied(code: bytes, uses: Sequence[Use]) -> bytearray:
    cleared = bytearray(code)
    for use in uses:
        cleared[use.offset : use.offset + 4] = bytes(4)
    return cleared


def _require_end(
    code: str, encoded: bytes, instructions: Sequence[x86.Instruction]
) -> None:
    if sum(each.size for each in instructions) != len(encoded) or not instructions:
        raise UsageError(f"the code {code!r} holds no instructions, or broken ones")
    last = instructions[-1]
    if not last.is_return and last.mnemonic not in _LAST:
        raise UsageError(
            f"the code runs off its end, after {last.text!r}",
            hint="end it with ret, jmp or ud2",
        )


def _orc(instructions: Sequence[x86.Instruction]) -> Iterator[OrcSpec]:
    start = instructions[0].address
    before = 0
    for instruction, depth in zip(
        instructions, stack_depths(instructions), strict=True
    ):
        if depth != before:
            place = Place(_TEXT, instruction.address - start)
            yield OrcSpec(place, OrcEntry(SP, depth))
            before = depth
    yield OrcSpec(Place(_TEXT, instructions[-1].end - start), NOTHING)
