"""What the kernel refuses of a module for what is in its file alone.

The order is the kernel's (6.1): load_module of kernel/module/main.c, then
apply_relocations with kernel/livepatch/core.c, then klp_enable_patch.
"""

from collections.abc import Iterator, Sequence

from lpengine.elf import Image, Section
from lpengine.elf.constants import (
    ET_REL,
    R_X86_64_32,
    R_X86_64_32S,
    R_X86_64_64,
    R_X86_64_NONE,
    R_X86_64_PC32,
    R_X86_64_PC64,
    R_X86_64_PLT32,
    SHT_NOBITS,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
)
from lpengine.errors import InputError
from lpengine.patch.linux import layout
from lpengine.patch.linux.klp_names import (
    is_klp_symbol,
    is_klp_table,
    parse_klp_symbol,
    parse_klp_table,
)
from lpengine.patch.linux.pointers import section_of
from lpengine.patch.linux.structures import Structures
from lpengine.patch.model import Violation

# The bytes that each relocation fills in, of those that the kernel knows.
_WIDTHS: dict[int, int] = {
    R_X86_64_64: 8,
    R_X86_64_PC64: 8,
    R_X86_64_32: 4,
    R_X86_64_32S: 4,
    R_X86_64_PC32: 4,
    R_X86_64_PLT32: 4,
}
_MOST = 16

# license_is_gpl_compatible: the kernel shows klp_enable_patch to no others.
_LICENSES = frozenset(
    (
        "GPL",
        "GPL v2",
        "GPL and additional rights",
        "Dual BSD/GPL",
        "Dual MIT/GPL",
        "Dual MPL/GPL",
    )
)


def broken_file(raw: bytes, error: InputError) -> Violation:
    """The one for a file that cannot be read at all."""
    cause = "section-headers-corrupt" if raw[:4] == b"\x7fELF" else "not-elf"
    return Violation(cause, "ENOEXEC", "file", error.message, "an ELF file")


def check_module(
    image: Image, modinfo: Sequence[tuple[str, str]], structures: Structures
) -> tuple[Violation, ...]:
    """All rules, in the kernel's order; at most 16 of each cause."""
    counts: dict[str, int] = {}
    kept = []
    for violation in _all(image, modinfo, structures):
        counts[violation.cause] = counts.get(violation.cause, 0) + 1
        if counts[violation.cause] <= _MOST:
            kept.append(violation)
    return tuple(kept)


def _all(
    image: Image, modinfo: Sequence[tuple[str, str]], structures: Structures
) -> Iterator[Violation]:
    yield from _check_file(image)
    yield from _check_marks(dict(modinfo))
    yield from _check_memory(image)
    yield from _check_symbols(image)
    yield from _check_relocations(image)
    yield from _check_redirects(structures)


def _check_file(image: Image) -> Iterator[Violation]:
    if image.header.type != ET_REL:
        yield Violation(
            "header-invalid",
            "ENOEXEC",
            "file",
            f"ELF type {image.header.type}",
            "a relocatable file",
        )
    if not any(each.type == SHT_SYMTAB for each in image.sections):
        yield Violation(
            "no-symbol-table", "ENOEXEC", ".symtab", "it is stripped", "symbols"
        )
    for name in (layout.MODINFO, layout.THIS_MODULE):
        section = image.section(name)
        if section is None or not section.allocated:
            yield Violation(
                "section-missing", "ENOEXEC", name, "it is not there", "a module has it"
            )


def _check_marks(modinfo: dict[str, str]) -> Iterator[Violation]:
    """check_modinfo and check_modinfo_livepatch."""
    if "vermagic" not in modinfo:
        yield Violation(
            "section-missing",
            "ENOEXEC",
            "vermagic",
            "the module does not say for which kernel it is",
            "vermagic in .modinfo",
        )
    if modinfo.get("license", "") not in _LICENSES:
        yield Violation(
            "unknown-symbol",
            "ENOENT",
            "klp_enable_patch",
            f"the module's license is {modinfo.get('license') or 'not given'}",
            "a license that is compatible with the GPL",
        )
    if "livepatch" not in modinfo:
        yield Violation(
            "not-marked-livepatch",
            "EINVAL",
            "livepatch",
            "the module does not say that it is a live patch",
            "livepatch=Y in .modinfo",
        )


def _check_memory(image: Image) -> Iterator[Violation]:
    """module_enforce_rwx_sections."""
    for section in image.sections:
        if section.allocated and section.writable and section.executable:
            yield Violation(
                "writable-and-executable",
                "ENOEXEC",
                section.name,
                "it is writable and executable",
                "one of them",
            )


def _check_symbols(image: Image) -> Iterator[Violation]:
    """simplify_symbols, klp_resolve_symbols."""
    for symbol in image.symbols:
        if symbol.is_common:
            yield Violation(
                "common-symbol", "ENOEXEC", symbol.name, "common", "-fno-common"
            )
        elif is_klp_symbol(symbol) and parse_klp_symbol(symbol) is None:
            yield Violation(
                "symbol-name-corrupt",
                "EINVAL",
                symbol.name,
                "it does not say where it is",
                ".klp.sym.OBJECT.NAME,POSITION",
            )
        elif symbol.in_section and section_of(image, symbol) is None:
            # The kernel does not look, and reads behind its section headers.
            yield Violation(
                "symbol-section",
                "",
                symbol.name,
                f"it is in section {symbol.section_index}",
                f"one of {len(image.sections)} sections",
            )


def _check_relocations(image: Image) -> Iterator[Violation]:
    for table in image.sections:
        if not 0 < table.info < len(image.sections):
            continue
        target = image.sections[table.info]
        if not target.allocated:
            continue
        if table.type == SHT_REL:
            yield Violation(
                "rel-unsupported", "ENOEXEC", table.name, "REL", "RELA relocations"
            )
        elif table.type == SHT_RELA:
            yield from _check_table(image, table, target)


def _check_table(image: Image, table: Section, target: Section) -> Iterator[Violation]:
    klp = is_klp_table(table)
    if klp and not parse_klp_table(table):
        yield Violation(
            "section-name-corrupt",
            "EINVAL",
            table.name,
            "it does not say with which object it is applied",
            ".klp.rela.OBJECT.SECTION",
        )
    data = image.section_data(target) if target.type != SHT_NOBITS else b""
    for offset, type_, index, _addend in image.relocations(table):
        place = f"{target.name}+{offset:#x}"
        if klp and not is_klp_symbol(image.symbols[index]):
            yield Violation(
                "relocation-symbol",
                "EINVAL",
                place,
                f"{image.symbols[index].name or 'a section'} is no live patch symbol",
                "a live patch symbol",
            )
        if type_ != R_X86_64_NONE:
            yield from _check_place(data, offset, type_, place)
        if type_ == R_X86_64_32 and not image.symbols[index].is_absolute:
            yield Violation(
                "relocation-overflow",
                "ENOEXEC",
                place,
                "32 bits without a sign",
                "code for -mcmodel=kernel: the kernel's addresses are negative",
            )


def _check_place(
    data: bytes, offset: int, type_: int, place: str
) -> Iterator[Violation]:
    """apply_relocate_add of arch/x86/kernel/module.c."""
    width = _WIDTHS.get(type_)
    if width is None:
        yield Violation(
            "relocation-unsupported",
            "ENOEXEC",
            place,
            f"relocation type {type_}",
            "one that the kernel knows: 64, PC32, PLT32, 32, 32S, PC64",
        )
    elif offset + width > len(data):
        # The kernel does not look, and writes there.
        yield Violation(
            "relocation-out-of-section",
            "",
            place,
            f"the section has {len(data)} bytes",
            "a place inside of it",
        )
    elif any(data[offset : offset + width]):
        yield Violation(
            "relocation-target-nonzero",
            "ENOEXEC",
            place,
            f"holds {data[offset : offset + width].hex(' ')}",
            "zeroes, until the kernel fills it in",
        )


def _check_redirects(structures: Structures) -> Iterator[Violation]:
    if not structures.functions and not structures.callbacks:
        yield Violation(
            "nothing-to-patch",
            "" if structures.found else "EINVAL",
            "klp_patch",
            "the module names no function and no callback in a way known here",
            "struct klp_patch, or the records of kpatch-build or klp-build",
        )
    seen = set()
    for each in structures.functions:
        identity = each.object, each.name, each.occurrence
        if identity in seen:
            yield Violation(
                "function-twice", "EEXIST", each.name, "redirected twice", "once"
            )
        seen.add(identity)
        if each.new is None or not each.name:
            yield Violation(
                "unchecked-pointer",
                "EINVAL",
                each.name or "a function",
                "it has no name, or no new code",
                "both",
            )
