"""Xen's checks of the symbols that relocations may refer to."""

from lpengine.elf.constants import SHN_ABS, SHN_COMMON, SHN_LORESERVE, SHN_UNDEF
from lpengine.patch.xen.payload_file import PayloadFile
from lpengine.patch.xen.violations import Violations


def resolve_symbols(file: PayloadFile, violations: Violations) -> tuple[str, ...]:
    """common/livepatch_elf.c, livepatch_elf_resolve_symbols. Returns the names the
    target has to know, each once."""
    undefined: dict[str, None] = {}
    for index in range(1, file.symbol_count):
        symbol = file.symbol(index)
        section = symbol.section_index
        if section == SHN_UNDEF:
            name = file.symbol_name(symbol)
            if name:
                undefined[name] = None
            else:
                violations.refuse(
                    "unknown-symbol",
                    f"symbol {index}",
                    "an undefined symbol without a name",
                    "a name",
                )
        elif section == SHN_COMMON:
            violations.refuse(
                "common-symbol",
                file.symbol_name(symbol) or f"symbol {index}",
                "a common symbol",
                "one in a section (-fno-common)",
            )
        elif section != SHN_ABS and section >= len(file.sections):
            violations.refuse(
                "symbol-section",
                file.symbol_name(symbol) or f"symbol {index}",
                f"section {section:#x}",
                f"below {len(file.sections)}",
                "EOPNOTSUPP" if section >= SHN_LORESERVE else None,
            )
    return tuple(undefined)
