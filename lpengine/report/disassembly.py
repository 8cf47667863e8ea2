"""Code as rows of text: with the relocations of a module, or as it is in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lpengine.arch.x86 import Instruction, disassemble
from lpengine.elf import Image
from lpengine.elf.constants import RelocationType
from lpengine.patch.model import (
    FunctionPatch,
    KlpRelocation,
    Patch,
    PatchRelocation,
)

if TYPE_CHECKING:
    from lpengine.planner import Facts, Span


def memory_rows(code: bytes, address: int, names: Mapping[int, str]) -> list[str]:
    """Rows of live code; `names` says what direct branches lead to."""
    return [memory_row(each, names) for each in disassemble(code, address)]


def memory_row(instruction: Instruction, names: Mapping[int, str]) -> str:
    target = names.get(instruction.target) if instruction.target else None
    note = f"  <{target}>" if target else ""
    return row(instruction.address, instruction.bytes, instruction.text, note)


def redirected_rows(
    code: bytes,
    address: int,
    names: Mapping[int, str],
    newest: str,
    unsure: Sequence[Span] = (),
) -> list[str]:
    """Rows of a function that starts with a redirection, up to and with its jump
    (behind an endbr64, if any), whose target is called `newest`; how far it is may lie
    in the bytes that are `unsure`. A NOP patch has no jump there, and all its rows."""
    instructions = disassemble(code, address)
    for count, instruction in enumerate(instructions[:2], 1):
        if instruction.mnemonic == "jmp" and instruction.target:
            before = [memory_row(each, names) for each in instructions[: count - 1]]
            return [*before, jump_row(instruction, newest, unsure)]
    return [memory_row(each, names) for each in instructions]


def jump_row(jump: Instruction, target: str, unsure: Sequence[Span]) -> str:
    """With "??" for bytes that nobody can see."""
    shown = [
        "??" if any(jump.address + at in span for span in unsure) else f"{byte:02x}"
        for at, byte in enumerate(jump.bytes)
    ]
    text = f"{jump.mnemonic} ?" if "??" in shown else jump.text
    return f"{jump.address:16x}  {' '.join(shown):<30}  {text}  <{target}>"


def module_rows(
    patch: Patch, image: Image | None, function: FunctionPatch
) -> list[str]:
    """Rows of a replacement as the module holds it, addresses counted from its
    start, each relocation behind the instruction whose bytes it fills in."""
    if image is None or not function.new_section:
        return []
    section = image.sections[function.new_section]
    end = function.new_offset + function.new_size
    code = bytes(image.section_data(section)[function.new_offset : end])
    fixes = relocations_of(patch, function)
    rows = []
    for instruction in disassemble(code, 0):
        notes = [
            f"  {note}"
            for offset, note in fixes
            if instruction.address <= offset < instruction.end
        ]
        rows.append(
            row(instruction.address, instruction.bytes, instruction.text, *notes)
        )
    return rows


def relocations_of(patch: Patch, function: FunctionPatch) -> list[tuple[int, str]]:
    """Where in the new code a reference is filled in, and with what. Those that the
    live patch core fills in name the object first."""
    named: list[tuple[PatchRelocation | KlpRelocation, str]] = [
        (each, each.symbol or "section") for each in patch.relocations
    ]
    for each in patch.klp_relocations:
        named.append(
            (each, f"{each.object}:{each.symbol.name if each.symbol else '?'}")
        )
    return [
        (
            each.offset - function.new_offset,
            f"{relocation_name(each.type)} {name}{each.addend:+#x}",
        )
        for each, name in named
        if each.section_index == function.new_section
    ]


def row(address: int, code: bytes, text: str, *notes: str) -> str:
    return f"{address:16x}  {code.hex(' '):<30}  {text}{''.join(notes)}"


def relocation_name(number: int) -> str:
    """The psABI's name, or the number of a type it does not have."""
    try:
        return RelocationType(number).name
    except ValueError:
        return f"relocation {number}"


def known_names(facts: Facts) -> dict[int, str]:
    """Address to name for everything these facts can name."""
    names = {code.address: code.symbol for code in facts.code.values()}
    for symbols in facts.symbols.values():
        for symbol in symbols:
            names.setdefault(symbol.address, symbol.name)
    return names
