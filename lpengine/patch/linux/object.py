"""Takes a compiled object apart into what a live patch module keeps of it."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from lpengine.elf import Image, Section, Symbol, parse_image
from lpengine.elf.constants import (
    R_X86_64_NONE,
    SHF_TLS,
    SHT_NOBITS,
    SHT_PROGBITS,
)
from lpengine.elf.eh_frame import orc_of_object
from lpengine.errors import BuildError
from lpengine.patch.linux import layout
from lpengine.patch.linux.modinfo import parse_modinfo
from lpengine.patch.linux.spec import (
    CallbackSpec,
    OrcSpec,
    Place,
    Reference,
    SymbolSpec,
)
from lpengine.patch.model import SystemState

_DROPPED = (".eh_frame", ".note", ".comment", ".gnu.")
CALLBACK, STATES = ".lpengine.callback.", ".lpengine.states"
_STATE = struct.Struct("<QQ")
_POINTER = 8
_NEVER_RUN = (".init_array", ".fini_array", ".preinit_array", ".ctors", ".dtors")
_MADE_HERE = (
    layout.THIS_MODULE,
    layout.VERSIONS,
    layout.ORC,
    layout.RETURN_SITES,
    layout.RETPOLINE_SITES,
    layout.KLP_RELOCATIONS,
)


@dataclass
class Use:
    """A reference of a section: to what is known already, such as a place in the
    object, or to a symbol that is not defined there, by name. `addend` is the
    ELF's."""

    offset: int
    type: int
    target: Reference | str
    addend: int


@dataclass
class Piece:
    """A loaded section of the object, its code still to be rewritten. `object` is
    what it is for: "" the kernel, else a module."""

    name: str
    flags: int
    data: bytearray
    alignment: int
    size: int | None
    uses: list[Use] = field(default_factory=list)
    object: str = ""


@dataclass
class Material:
    """What a module is made of, wherever it is from. Where it does not say which
    instructions go to the kernel's thunks (None), their references tell."""

    pieces: list[Piece]
    symbols: tuple[SymbolSpec, ...]
    orc: tuple[OrcSpec, ...]
    callbacks: tuple[CallbackSpec, ...] = ()
    states: tuple[SystemState, ...] = ()
    modinfo: tuple[tuple[str, str], ...] = ()
    return_sites: tuple[Place, ...] | None = None
    retpoline_sites: tuple[Place, ...] | None = None

    def function(self, name: str) -> SymbolSpec | None:
        return next((s for s in self.symbols if s.function and s.name == name), None)


def callback_kind(section: str, size: int, records: int) -> str:
    """Which callback a section declares. BuildError where it is not one that the
    kernel knows, or declares several."""
    kind = section.removeprefix(CALLBACK)
    if kind not in layout.CALLBACKS or records != 1 or size != _POINTER:
        raise BuildError(
            f"section {section} is not one callback that the kernel knows",
            codes=("LP-MOD-003",),
            hint="use each of the KLP_PRE_PATCH, … macros once at most",
        )
    return kind


def parse_states(data: bytes) -> Iterator[SystemState]:
    for number, version in _STATE.iter_unpack(data):
        yield SystemState(number, version)


def read_object(raw: bytes, path: str) -> Material:
    """The loaded sections of a relocatable object with their references.

    Raises BuildError naming the section or symbol that no module can hold.
    """
    return _Reader(parse_image(raw, path)).read()


class _Reader:
    def __init__(self, image: Image) -> None:
        self._image = image
        self._names: dict[int, str] = {}

    def read(self) -> Material:
        kept = [each for each in self._image.sections if _is_kept(each)]
        for section in kept:
            _require_loadable(section)
            self._names[section.index] = self._unique(section.name)
        return Material(
            pieces=[self._piece(section) for section in kept],
            symbols=tuple(self._definitions()),
            orc=tuple(
                OrcSpec(self._place(self._image.symbols[symbol], offset), entry)
                for symbol, offset, entry in orc_of_object(self._image)
            ),
            callbacks=tuple(self._callbacks()),
            states=tuple(self._states()),
            modinfo=tuple(self._modinfo()),
        )

    def _unique(self, name: str) -> str:
        taken = set(self._names.values())
        number, unique = 1, name
        while unique in taken:
            number += 1
            unique = f"{name}.{number}"
        return unique

    def _piece(self, section: Section) -> Piece:
        empty = section.type == SHT_NOBITS
        return Piece(
            self._names[section.index],
            section.flags,
            bytearray(b"" if empty else self._image.section_data(section)),
            max(1, section.alignment),
            section.size if empty else None,
            [
                self._use(section, each.offset, each.type, each.symbol_index, each[3])
                for each in self._image.relocations(section)
                if each.type != R_X86_64_NONE
            ],
        )

    def _use(
        self, section: Section, offset: int, type_: int, index: int, addend: int
    ) -> Use:
        symbol = self._image.symbols[index]
        if index and symbol.is_undefined and symbol.name:
            return Use(offset, type_, symbol.name, addend)
        if symbol.section_index not in self._names:
            raise BuildError(
                f"{section.name} refers to {symbol.name or 'a section'}, which is not "
                "loaded",
                codes=("LP-MOD-005",),
                hint="refer only to code and data of the module and of the kernel",
            )
        return Use(offset, type_, self._place(symbol, 0), addend)

    def _place(self, symbol: Symbol, offset: int) -> Place:
        return Place(self._names[symbol.section_index], symbol.value + offset)

    def _definitions(self) -> Iterator[SymbolSpec]:
        for symbol in self._image.symbols:
            # Types: 0 to 2 are none, object and function; not section, not file.
            named = symbol.name and not symbol.name.startswith(".L")
            if symbol.section_index in self._names and symbol.type <= 2 and named:
                place = self._place(symbol, 0)
                yield SymbolSpec(symbol.name, place, symbol.size, symbol.is_function)

    def _callbacks(self) -> Iterator[CallbackSpec]:
        for section in self._image.sections:
            if not section.name.startswith(CALLBACK):
                continue
            records = self._image.relocations(section)
            kind = callback_kind(section.name, section.size, len(records))
            (record,) = records
            use = self._use(section, 0, record.type, record.symbol_index, record.addend)
            if not isinstance(use.target, Place):
                raise BuildError(
                    f"{section.name}: the source does not define {use.target}",
                    codes=("LP-SYM-151",),
                )
            place = Place(use.target.section, use.target.offset + use.addend)
            yield CallbackSpec(kind, place)

    def _states(self) -> Iterator[SystemState]:
        section = self._image.section(STATES)
        if section is not None:
            yield from parse_states(self._image.section_data(section))

    def _modinfo(self) -> Iterator[tuple[str, str]]:
        section = self._image.section(layout.MODINFO)
        data = self._image.section_data(section) if section else b""
        yield from parse_modinfo(data)


def _is_kept(section: Section) -> bool:
    name = section.name
    made = name == layout.MODINFO or name == STATES or name.startswith(CALLBACK)
    return bool(
        section.allocated
        and section.size
        and not made
        and not name.startswith(_DROPPED)
    )


def _require_loadable(section: Section) -> None:
    name = section.name
    if section.writable and section.executable:
        raise BuildError(
            f"section {name} is writable and executable",
            codes=("LP-MOD-007",),
            hint="keep code and data apart",
        )
    if section.type not in (SHT_PROGBITS, SHT_NOBITS):
        _refuse(name, f"is of type {section.type}", "keep to code and data")
    if name.startswith((".init", ".exit")):
        _refuse(name, "is freed once the module is loaded", "use no __init, __exit")
    if name.startswith(_MADE_HERE):
        _refuse(name, "is made by the builder", "leave it out")
    if name.startswith(_NEVER_RUN):
        _refuse(name, "holds constructors", "use a KLP_PRE_PATCH callback")
    if "percpu" in name or section.flags & SHF_TLS:
        raise BuildError(
            f"section {name} holds data of its own for each CPU or thread",
            codes=("LP-DAT-302",),
            hint="use one variable, or an array indexed by CPU",
        )


def _refuse(name: str, why: str, hint: str) -> None:
    raise BuildError(f"section {name} {why}", codes=("LP-SHP-174",), hint=hint)
