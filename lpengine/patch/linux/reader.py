"""Reads Linux live patch modules: what they contain, and what in them the kernel
would refuse whatever it runs."""

import hashlib
import struct
from collections.abc import Iterator

from lpengine.elf import Image, Symbol, parse_image
from lpengine.elf.constants import SHT_RELA, STB_WEAK, STT_FILE, STT_SECTION
from lpengine.errors import ElfError, InputError
from lpengine.patch.linux import layout
from lpengine.patch.linux.abi import VERSION_SIZE
from lpengine.patch.linux.klp_names import parse_klp_symbol, parse_klp_table
from lpengine.patch.linux.modinfo import parse_modinfo
from lpengine.patch.linux.pointers import Pointers, section_of
from lpengine.patch.linux.rules import broken_file, check_module
from lpengine.patch.linux.structures import Redirect, Structures, read_structures
from lpengine.patch.model import (
    Expectation,
    FunctionPatch,
    KlpRelocation,
    KlpSymbol,
    NewSymbol,
    Patch,
    PatchRelocation,
    PatchSection,
    SymbolVersion,
)

_NOTHING_EXPECTED = Expectation(False, 0, 0, bytes(31))
_CRC = struct.Struct("<Q")


def read_module(raw: bytes, name: str) -> Patch:
    """The module in `raw`; `name` is what it is called where it does not say so.
    Never raises for what the bytes say: Patch.violations has it, in the order of
    the kernel's checks (kernel/module/main.c, kernel/livepatch/core.c)."""
    sha256 = hashlib.sha256(raw).hexdigest()
    try:
        image = parse_image(raw, name)
        return _Reader(image, raw, name, sha256).read()
    except (ElfError, InputError) as error:
        violations = (broken_file(raw, error),)
        return Patch(name, raw, sha256, violations=violations, format="linux")


class _Reader:
    def __init__(self, image: Image, raw: bytes, name: str, sha256: str) -> None:
        self._image, self._raw = image, raw
        self._name, self._sha256 = name, sha256
        self._symbols: list[Symbol] = list(image.symbols)
        self._modinfo = tuple(parse_modinfo(self._data(layout.MODINFO)))

    def read(self) -> Patch:
        structures = read_structures(Pointers(self._image))
        relocations, klp_relocations = self._relocations()
        metadata = dict(self._modinfo)
        return Patch(
            name=metadata.get("name", self._name),
            raw=self._raw,
            sha256=self._sha256,
            build_id=self._image.build_id,
            functions=tuple(self._functions(structures)),
            metadata=self._modinfo,
            undefined=tuple(self._undefined()),
            new_symbols=tuple(self._new_symbols()),
            sections=tuple(self._sections()),
            relocations=relocations,
            violations=check_module(self._image, self._modinfo, structures),
            format="linux",
            vermagic=metadata.get("vermagic", ""),
            versions=tuple(self._versions()),
            klp_symbols=tuple(self._klp_symbols()),
            klp_relocations=klp_relocations,
            callbacks=structures.callbacks,
            replace=structures.replace,
            states=structures.states,
            target_ids=tuple(self._target_ids()),
        )

    def _data(self, name: str) -> bytes:
        section = self._image.section(name)
        return self._image.section_data(section) if section else b""

    def _functions(self, structures: Structures) -> Iterator[FunctionPatch]:
        named = {
            (symbol.section_index, symbol.value): symbol
            for symbol in self._symbols
            if symbol.is_function and section_of(self._image, symbol)
        }
        for index, each in enumerate(structures.functions):
            section = each.new.section if each.new else 0
            offset = each.new.offset if each.new else 0
            symbol = named.get((section, offset))
            yield _function(index, each, section, offset, symbol)

    def _undefined(self) -> Iterator[str]:
        for symbol in self._symbols[1:]:
            if symbol.is_undefined and symbol.binding != STB_WEAK and symbol.name:
                yield symbol.name

    def _new_symbols(self) -> Iterator[NewSymbol]:
        for symbol in self._symbols:
            if not symbol.name or symbol.type in (STT_FILE, STT_SECTION):
                continue
            section = section_of(self._image, symbol)
            if section is not None and section.allocated:
                yield NewSymbol(symbol.name, section.index, symbol.value, symbol.size)

    def _sections(self) -> Iterator[PatchSection]:
        for section in self._image.sections:
            if section.allocated and section.type != SHT_RELA:
                yield PatchSection(
                    section.index,
                    section.name,
                    section.size,
                    section.alignment,
                    section.writable,
                    section.executable,
                    section.zero_filled,
                )

    def _relocations(
        self,
    ) -> tuple[tuple[PatchRelocation, ...], tuple[KlpRelocation, ...]]:
        plain: list[PatchRelocation] = []
        klp: list[KlpRelocation] = []
        for table in self._image.sections:
            if table.type != SHT_RELA or not 0 < table.info < len(self._image.sections):
                continue
            if not self._image.sections[table.info].allocated:
                continue
            object_ = parse_klp_table(table)
            for offset, type_, index, addend in self._image.relocations(table):
                symbol = self._symbols[index]
                if object_ is None:
                    plain.append(
                        PatchRelocation(
                            table.info, offset, type_, index, symbol.name, addend
                        )
                    )
                else:
                    wanted = parse_klp_symbol(symbol)
                    klp.append(
                        KlpRelocation(
                            object_, table.info, offset, type_, wanted, addend
                        )
                    )
        return tuple(plain), tuple(klp)

    def _klp_symbols(self) -> Iterator[KlpSymbol]:
        for symbol in self._symbols:
            parsed = parse_klp_symbol(symbol)
            if parsed is not None:
                yield parsed

    def _versions(self) -> Iterator[SymbolVersion]:
        data = self._data(layout.VERSIONS)
        for at in range(0, len(data) - VERSION_SIZE + 1, VERSION_SIZE):
            (crc,) = _CRC.unpack_from(data, at)
            name = data[at + _CRC.size : at + VERSION_SIZE].partition(b"\0")[0]
            yield SymbolVersion(name.decode("utf-8", "backslashreplace"), crc)

    def _target_ids(self) -> Iterator[tuple[str, str]]:
        for key, value in self._modinfo:
            if key.startswith(layout.TARGET_KEY):
                yield key.removeprefix(layout.TARGET_KEY), value


def _function(
    index: int, each: Redirect, section: int, offset: int, symbol: Symbol | None
) -> FunctionPatch:
    return FunctionPatch(
        index=index,
        name=each.name,
        old_address=0,
        old_symbol="",
        old_size=0,
        new_symbol=symbol.name if symbol else (each.new.symbol if each.new else ""),
        new_section=section,
        new_offset=offset,
        new_size=symbol.size if symbol else 0,
        version=0,
        expectation=_NOTHING_EXPECTED,
        object=each.object,
        occurrence=each.occurrence,
    )
