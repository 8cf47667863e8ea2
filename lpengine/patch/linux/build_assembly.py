"""Turns assembly into the material of a live patch module."""

import re
from collections.abc import Iterator, Sequence

from lpengine.arch import x86
from lpengine.elf.constants import (
    R_X86_64_PC32,
    R_X86_64_PLT32,
    SHF_ALLOC,
    SHF_EXECINSTR,
)
from lpengine.elf.kernel import KernelImage
from lpengine.elf.orc import NOTHING, SP, OrcEntry
from lpengine.patch.assembly import (
    Reference,
    UsedSymbols,
    assemble_anywhere,
    find_labels,
)
from lpengine.patch.linux.abi import RETURN_THUNK
from lpengine.patch.linux.object import Material, Piece, Use
from lpengine.patch.linux.spec import OrcSpec, Place, SymbolSpec
from lpengine.patch.linux.stack_depth import stack_depths

_TEXT = ".text"
_RETURN = re.compile(r"(^|[\n;:])(\s*)ret[nq]?(?=\s*(?:$|[\n;#]))", re.IGNORECASE)


def assemble_material(
    name: str, code: str, kernel: KernelImage, *, return_thunks: bool
) -> Material:
    """The code as one section with one function. Returns go through the kernel's
    thunk where it has one.

    Raises UsageError for code that cannot be assembled, does not end, or keeps its
    stack in a way that the kernel could not unwind.
    """
    text = _RETURN.sub(rf"\1\2jmp {RETURN_THUNK}", code) if return_thunks else code
    symbols = _KernelSymbols(kernel, find_labels(code))
    end = max(entry.address for entry in kernel.symbols) & ~0xFFF
    done = assemble_anywhere(text, end, symbols, shown=code)
    uses = [_use(reference) for reference in done.references]
    piece = Piece(
        _TEXT, SHF_ALLOC | SHF_EXECINSTR, bytearray(done.code), 16, None, uses
    )
    function = SymbolSpec(name, Place(_TEXT), len(done.code), function=True)
    return Material([piece], (function,), tuple(_orc(done.instructions)))


def _use(reference: Reference) -> Use:
    kind = R_X86_64_PLT32 if reference.is_branch else R_X86_64_PC32
    return Use(reference.offset, kind, reference.name, reference.addend)


class _KernelSymbols(UsedSymbols):
    """The kernel's symbols by name. Remembers which were asked for."""

    def __init__(self, kernel: KernelImage, labels: frozenset[str]) -> None:
        super().__init__()
        self._kernel = kernel
        self._labels = labels

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
