"""Turns assembly into the material of a payload."""

import re
import struct
from collections.abc import Iterator, Mapping

from lpengine.arch import x86
from lpengine.elf.constants import (
    R_X86_64_PC32,
    SHF_ALLOC,
    SHF_EXECINSTR,
)
from lpengine.errors import UsageError
from lpengine.patch.xen.build_image import OldFunction, TargetImage
from lpengine.patch.xen.build_object import Material
from lpengine.patch.xen.spec import (
    TEXT_ALIGNMENT,
    Place,
    RelocationSpec,
    SectionSpec,
    SymbolSpec,
)

_TEXT = ".text"
_LABEL = re.compile(r"(?:^|[\n;])\s*([A-Za-z_.$][\w.$]*)\s*:")
# After these nothing falls through.
_LAST = frozenset(("jmp", "ud2", "hlt"))

# Two places behind the image: far enough that every reference to it takes 32
# bits, near enough to reach it.
_DISTANCES = (16 << 20, 32 << 20)


def assemble_material(
    old: OldFunction, code: str, target: TargetImage
) -> tuple[Material, tuple[str, ...]]:
    """The code as one section with one symbol, and notes for its author.

    What refers to the image is found by assembling twice, at two addresses: those
    instructions differ, by exactly the distance.
    """
    symbols = _ImageSymbols(target, labels=frozenset(_LABEL.findall(code)))
    base = target.end
    first, second = (x86.assemble(code, base + far, symbols) for far in _DISTANCES)
    instructions = x86.disassemble(first, base + _DISTANCES[0])
    _require_end(code, first, instructions)
    relocations = tuple(_relocations(instructions, second, symbols))
    section = SectionSpec(
        _TEXT,
        _with_empty_fields(first, relocations),
        SHF_ALLOC | SHF_EXECINSTR,
        alignment=TEXT_ALIGNMENT,
        relocations=relocations,
    )
    symbol = SymbolSpec(old.name, Place(_TEXT), len(first), function=True, local=True)
    notes = tuple(_notes(old, instructions, symbols))
    return Material((section,), (symbol,)), notes


class _ImageSymbols(Mapping[str, int]):
    """The image's symbols by what they are called in the code. Remembers which
    were asked for."""

    def __init__(self, target: TargetImage, labels: frozenset[str]) -> None:
        self._target = target
        self._labels = labels
        self.used: dict[int, str] = {}

    def __getitem__(self, name: str) -> int:
        if name in self._labels or not self._target.can_mean(name):
            raise KeyError(name)
        usable = self._target.usable_name(name)
        address = self._target.symbol(name).value
        self.used[address] = usable
        return address

    @property
    def has_return_thunk(self) -> bool:
        return self._target.has("__x86_return_thunk")

    def __iter__(self) -> Iterator[str]:
        return (each.name for each in self._target.image.symbols)

    def __len__(self) -> int:
        return len(self._target.image.symbols)


def _relocations(
    instructions: tuple[x86.Instruction, ...], second: bytes, symbols: _ImageSymbols
) -> Iterator[RelocationSpec]:
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
                hint="name the image's symbol instead of its address",
            )
        # The processor counts from the end of the instruction, the relocation
        # from the field.
        addend = field - instruction.size
        yield RelocationSpec(offset + field, R_X86_64_PC32, name, addend)


def _moved_field(first: bytes, second: bytes) -> int:
    """Where in an instruction its distance to something outside is."""
    distance = _DISTANCES[1] - _DISTANCES[0]
    for field in range(1, len(first) - 3):
        (here,) = struct.unpack_from("<i", first, field)
        (there,) = struct.unpack_from("<i", second, field)
        same = (
            first[:field] + first[field + 4 :] == second[:field] + second[field + 4 :]
        )
        if same and here - there == distance:
            return field
    raise UsageError(
        f"the instruction {first.hex(' ')} depends on where the code lies",
        hint="refer to the image only by calls, jumps, [rip + symbol] and movabs",
    )


def _with_empty_fields(code: bytes, relocations: tuple[RelocationSpec, ...]) -> bytes:
    cleared = bytearray(code)
    for relocation in relocations:
        cleared[relocation.offset : relocation.offset + 4] = bytes(4)
    return bytes(cleared)


def _require_end(
    code: str, encoded: bytes, instructions: tuple[x86.Instruction, ...]
) -> None:
    if sum(each.size for each in instructions) != len(encoded) or not instructions:
        raise UsageError(f"the code {code!r} holds no instructions, or broken ones")
    last = instructions[-1]
    if not last.is_return and last.mnemonic not in _LAST:
        raise UsageError(
            f"the code runs off its end, after {last.text!r}",
            hint="end it with ret, jmp or ud2",
        )


def _notes(
    old: OldFunction, instructions: tuple[x86.Instruction, ...], symbols: _ImageSymbols
) -> Iterator[str]:
    if old.address in symbols.used:
        yield f"refers to {old.name} itself, which leads back to the new code"
    if symbols.has_return_thunk and any(each.is_return for each in instructions):
        yield (
            "returns with a bare ret, where the image uses jmp __x86_return_thunk "
            "against speculation"
        )
