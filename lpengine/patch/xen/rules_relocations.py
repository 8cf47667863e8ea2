"""Xen's checks of relocations; what they say goes into the patch."""

from collections.abc import Iterator

from lpengine.elf.constants import (
    R_X86_64_64,
    R_X86_64_NONE,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    SHT_REL,
    SHT_RELA,
    RelocationType,
)
from lpengine.elf.layout import RELA
from lpengine.patch.model import PatchRelocation
from lpengine.patch.xen.payload_file import FileSection, PayloadFile
from lpengine.patch.xen.violations import Violations

_REL_SIZE = 16
# How many bytes each type that Xen knows changes. The place of a NONE is not
# checked: it changes none.
_WIDTHS = {
    int(R_X86_64_NONE): 0,
    int(R_X86_64_64): 8,
    int(R_X86_64_PC32): 4,
    int(R_X86_64_PLT32): 4,
}


def width_of(relocation: PatchRelocation) -> int:
    return _WIDTHS.get(relocation.type, 8)


def read_relocations(
    file: PayloadFile, violations: Violations
) -> tuple[PatchRelocation, ...]:
    """common/livepatch_elf.c, livepatch_elf_perform_relocs: those of loaded sections,
    in the order in which Xen applies them."""
    found: list[PatchRelocation] = []
    for section in file.sections:
        if section.raw.type not in (SHT_RELA, SHT_REL):
            continue
        target = _target(file, section, violations)
        if target is not None and _check_table(file, section, violations):
            found += _read_table(file, section, target, violations)
    return tuple(found)


def _target(
    file: PayloadFile, section: FileSection, violations: Violations
) -> FileSection | None:
    if section.raw.info >= len(file.sections):
        return None
    if section.raw.info == 0:
        violations.suffer(
            "unchecked-pointer",
            section.label,
            "relocations of section 0",
            "relocations of a section with data",
        )
        return None
    target = file.sections[section.raw.info]
    return target if target.allocated else None


def _check_table(
    file: PayloadFile, section: FileSection, violations: Violations
) -> bool:
    entry = section.raw
    symbols = file.symbol_table.index if file.symbol_table else 0
    if symbols and entry.link != symbols:
        violations.refuse(
            "relocation-link",
            section.label,
            f"symbols of section {entry.link}",
            f"section {symbols}",
        )
        return False
    if not entry.size or not section.readable or not symbols:
        return False
    least = RELA.size if entry.type == SHT_RELA else _REL_SIZE
    if entry.entry_size < least or entry.size % entry.entry_size:
        violations.refuse(
            "relocation-header",
            section.label,
            f"{entry.size} bytes of {entry.entry_size}-byte entries",
            f"whole entries of at least {least} bytes",
        )
        return False
    if entry.type == SHT_REL:
        violations.refuse(
            "rel-unsupported",
            section.label,
            "relocations without addends",
            "relocations with addends (SHT_RELA)",
        )
    return entry.type == SHT_RELA


def _read_table(
    file: PayloadFile,
    section: FileSection,
    target: FileSection,
    violations: Violations,
) -> Iterator[PatchRelocation]:
    entry = section.raw
    start = entry.offset
    for position in range(start, start + entry.size, entry.entry_size):
        offset, type_, symbol, addend = RELA.unpack_from(file.raw, position)
        relocation = PatchRelocation(
            target.index, offset, type_, symbol, _name(file, symbol), addend
        )
        if _check_symbol(file, relocation, target, violations) and _check_place(
            relocation, target, violations
        ):
            yield relocation


def _name(file: PayloadFile, index: int) -> str:
    if 0 < index < file.symbol_count:
        return file.symbol_name(file.symbol(index))
    return ""


def _check_symbol(
    file: PayloadFile,
    relocation: PatchRelocation,
    target: FileSection,
    violations: Violations,
) -> bool:
    """arch/x86/livepatch.c, arch_livepatch_perform_rela, the first half."""
    subject = f"{target.label}+{relocation.offset:#x}"
    index = relocation.symbol_index
    if index == 0:
        violations.refuse("relocation-undef", subject, "symbol 0", "a symbol")
        return False
    if index >= file.symbol_count:
        violations.refuse(
            "relocation-symbol",
            subject,
            f"symbol {index}",
            f"below {file.symbol_count}",
        )
        return False
    section = file.section_of(file.symbol(index))
    if section is not None and not section.allocated:
        violations.refuse(
            "relocation-ignored-symbol",
            subject,
            f"{relocation.symbol or 'a symbol'} in {section.label}",
            "a symbol in a loaded section",
        )
        return False
    return True


def _check_place(
    relocation: PatchRelocation, target: FileSection, violations: Violations
) -> bool:
    """arch/x86/livepatch.c, arch_livepatch_perform_rela, the second half."""
    subject = f"{target.label}+{relocation.offset:#x}"
    width = _WIDTHS.get(relocation.type)
    if width is None:
        violations.refuse(
            "relocation-unsupported",
            subject,
            f"{_type_name(relocation.type)} against {relocation.symbol or 'a section'}",
            "R_X86_64_64, R_X86_64_PC32 or R_X86_64_PLT32",
        )
        return False
    if width and relocation.offset + width > target.size:
        violations.refuse(
            "relocation-out-of-section",
            subject,
            f"{width} bytes at {relocation.offset:#x}",
            f"inside {target.size:#x} bytes",
        )
        return False
    return True


def _type_name(number: int) -> str:
    try:
        return RelocationType(number).name
    except ValueError:
        return f"relocation type {number}"
