"""Writes Linux live patch modules without the kernel's headers or build system.

What a loadable module consists of: include/linux/module.h, kernel/module/main.c;
what makes it a live patch: Documentation/livepatch/module-elf-format.rst.
"""

import dataclasses
import hashlib
import struct
from collections.abc import Iterator, Sequence

from lpengine.elf import ObjectWriter
from lpengine.elf.constants import (
    NT_GNU_BUILD_ID,
    R_X86_64_32S,
    R_X86_64_64,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_RELA_LIVEPATCH,
    SHF_WRITE,
    SHN_LIVEPATCH,
    STB_GLOBAL,
    STB_LOCAL,
    STT_FUNC,
    STT_NOTYPE,
    STT_OBJECT,
    STT_SECTION,
)
from lpengine.elf.orc import NOTHING, SP, OrcEntry
from lpengine.errors import BuildError, UsageError
from lpengine.patch.linux import layout
from lpengine.patch.linux.abi import (
    ENABLE,
    LAYOUT,
    LONGEST_MODULE_NAME,
    LONGEST_VERSION_NAME,
    RETURN_THUNK,
    VERSION_SIZE,
    ModuleAbi,
)
from lpengine.patch.linux.records import PATCH, record_sections
from lpengine.patch.linux.spec import (
    Import,
    ModuleSpec,
    OrcSpec,
    Place,
    Reference,
    RelocationSpec,
    SectionSpec,
    SymbolSpec,
)
from lpengine.patch.model import KlpSymbol

INIT, EXIT = ".init.text", ".exit.text"
_CODE = SHF_ALLOC | SHF_EXECINSTR
_ENDBR64 = bytes.fromhex("f30f1efa")
# mov rdi, patch; jmp klp_enable_patch
_ENABLE = bytes.fromhex("48c7c700000000 e900000000")
_JUMP, _RETURN, _TRAP = b"\xe9\0\0\0\0", b"\xc3", b"\xcc"
_TEXT_ALIGNMENT = 16
_BUILD_ID_SIZE = 20
# In a function that has pushed nothing, the caller's stack is behind the return
# address.
_LEAF = OrcEntry(SP, 8)


def write_module(spec: ModuleSpec, abi: ModuleAbi) -> bytes:
    """The module file, the same bytes for the same spec.

    Raises UsageError for names that a module cannot hold, BuildError for symbols
    that the kernel does not export.
    """
    _check_names(spec)
    spec = _completed(spec, abi)
    digest = hashlib.sha256(_Writer(spec, abi).write(b"")).digest()
    return _Writer(spec, abi).write(digest[:_BUILD_ID_SIZE])


def _check_names(spec: ModuleSpec) -> None:
    for name in (spec.name, *(each.name for each in spec.objects if each.name)):
        if not 1 <= len(name.encode()) <= LONGEST_MODULE_NAME or "." in name:
            raise UsageError(
                f"{name!a} cannot be a module's name",
                hint=f"1 to {LONGEST_MODULE_NAME} bytes without a dot",
            )
    names = [section.name for section in spec.sections]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"section {min(twice)} is there twice")


def _completed(spec: ModuleSpec, abi: ModuleAbi) -> ModuleSpec:
    """With everything a live patch needs besides its code."""
    this_module = _this_module(spec, abi)
    records = record_sections(spec, abi, Place(layout.THIS_MODULE))
    entry, exit_ = _entry(abi), _exit(abi)
    end = len(exit_.data)
    orc = (
        *spec.orc,
        *(OrcSpec(Place(each.name), _LEAF) for each in (entry, exit_)),
        *(OrcSpec(Place(s.name, len(s.data)), NOTHING) for s in (entry, exit_)),
    )
    returns = spec.return_sites
    if abi.return_thunks:
        returns = (*returns, Place(EXIT, end - len(_JUMP)))
    return dataclasses.replace(
        spec,
        sections=(*spec.sections, *records, entry, exit_, this_module),
        orc=orc if abi.orc else (),
        return_sites=returns,
    )


def _this_module(spec: ModuleSpec, abi: ModuleAbi) -> SectionSpec:
    data = bytearray(abi.size("module"))
    name = spec.name.encode()
    at = abi.offset("module", "name")
    data[at : at + len(name)] = name
    return SectionSpec(
        layout.THIS_MODULE,
        bytes(data),
        SHF_WRITE | SHF_ALLOC,
        alignment=64,
        relocations=(
            RelocationSpec(abi.offset("module", "init"), R_X86_64_64, Place(INIT)),
            RelocationSpec(abi.offset("module", "exit"), R_X86_64_64, Place(EXIT)),
        ),
    )


def _pad(abi: ModuleAbi) -> bytes:
    return _ENDBR64 if abi.landing_pads else b""


def _entry(abi: ModuleAbi) -> SectionSpec:
    start = len(_pad(abi))
    return SectionSpec(
        INIT,
        _pad(abi) + _ENABLE,
        _CODE,
        alignment=_TEXT_ALIGNMENT,
        relocations=(
            RelocationSpec(start + 3, R_X86_64_32S, Place(PATCH)),
            RelocationSpec(start + 8, R_X86_64_PLT32, Import(ENABLE), -4),
        ),
    )


def _exit(abi: ModuleAbi) -> SectionSpec:
    """A module without it could never be unloaded."""
    start = len(_pad(abi))
    if not abi.return_thunks:
        code = _pad(abi) + _RETURN + _TRAP
        return SectionSpec(EXIT, code, _CODE, alignment=_TEXT_ALIGNMENT)
    thunk = RelocationSpec(start + 1, R_X86_64_PLT32, Import(RETURN_THUNK), -4)
    code = _pad(abi) + _JUMP
    return SectionSpec(
        EXIT, code, _CODE, alignment=_TEXT_ALIGNMENT, relocations=(thunk,)
    )


class _Writer:
    def __init__(self, spec: ModuleSpec, abi: ModuleAbi) -> None:
        self._spec = spec
        self._abi = abi
        self._file = ObjectWriter()
        self._sections: dict[str, int] = {}
        self._section_symbols: dict[str, int] = {}
        self._imports: dict[str, int] = {}
        self._klp_symbols: dict[KlpSymbol, int] = {}

    def write(self, build_id: bytes) -> bytes:
        for section in self._all_sections():
            self._add(section)
        if build_id:
            self._file.add_note(layout.BUILD_ID, "GNU", NT_GNU_BUILD_ID, build_id)
        self._file.add_section(".note.GNU-stack")
        for symbol in (*self._own_symbols(), *self._spec.symbols):
            self._define(symbol)
        for name, place in (("init_module", INIT), ("cleanup_module", EXIT)):
            self._define(SymbolSpec(name, Place(place), 0, True), STB_GLOBAL)
        for section in self._all_sections():
            self._relocate(section)
        return self._file.finish()

    def _all_sections(self) -> Iterator[SectionSpec]:
        yield from self._spec.sections
        yield from _orc_sections(self._spec.orc, self._abi)
        yield from _site_sections(self._spec)
        yield self._modinfo()
        if self._abi.has_versions:
            yield self._versions()

    def _own_symbols(self) -> Iterator[SymbolSpec]:
        yield SymbolSpec("__this_module", Place(layout.THIS_MODULE))

    def _add(self, spec: SectionSpec) -> None:
        index = self._file.add_section(
            spec.name,
            spec.type,
            spec.flags,
            spec.data,
            size=spec.size,
            alignment=spec.alignment,
            entry_size=spec.entry_size,
        )
        self._sections[spec.name] = index
        self._section_symbols[spec.name] = self._file.add_symbol(
            "", binding=STB_LOCAL, type=STT_SECTION, section=index
        )

    def _define(self, spec: SymbolSpec, binding: int = STB_LOCAL) -> None:
        self._file.add_symbol(
            spec.name,
            value=spec.place.offset,
            size=spec.size,
            binding=binding,
            type=STT_FUNC if spec.function else STT_OBJECT,
            section=self._sections[spec.place.section],
        )

    def _relocate(self, section: SectionSpec) -> None:
        index = self._sections[section.name]
        for each in section.relocations:
            handle, addend = self._handle(each.target), each.addend
            if isinstance(each.target, Place):
                addend += each.target.offset
            table, flags = "", 0
            if isinstance(each.target, KlpSymbol):
                table = layout.klp_table_name(
                    _applied_with(each.target, each.object), section.name
                )
                flags = SHF_ALLOC | SHF_RELA_LIVEPATCH
            self._file.add_relocation(
                index,
                each.offset,
                each.type,
                handle,
                addend,
                table=table,
                table_flags=flags,
            )

    def _handle(self, target: Reference) -> int:
        if isinstance(target, Place):
            return self._section_symbols[target.section]
        if isinstance(target, Import):
            if target.name not in self._imports:
                self._imports[target.name] = self._file.add_symbol(target.name)
            return self._imports[target.name]
        if target not in self._klp_symbols:
            self._klp_symbols[target] = self._file.add_symbol(
                layout.klp_symbol_name(target), type=STT_NOTYPE, section=SHN_LIVEPATCH
            )
        return self._klp_symbols[target]

    def _modinfo(self) -> SectionSpec:
        spaces = {self._abi.exports[name].namespace for name in self._imported()}
        pairs = [
            ("license", "GPL"),
            ("livepatch", "Y"),
            ("depends", ""),
            ("retpoline", "Y"),
            ("name", self._spec.name),
            *(("import_ns", each) for each in sorted(spaces - {""})),
            *self._spec.modinfo,
            ("vermagic", self._abi.vermagic),
        ]
        text = b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs)
        return SectionSpec(layout.MODINFO, text)

    def _versions(self) -> SectionSpec:
        data = b"".join(
            struct.pack("<Q", self._abi.exports[name].crc or 0)
            + name.encode().ljust(VERSION_SIZE - 8, b"\0")
            for name in (LAYOUT, *self._imported())
        )
        return SectionSpec(layout.VERSIONS, data, alignment=32)

    def _imported(self) -> tuple[str, ...]:
        names = {
            each.target.name
            for section in self._spec.sections
            for each in section.relocations
            if isinstance(each.target, Import)
        }
        for name in sorted(names):
            if name not in self._abi.exports:
                raise BuildError(
                    f"{name}: the kernel does not export it",
                    codes=("LP-SYM-154",),
                )
            if len(name.encode()) > LONGEST_VERSION_NAME:
                raise BuildError(
                    f"{name}: its name is too long for a record of its CRC",
                    codes=("LP-SYM-154",),
                )
        return tuple(sorted(names))


def _applied_with(target: KlpSymbol, user: str) -> str:
    """The object that has to be there before a live patch relocation is applied. A
    module's may not be of the kernel's symbols (klp_resolve_symbols)."""
    if target.object == layout.KERNEL or not user:
        return target.object
    return user


def _orc_sections(orc: Sequence[OrcSpec], abi: ModuleAbi) -> Iterator[SectionSpec]:
    """The kernel sorts them by address itself (unwind_module_init)."""
    if not orc or abi.orc is None:
        return
    packed = (each.entry for each in orc)
    entries = b"".join(
        each if isinstance(each, bytes) else abi.orc.pack(each) for each in packed
    )
    yield SectionSpec(layout.ORC, entries)
    yield _pointers(layout.ORC_IP, [each.place for each in orc])


def _site_sections(spec: ModuleSpec) -> Iterator[SectionSpec]:
    if spec.return_sites:
        yield _pointers(layout.RETURN_SITES, spec.return_sites)
    if spec.retpoline_sites:
        yield _pointers(layout.RETPOLINE_SITES, spec.retpoline_sites)


def _pointers(name: str, places: Sequence[Place]) -> SectionSpec:
    """32-bit distances, each from its own place."""
    relocations = tuple(
        RelocationSpec(4 * number, R_X86_64_PC32, place)
        for number, place in enumerate(places)
    )
    return SectionSpec(name, bytes(4 * len(places)), relocations=relocations)
