"""Gives every symbol of a module its final value."""

from collections.abc import Iterable
from dataclasses import dataclass

from lpengine.elf.constants import (
    SHF_MERGE,
    SHN_ABS,
    SHN_COMMON,
    SHN_LORESERVE,
    SHN_UNDEF,
    STT_FUNC,
)
from lpengine.elf.layout import RawSymbol
from lpengine.loader.names import Names
from lpengine.loader.place import Placement
from lpengine.loader.refusing import refusal
from lpengine.loader.stack import LoadedSymbol
from lpengine.patch.xen.payload_file import PayloadFile


@dataclass(frozen=True)
class Resolved:
    """Final values by symbol index. `ignored` are indexes of symbols in sections
    that are not loaded, `init` names of image symbols that are gone after boot."""

    values: tuple[int, ...]
    ignored: frozenset[int]
    init: tuple[str, ...]


def resolve(
    module: PayloadFile, placement: Placement, names: Names, name: str
) -> Resolved:
    """Xen 4.17, livepatch_elf_resolve_symbols. `TargetError` for the first symbol
    that has no value here."""
    values = [0]
    ignored = set()
    init = []
    for index in range(1, module.symbol_count):
        symbol = module.symbol(index)
        label = module.symbol_name(symbol)
        section = symbol.section_index
        if section == SHN_UNDEF:
            address = _find_undefined(label, names, name)
            if names.is_init(address):
                init.append(label)
            values.append(address)
        elif section == SHN_ABS:
            values.append(symbol.value)
        else:
            _refuse_section(section, label, module, name)
            if section not in placement.addresses:
                ignored.add(index)
            base = placement.addresses.get(section, 0)
            values.append((symbol.value + base) % 2**64)
    return Resolved(tuple(values), frozenset(ignored), tuple(init))


def _find_undefined(symbol: str, names: Names, name: str) -> int:
    found = names.find(symbol)
    if found is None:
        raise refusal("unknown-symbol", f"{name}: unknown symbol {symbol}")
    return found.address


def _refuse_section(section: int, symbol: str, module: PayloadFile, name: str) -> None:
    if section == SHN_COMMON:
        raise refusal("common-symbol", f"{name}: common symbol {symbol}")
    if section >= min(SHN_LORESERVE, len(module.sections)):
        errno = "EOPNOTSUPP" if section >= SHN_LORESERVE else "EINVAL"
        raise refusal(
            "symbol-section",
            f"{name}: symbol {symbol} is in section {section:#x}, of"
            f" {len(module.sections)}",
            errno=errno,
        )


def collect_symbols(
    module: PayloadFile,
    resolved: Resolved,
    replacements: Iterable[int],
    names: Names,
    name: str,
) -> tuple[LoadedSymbol, ...]:
    """The symbols a module registers, local ones too (Xen, build_symbol_table).
    One that does not name replacement code must be new to the machine."""
    overriding = frozenset(replacements)
    collected = []
    for index in range(1, module.symbol_count):
        symbol = module.symbol(index)
        label = module.symbol_name(symbol)
        if not _registers(module, symbol, label):
            continue
        value = resolved.values[index]
        new = value not in overriding
        owner = names.find(label) if new else None
        if owner is not None:
            where = f"patch {owner.owner}" if owner.owner else "the image"
            raise refusal(
                "duplicate-symbol",
                f"{name}: symbol {label} is new, but {where} has it too",
            )
        collected.append(
            LoadedSymbol(label, value, symbol.size, new, symbol.type == STT_FUNC)
        )
    return tuple(collected)


def _registers(module: PayloadFile, symbol: RawSymbol, name: str) -> bool:
    """Xen, is_payload_symbol."""
    section = module.section_of(symbol)
    if section is None or not section.allocated or not name:
        return False
    return not (section.raw.flags & SHF_MERGE and name.startswith(".L"))
