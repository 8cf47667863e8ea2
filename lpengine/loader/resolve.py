"""Gives every symbol of a module its final value."""

from collections.abc import Iterable
from dataclasses import dataclass

from lpengine.elf import Image, Symbol
from lpengine.elf.constants import (
    SHF_MERGE,
    SHN_LORESERVE,
    SHN_UNDEF,
    STT_FUNC,
)
from lpengine.loader.names import Names
from lpengine.loader.place import Placement
from lpengine.loader.refusing import refusal
from lpengine.loader.stack import LoadedSymbol


@dataclass(frozen=True)
class Resolved:
    """Final values by symbol index. `ignored` are indexes of symbols in sections
    that are not loaded, `init` names of image symbols that are gone after boot."""

    values: tuple[int, ...]
    ignored: frozenset[int]
    init: tuple[str, ...]


def resolve(module: Image, placement: Placement, names: Names, name: str) -> Resolved:
    """Xen 4.17, livepatch_elf_resolve_symbols. `TargetError` for the first symbol
    that has no value here."""
    values = [0]
    ignored = set()
    init = []
    for index in range(1, len(module.symbols)):
        symbol = module.symbols[index]
        section = symbol.section_index
        if section == SHN_UNDEF:
            address = _find_undefined(symbol, names, name)
            if names.is_init(address):
                init.append(symbol.name)
            values.append(address)
        elif symbol.is_absolute:
            values.append(symbol.value)
        else:
            _refuse_section(symbol, module, name)
            if section not in placement.addresses:
                ignored.add(index)
            base = placement.addresses.get(section, 0)
            values.append((symbol.value + base) % 2**64)
    return Resolved(tuple(values), frozenset(ignored), tuple(init))


def _find_undefined(symbol: Symbol, names: Names, name: str) -> int:
    found = names.find(symbol.name)
    if found is None:
        raise refusal("unknown-symbol", f"{name}: unknown symbol {symbol.name}")
    return found.address


def _refuse_section(symbol: Symbol, module: Image, name: str) -> None:
    section = symbol.section_index
    if symbol.is_common:
        raise refusal("common-symbol", f"{name}: common symbol {symbol.name}")
    reserved = section >= SHN_LORESERVE or symbol.extended
    if reserved or section >= len(module.sections):
        errno = "EOPNOTSUPP" if reserved else "EINVAL"
        raise refusal(
            "symbol-section",
            f"{name}: symbol {symbol.name} is in section {section:#x},"
            f" of {len(module.sections)}",
            errno=errno,
        )


def collect_symbols(
    module: Image,
    resolved: Resolved,
    replacements: Iterable[int],
    names: Names,
    name: str,
) -> tuple[LoadedSymbol, ...]:
    """The symbols a module registers, local ones too (Xen, build_symbol_table).
    One that does not name replacement code must be new to the machine."""
    overriding = frozenset(replacements)
    collected = []
    for index in range(1, len(module.symbols)):
        symbol = module.symbols[index]
        if not _registers(module, symbol):
            continue
        value = resolved.values[index]
        new = value not in overriding
        owner = names.find(symbol.name) if new else None
        if owner is not None:
            where = f"patch {owner.owner}" if owner.owner else "the image"
            raise refusal(
                "duplicate-symbol",
                f"{name}: symbol {symbol.name} is new, but {where} has it too",
            )
        collected.append(
            LoadedSymbol(symbol.name, value, symbol.size, new, symbol.type == STT_FUNC)
        )
    return tuple(collected)


def _registers(module: Image, symbol: Symbol) -> bool:
    """Xen, is_payload_symbol."""
    if symbol.section_index == SHN_UNDEF:
        return False
    if symbol.section_index >= len(module.sections) or not symbol.name:
        return False
    section = module.sections[symbol.section_index]
    merged = bool(section.flags & SHF_MERGE)
    return section.allocated and not (merged and symbol.name.startswith(".L"))
