"""Assembles code that can lie anywhere near the image it is written for."""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lpengine.arch import x86
from lpengine.errors import UsageError

_LABEL = re.compile(r"(?:^|[\n;])\s*([A-Za-z_.$][\w.$]*)\s*:")
# After these nothing falls through.
_LAST = frozenset(("jmp", "ud2", "hlt"))
_CALL_AND_JUMP = (0xE8, 0xE9)

# Two places behind the image: far enough that every reference to it takes 32
# bits, near enough to reach it.
_DISTANCES = (16 << 20, 32 << 20)


class UsedSymbols(Mapping[str, int]):
    """The image's symbols by what they are called in the code. `used` remembers
    which were asked for: address to the name a relocation needs."""

    def __init__(self) -> None:
        self.used: dict[int, str] = {}


@dataclass(frozen=True)
class Reference:
    """The 4-byte field at `offset` holds the distance to `name` plus `addend`, as an
    ELF relocation counts it: from the field, not from the instruction's end."""

    offset: int
    name: str
    addend: int
    is_branch: bool


@dataclass(frozen=True)
class Assembled:
    """`code` has zeroes in the fields of its references."""

    code: bytes
    instructions: tuple[x86.Instruction, ...]
    references: tuple[Reference, ...]


def find_labels(code: str) -> frozenset[str]:
    """The labels that the code defines; they hide the image's symbols."""
    return frozenset(_LABEL.findall(code))


def assemble_anywhere(
    code: str, end_of_image: int, symbols: UsedSymbols, *, shown: str = ""
) -> Assembled:
    """What refers to the image is found by assembling twice, at two addresses: those
    instructions differ, by exactly the distance. UsageError for code that cannot be
    assembled, depends on its place in another way, or runs off its end; `shown` is
    the code as its author wrote it."""
    places = [end_of_image + distance for distance in _DISTANCES]
    first, second = (x86.assemble(code, place, symbols) for place in places)
    instructions = x86.disassemble(first, places[0])
    _require_end(shown or code, first, instructions)
    references = tuple(_find_references(instructions, second, symbols))
    empty = bytearray(first)
    for reference in references:
        empty[reference.offset : reference.offset + 4] = bytes(4)
    return Assembled(bytes(empty), instructions, references)


def _find_references(
    instructions: tuple[x86.Instruction, ...], second: bytes, symbols: UsedSymbols
) -> Iterator[Reference]:
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
        branch = field == 1 and instruction.bytes[0] in _CALL_AND_JUMP
        yield Reference(offset + field, name, field - instruction.size, branch)


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
        hint="refer to the image only by calls, jumps and [rip + symbol]",
    )


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
