"""The code that runs, as a proof sees it: a kernel, or one of its modules, laid out
in memory as if it were loaded alone."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lpengine.core import relocate
from lpengine.elf import Section, Symbol
from lpengine.elf.constants import (
    SHT_NOBITS,
    SHT_RELA,
    STB_GLOBAL,
    STT_FILE,
    STT_SECTION,
)
from lpengine.elf.kernel import KernelImage
from lpengine.errors import ElfError
from lpengine.patch.linux import layout
from lpengine.patch.linux.module_file import ModuleFile
from lpengine.patch.model import KlpSymbol
from lpengine.patch.proof import Difference, Proof, Spot

# Where a module is pretended to be loaded, and what it does not define: apart from
# each other, and within 2 GiB as in the kernel (Documentation/x86/x86_64/mm.rst).
_LOADED = 0xFFFF_FFFF_C000_0000
_ELSEWHERE = 0xFFFF_FFFF_F000_0000
_ELSEWHERE_STEP = 0x1000
_PAGE = 0x1000


# Runs once, may be freed before it can be seen, and is never redirected.
_RUNS_ONCE = (".init.", ".exit.", ".discard.")
# What nm, and kallsyms after it, calls weak symbols.
_WEAK = "VW"


def disproved(proof: Proof) -> list[Difference]:
    """What says that an object is not part of the running code."""
    image = proof.object
    once = {
        symbol.name
        for symbol in image.symbols
        if symbol.is_function
        and symbol.in_section
        and image.sections[symbol.section_index].name.startswith(_RUNS_ONCE)
    }
    return [each for each in proof.disproved if each.function not in once]


@dataclass(frozen=True, slots=True)
class Landmark:
    """A place of the running code: `offset` bytes from a symbol that the live patch
    core finds."""

    symbol: KlpSymbol
    offset: int


class RunningKernel:
    """A kernel's own code and data; a Running of lpengine.patch.proof."""

    object = layout.KERNEL

    def __init__(self, kernel: KernelImage) -> None:
        self.kernel = kernel
        self.path = kernel.path

    def named(self, name: str) -> Sequence[Spot]:
        return tuple(
            Spot(entry.address, is_strong=entry.is_global and entry.type not in _WEAK)
            for entry in self.kernel.named(name)
        )

    def read(self, address: int, size: int) -> bytes:
        return self.kernel.code(address, size)

    def landmark(self, address: int, name: str) -> Landmark | None:
        """How the live patch core finds an address: best by that name, else by
        another there, else by the nearest symbol before it. None for what is freed
        after boot."""
        entry = self.kernel.nearest(address, name)
        if entry is None or self.kernel.is_init(entry):
            return None
        same = self.kernel.named(entry.name)
        position = same.index(entry) + 1 if len(same) > 1 else 0
        symbol = KlpSymbol(self.object, entry.name, position)
        return Landmark(symbol, address - entry.address)


class RunningModule:
    """A module's code and data, relocated; a Running of lpengine.patch.proof. What
    it uses from outside lies at addresses that stand for the names only."""

    def __init__(self, module: ModuleFile) -> None:
        self.module = module
        self.object = module.name
        self.path = module.path
        self._image = module.image
        self._symbols = tuple(module.image.symbols)

    def named(self, name: str) -> Sequence[Spot]:
        return tuple(
            Spot(
                self._values[each.index],
                each.size,
                is_strong=each.binding == STB_GLOBAL,
            )
            for each in self._by_name.get(name, ())
        )

    def read(self, address: int, size: int) -> bytes:
        section = self._section_at(address)
        start = address - self._bases[section.index] if section else 0
        if section is None or start + size > section.size:
            raise ElfError(self.path, 0, f"no section holds {size} bytes at {start:#x}")
        if section.type == SHT_NOBITS:
            return bytes(size)
        return bytes(self._relocated(section)[start : start + size])

    def landmark(self, address: int, name: str) -> Landmark | None:
        """As RunningKernel; None for sections that are freed or have no symbol."""
        section = self._section_at(address)
        if section is None:
            return None
        offset = address - self._bases[section.index]
        found = self.module.nearest(section.index, offset, name)
        if found is None:
            return None
        symbol, position = found
        return Landmark(
            KlpSymbol(self.object, symbol.name, position), offset - symbol.value
        )

    @cached_property
    def _bases(self) -> Mapping[int, int]:
        """Where each loaded section lies."""
        bases, at = {}, _LOADED
        for section in self._image.sections:
            if section.allocated and section.size:
                at += -at % max(section.alignment, _PAGE)
                bases[section.index] = at
                at += section.size
        return bases

    @cached_property
    def _places(self) -> tuple[list[int], list[int]]:
        """The addresses of the loaded sections, which ascend, and their indexes."""
        return list(self._bases.values()), list(self._bases)

    def _section_at(self, address: int) -> Section | None:
        addresses, indexes = self._places
        place = bisect_right(addresses, address) - 1
        if place < 0:
            return None
        section = self._image.sections[indexes[place]]
        return section if address < addresses[place] + section.size else None

    @cached_property
    def _values(self) -> tuple[int, ...]:
        return tuple(self._value(each) for each in self._symbols)

    def _value(self, symbol: Symbol) -> int:
        if symbol.in_section:
            return self._bases.get(symbol.section_index, 0) + symbol.value
        if symbol.is_undefined and symbol.name:
            return _ELSEWHERE + symbol.index * _ELSEWHERE_STEP
        return symbol.value

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[Symbol]]:
        found: dict[str, list[Symbol]] = defaultdict(list)
        for symbol in self._symbols:
            if (
                symbol.type not in (STT_FILE, STT_SECTION)
                and self._values[symbol.index]
            ):
                found[symbol.name].append(symbol)
        return found

    @cached_property
    def _contents(self) -> dict[int, bytearray]:
        return {}

    def _relocated(self, section: Section) -> bytearray:
        if section.index not in self._contents:
            data = bytearray(self._image.section_data(section))
            sizes = [symbol.size for symbol in self._symbols]
            for table in self._image.sections:
                if table.type == SHT_RELA and table.info == section.index:
                    records = self._image.section_data(table)
                    base = self._bases[section.index]
                    relocate(data, base, records, self._values, sizes)
            self._contents[section.index] = data
        return self._contents[section.index]
