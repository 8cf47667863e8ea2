"""Which functions of the source the code of an object is from, inlined ones too, as far
as debug information tells."""

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from lpengine.arch.x86 import Instruction, disassemble
from lpengine.core.dwarf import Entry
from lpengine.elf import Image, Symbol
from lpengine.elf.dwarf import DebugInfo, LineTable, Tag

_DEEPEST = 32
# What compilers decide anew each time: where values are kept, which way jumps lead.
_MOVES = re.compile(r"(mov|lea|push|pop|nop|jmp|ret|endbr)")
_CONDITION = re.compile(r"^(j|set|cmov)\w+")
_REGISTER = re.compile(
    r"\b(?:[re]?[abcd]x|[abcd][hl]|[re]?[sd]il?|[re]?[sb]pl?|r\d+[bwd]?)\b"
)
_NUMBER = re.compile(r"-?(0x[0-9a-f]+|\d+)")


class Origin(NamedTuple):
    """A function of the source, by the file that it is in."""

    file: str
    function: str


class Origins:
    """InputError, when it is made, where debug information is damaged."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._lines = LineTable(image)
        self._info = DebugInfo(image)

    def at(self, section_index: int, offset: int) -> Origin | None:
        """What a byte is from; None where that is not known."""
        row = self._lines.at(section_index, offset)
        if row is None:
            return None
        file, line = row
        begins = self._functions.get(file, [])
        found = bisect_right(begins, line, key=lambda begin: begin[0]) - 1
        return Origin(file, begins[found][1] if found >= 0 else "")

    def symbol(self, function: str) -> Symbol | None:
        return next(iter(self._symbols.get(function, ())), None)

    def deeds(self, function: str, origin: Origin) -> Counter[str]:
        """What the code in `function` does that is from `origin`: its instructions
        without those that only move values, and without registers."""
        parts = (function, f"{function}.cold")
        return Counter(
            deed
            for part in parts
            for symbol in self._symbols.get(part, ())
            for instruction in self._instructions(symbol)
            if self.at(symbol.section_index, instruction.address) == origin
            for deed in _deeds(instruction)
        )

    def inlined_into(self, function: str) -> Iterator[str]:
        """The functions that were inlined into one."""
        owners = {
            place + 1
            for place, entry in enumerate(self._info.entries)
            if entry.tag == Tag.FUNCTION and self._info.name(entry) == function
        }
        for entry in self._info.entries:
            if entry.tag == Tag.INLINED and self._is_inside(entry, owners):
                origin = self._info.at(entry.origin)
                if origin is not None:
                    yield self._info.name(origin)

    def _is_inside(self, entry: Entry, owners: set[int]) -> bool:
        for _ in range(_DEEPEST):
            if not entry.parent:
                return False
            if entry.parent in owners:
                return True
            entry = self._info.entries[entry.parent - 1]
        return False

    def _instructions(self, symbol: Symbol) -> tuple[Instruction, ...]:
        section = self._image.sections[symbol.section_index]
        code = self._image.section_data(section)
        return disassemble(
            code[symbol.value : symbol.value + symbol.size], symbol.value
        )

    @cached_property
    def _functions(self) -> dict[str, list[tuple[int, str]]]:
        """By file the lines on which functions begin."""
        found: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for entry in self._info.entries:
            if entry.tag == Tag.FUNCTION and entry.line > 0:
                file = self._lines.file(entry.file)
                found[file].append((entry.line, self._info.name(entry)))
        for begins in found.values():
            begins.sort()
        return found

    @cached_property
    def _symbols(self) -> dict[str, list[Symbol]]:
        found: dict[str, list[Symbol]] = defaultdict(list)
        for symbol in self._image.symbols:
            if symbol.is_function and symbol.in_section:
                # gcc 13 and older: one.cold; newer: one.cold.3
                name, cold, _ = symbol.name.partition(".cold")
                found[f"{name}{cold}"].append(symbol)
        return found


def without_registers(text: str) -> str:
    """An instruction, but for where values happen to be."""
    return _REGISTER.sub("%", text)


def _deeds(instruction: Instruction) -> Iterator[str]:
    mnemonic, operands = instruction.mnemonic, instruction.operands
    value = operands.rpartition(", ")[2] if "," in operands else ""
    constant = value if _NUMBER.fullmatch(value) else ""
    if _MOVES.match(mnemonic):
        return
    if mnemonic == "xor" and len(set(operands.split(", "))) == 1:
        return  # a zero
    if mnemonic == "test":
        mnemonic, constant = "cmp", "0"
    kind = _CONDITION.match(mnemonic)
    yield f"{kind[1] if kind else mnemonic} {constant}"
