"""Who calls whom in Xen, told from all objects that it was linked from."""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lpengine.elf import Section, Symbol
from lpengine.elf.constants import R_X86_64_PC32, R_X86_64_PLT32
from lpengine.patch.boot_only import CallGraph
from lpengine.patch.proof import Proof

# Where a secondary processor starts (arch/x86/smpboot.c). It is no init code, since
# processors can be taken down and up again, but who does that for a fix to act?
_BRING_UP = frozenset({"start_secondary"})
# Waking from suspend brings processors up again too (arch/x86/acpi/power.c). What
# only that does runs whenever it is asked for; for the rest it does not count.
_RESUME = frozenset({"enter_state", "enter_state_helper"})
# Tables of what to do with a new processor (arch/x86/cpu/, struct cpu_dev).
_BRING_UP_TABLE = re.compile(r"\w*cpu_dev|default_cpu")

# What is only read or run while booting. Other init data may be copied, and what it
# points to runs later: tables of operations are.
_BOOT_TABLES = (".initcall", ".init.setup")
# A record of an exception or a bug is about code that is known by itself.
_SILENT = (".ex_table", ".bug_frames", ".discard", ".altinstructions", ".note")


def call_graph(proofs: Sequence[Proof]) -> CallGraph:
    """Of all objects that an image was linked from."""
    graph = CallGraph()
    walks = [_Walk(proof, graph) for proof in proofs]
    for walk in walks:
        walk.note_boot_code()
    for walk in walks:
        walk.walk()
    return graph


@dataclass(frozen=True, slots=True)
class _Reference:
    """`is_entry` says that it leads to the function's first byte."""

    offset: int
    target: int
    is_branch: bool
    is_entry: bool


class _Walk:
    def __init__(self, proof: Proof, graph: CallGraph) -> None:
        self._proof = proof
        self._graph = graph
        self._symbols = tuple(proof.object.symbols)
        self._starts: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for index, address in proof.functions.items():
            symbol = self._symbols[index]
            self._starts[symbol.section_index].append((symbol.value, address))
        for starts in self._starts.values():
            starts.sort()
        self._tables = tuple(filter(_is_bring_up_table, self._symbols))

    def note_boot_code(self) -> None:
        for index, address in self._proof.functions.items():
            symbol = self._symbols[index]
            section = self._proof.object.sections[symbol.section_index]
            if section.name.startswith(".init") or symbol.name in _BRING_UP:
                self._graph.boot.add(address)
            if symbol.name in _RESUME:
                self._graph.resume.add(address)

    def walk(self) -> None:
        for section in self._proof.object.sections:
            name = section.name
            if section.allocated and not name.startswith((*_SILENT, *_BOOT_TABLES)):
                for reference in self._references(section):
                    self._note(section, reference)

    def _note(self, section: Section, reference: _Reference) -> None:
        owner = self._function_at(section.index, reference.offset)
        if owner is None:
            # Code that mends a fault jumps back into the function that it is for.
            if self._in_bring_up_table(section, reference.offset):
                self._graph.bring_up.add(reference.target)
            elif reference.is_entry:
                self._graph.live.add(reference.target)
        elif reference.is_branch:
            self._graph.calls[owner].add(reference.target)
        elif reference.is_entry:
            # Handed to somebody who calls it later, whoever does it.
            self._graph.live.add(reference.target)

    def _references(self, section: Section) -> Iterator[_Reference]:
        """Those to functions."""
        for record in self._proof.object.relocations(section):
            symbol = self._symbols[record.symbol_index]
            branch = record.type == R_X86_64_PLT32
            if not symbol.in_section:
                for spot in self._proof.running.named(symbol.name):
                    yield _Reference(record.offset, spot.address, branch, True)
                continue
            place = symbol.value
            if not symbol.name:
                relative = record.type in (R_X86_64_PC32, R_X86_64_PLT32)
                place += record.addend + 4 * relative
            found = self._found(symbol.section_index, place)
            if found is not None:
                start, target = found
                yield _Reference(record.offset, target, branch, place == start)

    def _function_at(self, section: int, offset: int) -> int | None:
        """The function that holds a place of the object."""
        found = self._found(section, offset)
        return found[1] if found else None

    def _found(self, section: int, offset: int) -> tuple[int, int] | None:
        """Its start in the section and its address in the image."""
        starts = self._starts.get(section, ())
        found = bisect_right(starts, (offset, 1 << 64)) - 1
        return starts[found] if found >= 0 else None

    def _in_bring_up_table(self, section: Section, offset: int) -> bool:
        return any(
            table.section_index == section.index
            and table.value <= offset < table.value + table.size
            for table in self._tables
        )


def _is_bring_up_table(symbol: Symbol) -> bool:
    return symbol.size > 0 and _BRING_UP_TABLE.fullmatch(symbol.name) is not None
