"""Takes a compiled object apart into what a payload keeps of it."""

from collections.abc import Iterator

from lpengine.elf import Image, Section, Symbol, parse_image
from lpengine.elf.constants import (
    SHF_TLS,
    SHT_NOBITS,
    RelocationType,
)
from lpengine.errors import BuildError
from lpengine.patch.xen import layout
from lpengine.patch.xen.build_material import Material, Merge
from lpengine.patch.xen.build_relax import relax
from lpengine.patch.xen.spec import Place, RelocationSpec, SymbolSpec

_DROPPED = (".eh_frame", ".note", ".comment", ".gnu.")
_MADE_HERE = (layout.FUNCS, layout.DEPENDS, layout.XEN_DEPENDS, layout.STRINGS)
_HOOKS = ".livepatch.hooks."
_NEVER_RUN = (".init_array", ".fini_array", ".preinit_array", ".ctors", ".dtors")
_ACCEPTED_TYPES = (
    RelocationType.R_X86_64_64,
    RelocationType.R_X86_64_PC32,
    RelocationType.R_X86_64_PLT32,
)


def read_object(raw: bytes, path: str) -> Material:
    """The loaded sections of a relocatable object, merged by kind so that a
    payload of many functions stays far below Xen's limit of 1023 sections.

    Raises BuildError naming the section or symbol that no payload can hold.
    """
    return _Reader(parse_image(raw, path)).read()


class _Reader:
    def __init__(self, image: Image) -> None:
        self._image = image
        self._merges: dict[str, Merge] = {}
        self._places: dict[int, tuple[Merge, int]] = {}
        self._metadata: list[tuple[str, str]] = []

    def read(self) -> Material:
        kept = [each for each in self._image.sections if self._is_kept(each)]
        for section in kept:
            self._place(section)
        for section in kept:
            self._refer(section)
        return Material(
            sections=tuple(merge.finish() for merge in self._merges.values()),
            symbols=tuple(self._definitions()),
            metadata=tuple(self._metadata),
        )

    def _is_kept(self, section: Section) -> bool:
        if not section.allocated or section.size == 0:
            return False
        if section.name == layout.MODINFO:
            self._metadata += _pairs(self._image.section_data(section))
            return False
        if section.name.startswith(_DROPPED):
            return False
        _require_loadable(section)
        return True

    def _place(self, section: Section) -> None:
        name, writable = _destination(section)
        merge = self._merges.get(name)
        if merge is None:
            zero_filled = section.type == SHT_NOBITS
            merge = Merge(name, writable, section.executable, zero_filled)
            self._merges[name] = merge
        data = b"" if merge.zero_filled else self._image.section_data(section)
        alignment = max(1, section.alignment)
        self._places[section.index] = merge, merge.append(data, section.size, alignment)

    def _refer(self, section: Section) -> None:
        merge, start = self._places[section.index]
        symbols = self._image.symbols
        for record in self._image.relocations(section):
            if record.type == RelocationType.R_X86_64_NONE:
                continue
            symbol = symbols[record.symbol_index]
            offset = start + record.offset
            type_ = relax(merge.data, offset, record.type)
            if type_ not in _ACCEPTED_TYPES:
                raise _unsupported(section, symbol, record.type)
            merge.relocations.append(
                self._relocation(section, symbol, offset, type_, record.addend)
            )

    def _relocation(
        self, section: Section, symbol: Symbol, offset: int, type_: int, addend: int
    ) -> RelocationSpec:
        if symbol.index and symbol.is_undefined and symbol.name:
            return RelocationSpec(offset, type_, symbol.name, addend)
        place = self._places.get(symbol.section_index)
        if place is None or not symbol.in_section:
            raise BuildError(
                f"{section.name} refers to {_described(self._image, symbol)}, which "
                "is not loaded",
                codes=("LP-MOD-005",),
                hint="refer only to code and data of the payload and of the image",
            )
        if type_ == RelocationType.R_X86_64_PLT32:
            type_ = RelocationType.R_X86_64_PC32
        merge, start = place
        addend += start + symbol.value
        return RelocationSpec(offset, type_, Place(merge.name), addend)

    def _definitions(self) -> Iterator[SymbolSpec]:
        for symbol in self._image.symbols:
            place = self._places.get(symbol.section_index)
            if place is None or not symbol.in_section or not _is_named(symbol):
                continue
            merge, start = place
            if merge.name.startswith(_HOOKS):
                continue  # variables that only exist to be in the list
            yield SymbolSpec(
                name=symbol.name,
                place=Place(merge.name, start + symbol.value),
                size=symbol.size,
                function=merge.executable,
                local=True,
            )


def _is_named(symbol: Symbol) -> bool:
    # Types: 0 to 2 are none, object and function; not section, not file.
    return symbol.type <= 2 and symbol.name != "" and not symbol.name.startswith(".L")


def _pairs(data: bytes) -> list[tuple[str, str]]:
    texts = (text.decode(errors="replace") for text in data.split(b"\0") if text)
    split = (text.partition("=") for text in texts)
    return [(key, value) for key, _equals, value in split]


def _destination(section: Section) -> tuple[str, bool]:
    """The payload's section that a section goes into, and whether that is
    writable."""
    name = section.name
    if section.executable:
        return (".text" if _is_kind(name, ".text") else name), False
    if name.startswith(_HOOKS) or _is_kind(name, ".data.rel.ro"):
        # Constant once relocated: writable, it would forbid applying again.
        return (name if name.startswith(_HOOKS) else ".rodata"), False
    if not section.writable:
        return (".rodata" if _is_kind(name, ".rodata") else name), False
    if section.type == SHT_NOBITS:
        return ".bss", True
    return (".data" if _is_kind(name, ".data") else name), True


def _is_kind(name: str, kind: str) -> bool:
    return name == kind or name.startswith(kind + ".")


def _require_loadable(section: Section) -> None:
    name = section.name
    if section.writable and section.executable:
        raise BuildError(
            f"section {name} is writable and executable",
            codes=("LP-MOD-007",),
            hint="keep code and data apart",
        )
    if name.startswith(_MADE_HERE):
        _refuse(name, "is made by the builder", "name the functions with --replace")
    if name.startswith(_NEVER_RUN):
        _refuse(name, "holds constructors, which no loader runs", "use a load hook")
    if "percpu" in name or section.flags & SHF_TLS:
        raise BuildError(
            f"section {name} holds data of its own for each CPU or thread, which a "
            "payload cannot add",
            codes=("LP-DAT-302",),
            hint="use one variable, or an array indexed by CPU",
        )


def _refuse(name: str, why: str, hint: str) -> None:
    raise BuildError(f"section {name} {why}", codes=("LP-SHP-174",), hint=hint)


def _described(image: Image, symbol: Symbol) -> str:
    if symbol.name:
        return symbol.name
    if symbol.in_section:
        return f"section {image.sections[symbol.section_index].name}"
    return "nothing (symbol 0)"


def _unsupported(section: Section, symbol: Symbol, type_: int) -> BuildError:
    try:
        known = RelocationType(type_).name
    except ValueError:
        known = f"relocation type {type_}"
    return BuildError(
        f"{section.name} needs {known} for {symbol.name or 'a section'}, which Xen "
        "cannot relocate",
        codes=("LP-MOD-005",),
        hint="compile with -fPIC and hidden visibility, without 32-bit absolute "
        "addresses",
    )
