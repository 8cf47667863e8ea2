"""Turns assembly into the material of a payload."""

from collections.abc import Iterator

from lpengine.arch import x86
from lpengine.elf.constants import (
    R_X86_64_PC32,
    SHF_ALLOC,
    SHF_EXECINSTR,
)
from lpengine.patch.assembly import UsedSymbols, assemble_anywhere, find_labels
from lpengine.patch.xen.build_image import OldFunction, TargetImage
from lpengine.patch.xen.build_material import Material
from lpengine.patch.xen.spec import (
    TEXT_ALIGNMENT,
    Place,
    RelocationSpec,
    SectionSpec,
    SymbolSpec,
)

_TEXT = ".text"


def assemble_material(
    old: OldFunction, code: str, target: TargetImage
) -> tuple[Material, tuple[str, ...]]:
    """The code as one section with one symbol, and notes for its author."""
    symbols = _ImageSymbols(target, labels=find_labels(code))
    done = assemble_anywhere(code, target.end, symbols)
    section = SectionSpec(
        _TEXT,
        done.code,
        SHF_ALLOC | SHF_EXECINSTR,
        alignment=TEXT_ALIGNMENT,
        relocations=tuple(
            RelocationSpec(each.offset, R_X86_64_PC32, each.name, each.addend)
            for each in done.references
        ),
    )
    size = len(done.code)
    symbol = SymbolSpec(old.name, Place(_TEXT), size, function=True, local=True)
    notes = tuple(_notes(old, done.instructions, symbols))
    return Material((section,), (symbol,)), notes


class _ImageSymbols(UsedSymbols):
    """The image's symbols by what they are called in the code. Remembers which
    were asked for."""

    def __init__(self, target: TargetImage, labels: frozenset[str]) -> None:
        super().__init__()
        self._target = target
        self._labels = labels

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
