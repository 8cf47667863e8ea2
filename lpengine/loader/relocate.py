"""Relocates a placed module, with Xen's four relocation types and no more."""

from dataclasses import dataclass

from lpengine import core
from lpengine.elf.constants import (
    R_X86_64_64,
    R_X86_64_NONE,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    SHT_REL,
    SHT_RELA,
)
from lpengine.elf.layout import RELA
from lpengine.errors import TargetError
from lpengine.loader.place import Placement
from lpengine.loader.refusing import refusal
from lpengine.loader.resolve import Resolved
from lpengine.patch.xen.payload_file import FileSection, PayloadFile

SUPPORTED = (R_X86_64_NONE, R_X86_64_64, R_X86_64_PC32, R_X86_64_PLT32)

_REL_SIZE = 16


@dataclass(frozen=True)
class _Bad:
    """The first record of a section that Xen refuses by its looks alone."""

    index: int
    error: TargetError


def relocate(
    module: PayloadFile, placement: Placement, resolved: Resolved, name: str
) -> None:
    """Xen 4.17, livepatch_elf_perform_relocs: sections in file order, and in each
    the first record that cannot be applied is the one that is named."""
    symbols = module.symbol_table.index if module.symbol_table else 0
    for section in module.sections:
        if section.raw.type not in (SHT_RELA, SHT_REL):
            continue
        base = placement.addresses.get(section.raw.info)
        if base is None:
            continue
        if section.raw.link != symbols:
            raise refusal(
                "relocation-link",
                f"{name}: {section.name} uses symbol table {section.raw.link},"
                f" needed: {symbols}",
            )
        if section.size:
            _relocate_section(module, section, placement, resolved, name)


def _relocate_section(
    module: PayloadFile,
    section: FileSection,
    placement: Placement,
    resolved: Resolved,
    name: str,
) -> None:
    _check_header(section, name)
    records = _pack_records(
        module.contents(section, 0, section.size), section.raw.entry_size
    )
    bad = _find_bad(records, section, resolved, name)
    usable = bad.index if bad else len(records) // RELA.size
    base = module.sections[section.raw.info]
    address = placement.addresses[base.index]
    content = placement.view(address, base.size)
    assert content is not None, "a placed section lies inside its region"
    try:
        core.relocate(
            content,
            address,
            records[: usable * RELA.size],
            resolved.values,
            (0,) * len(resolved.values),
        )
    except core.RelocationError as error:
        raise refusal(
            error.cause,
            f"{name}: record {error.index} of {section.name}: {error.message}",
        ) from error
    if bad:
        raise bad.error


def _check_header(section: FileSection, name: str) -> None:
    needed = RELA.size if section.raw.type == SHT_RELA else _REL_SIZE
    if section.raw.entry_size < needed or section.size % section.raw.entry_size:
        raise refusal(
            "relocation-header",
            f"{name}: {section.name} has {section.size} bytes in records of"
            f" {section.raw.entry_size}, needed: whole records of at least {needed}",
        )
    if section.raw.type == SHT_REL:
        raise refusal(
            "rel-unsupported",
            f"{name}: {section.name} has relocations without addends (SHT_REL)",
        )


def _pack_records(data: bytes, entry_size: int) -> bytes:
    if entry_size == RELA.size:
        return data
    starts = range(0, len(data), entry_size)
    return b"".join(data[start : start + RELA.size] for start in starts)


def _find_bad(
    records: bytes, section: FileSection, resolved: Resolved, name: str
) -> _Bad | None:
    """Xen, arch_livepatch_perform_rela: the checks that need no arithmetic."""
    for index, (_, kind, symbol, _) in enumerate(RELA.iter_unpack(records)):
        where = f"{name}: record {index} of {section.name}"
        if symbol == 0:
            error = refusal("relocation-undef", f"{where} is against no symbol")
        elif symbol >= len(resolved.values):
            error = refusal(
                "relocation-symbol",
                f"{where} is against symbol {symbol} of {len(resolved.values)}",
            )
        elif symbol in resolved.ignored:
            error = refusal(
                "relocation-ignored-symbol",
                f"{where} is against symbol {symbol}, whose section is not loaded",
            )
        elif kind not in SUPPORTED:
            error = refusal(
                "relocation-unsupported",
                f"{where} has type {kind}, needed: one of"
                f" {', '.join(str(int(one)) for one in SUPPORTED)}",
            )
        else:
            continue
        return _Bad(index, error)
    return None
