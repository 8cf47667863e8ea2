"""Turns the references of new code into what the kernel can resolve, with as few
look-ups as can be.

Up to 6.1 each live patch relocation walks the whole symbol table of the kernel. So
calls of a symbol go to one stub, uses of its address to one pointer, where there
are several; what the kernel exports takes no look-up at all.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from lpengine.elf.constants import (
    R_X86_64_32,
    R_X86_64_32S,
    R_X86_64_64,
    R_X86_64_GOTPCREL,
    R_X86_64_GOTPCRELX,
    R_X86_64_PC32,
    R_X86_64_PC64,
    R_X86_64_PLT32,
    R_X86_64_REX_GOTPCRELX,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHT_NOBITS,
    SHT_PROGBITS,
    RelocationType,
)
from lpengine.elf.orc import NOTHING, SP, OrcEntry
from lpengine.errors import BuildError
from lpengine.patch.linux import layout
from lpengine.patch.linux.abi import INDIRECT_THUNK, RETURN_THUNK
from lpengine.patch.linux.loads import is_load, load_from_memory
from lpengine.patch.linux.object import Material, Piece, Use
from lpengine.patch.linux.spec import (
    Import,
    OrcSpec,
    Place,
    Reference,
    RelocationSpec,
    SectionSpec,
)
from lpengine.patch.model import KlpSymbol
from lpengine.patch.xen.build_relax import relax

_POINTERS, _STUBS = ".rodata.klp_pointers", ".text.klp_stubs"
_STUB_SIZE = 8
_JUMP = b"\xe9\0\0\0\0\xcc\xcc\xcc"
_CALLS = (0xE8, 0xE9)
_TABLE = (R_X86_64_GOTPCREL, R_X86_64_GOTPCRELX, R_X86_64_REX_GOTPCRELX)
# What apply_relocate_add of arch/x86/kernel/module.c knows.
_ACCEPTED = (
    R_X86_64_64,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    R_X86_64_32,
    R_X86_64_32S,
    R_X86_64_PC64,
)
_ADDRESSES = (R_X86_64_64, R_X86_64_32, R_X86_64_32S)


@dataclass
class Linked:
    """The module's sections, and the instructions that use the kernel's thunks."""

    sections: list[SectionSpec] = field(default_factory=list)
    orc: list[OrcSpec] = field(default_factory=list)
    return_sites: list[Place] = field(default_factory=list)
    retpoline_sites: list[Place] = field(default_factory=list)


def link(
    material: Material,
    bind: Callable[[str], Reference],
    replaced: Mapping[Place, KlpSymbol],
) -> Linked:
    """`bind` says what a symbol outside the object is; `replaced` what new functions
    stand for: pointers to them become pointers to the old ones, since those are
    still good when the patch is gone.

    Raises BuildError for references that no module can have, and what `bind` does.
    """
    return _Linker(material, bind, replaced).link()


@dataclass
class _Bound:
    """`object` is the module that has to be there for the target to be found. `load`
    says that the target's address goes into a register, and nothing else happens."""

    use: Use
    target: Reference
    object: str
    call: bool
    load: bool

    @property
    def shared(self) -> tuple[Reference, str]:
        """Uses that agree in this can have one stub or pointer."""
        return self.target, self.object

    @property
    def is_stubbed(self) -> bool:
        """Whether it may go through a stub, which leads to the symbol itself."""
        return self.call and self.use.addend == -4


class _Linker:
    def __init__(
        self,
        material: Material,
        bind: Callable[[str], Reference],
        replaced: Mapping[Place, KlpSymbol],
    ) -> None:
        self._material = material
        self._bind = bind
        self._replaced = replaced
        self._known: dict[str, Reference] = {}
        self._pointers: dict[tuple[Reference, str], int] = {}
        self._stubs: dict[tuple[Reference, str], int] = {}
        self._linked = Linked(
            orc=list(material.orc),
            return_sites=list(material.return_sites or ()),
            retpoline_sites=list(material.retpoline_sites or ()),
        )

    def link(self) -> Linked:
        bound = [
            (piece, [self._resolve(piece, use) for use in piece.uses])
            for piece in self._material.pieces
        ]
        self._share([each for _piece, uses in bound for each in uses])
        for piece, uses in bound:
            relocations = tuple(self._relocation(piece, each) for each in uses)
            self._linked.sections.append(_section(piece, relocations))
        self._linked.sections += self._shared_sections()
        return self._linked

    def _resolve(self, piece: Piece, use: Use) -> _Bound:
        target = self._target(use.target)
        call = _is_call(piece, use)
        if isinstance(target, Import):
            self._note_thunk(piece, use, target.name)
        if isinstance(target, Place) and not call:
            target = self._original(use, target) or target
        looked_up = isinstance(target, KlpSymbol) and target.object != layout.KERNEL
        user = piece.object if looked_up else ""
        return _Bound(use, target, user, call, is_load(piece, use))

    def _target(self, target: Reference | str) -> Reference:
        if not isinstance(target, str):
            return target
        if target not in self._known:
            self._known[target] = self._bind(target)
        return self._known[target]

    def _original(self, use: Use, target: Place) -> KlpSymbol | None:
        addend = use.addend if use.type in _ADDRESSES else use.addend + 4
        place = Place(target.section, target.offset + addend)
        if place not in self._replaced:
            return None
        # The symbol is the function itself now.
        use.addend -= addend
        return self._replaced[place]

    def _note_thunk(self, piece: Piece, use: Use, name: str) -> None:
        if name == RETURN_THUNK and self._material.return_sites is None:
            self._linked.return_sites.append(_instruction(piece, use))
        elif name.startswith(INDIRECT_THUNK) and self._material.retpoline_sites is None:
            self._linked.retpoline_sites.append(_instruction(piece, use))

    def _share(self, uses: list[_Bound]) -> None:
        """Hand out stubs and pointers to what is looked up more than once."""
        calls = Counter(each.shared for each in uses if each.is_stubbed)
        through = Counter(
            each.shared for each in uses if each.load or each.use.type in _TABLE
        )
        for shared, count in calls.items():
            if isinstance(shared[0], KlpSymbol) and count > 1:
                self._stubs[shared] = len(self._stubs) * _STUB_SIZE
        for shared, count in through.items():
            if isinstance(shared[0], KlpSymbol) and count > 1:
                self._pointer(shared)

    def _pointer(self, shared: tuple[Reference, str]) -> Place:
        place = self._pointers.setdefault(shared, len(self._pointers) * 8)
        return Place(_POINTERS, place)

    def _relocation(self, piece: Piece, bound: _Bound) -> RelocationSpec:
        use, target = bound.use, bound.target
        type_, addend = use.type, use.addend
        if type_ in _TABLE:
            if bound.shared not in self._pointers:
                type_ = relax(piece.data, use.offset, type_)
            if type_ in _TABLE:
                type_, target = R_X86_64_PC32, self._pointer(bound.shared)
        elif bound.load and bound.shared in self._pointers:
            load_from_memory(piece.data, use.offset)
            type_, target, addend = R_X86_64_PC32, self._pointer(bound.shared), -4
        elif bound.is_stubbed and bound.shared in self._stubs:
            target = Place(_STUBS, self._stubs[bound.shared])
        if type_ not in _ACCEPTED:
            raise _unsupported(piece, use)
        return RelocationSpec(use.offset, type_, target, addend, bound.object)

    def _shared_sections(self) -> Iterator[SectionSpec]:
        if self._pointers:
            relocations = tuple(
                RelocationSpec(offset, R_X86_64_64, target, 0, user)
                for (target, user), offset in self._pointers.items()
            )
            data = bytes(8 * len(self._pointers))
            yield SectionSpec(_POINTERS, data, alignment=8, relocations=relocations)
        if self._stubs:
            relocations = tuple(
                RelocationSpec(offset + 1, R_X86_64_PLT32, target, -4, user)
                for (target, user), offset in self._stubs.items()
            )
            code = _JUMP * len(self._stubs)
            self._linked.orc.append(OrcSpec(Place(_STUBS), OrcEntry(SP, 8)))
            self._linked.orc.append(OrcSpec(Place(_STUBS, len(code)), NOTHING))
            yield SectionSpec(
                _STUBS,
                code,
                SHF_ALLOC | SHF_EXECINSTR,
                alignment=16,
                relocations=relocations,
            )


def _section(piece: Piece, relocations: tuple[RelocationSpec, ...]) -> SectionSpec:
    return SectionSpec(
        piece.name,
        bytes(piece.data),
        # Neither merged nor grouped any more: references are by offset.
        piece.flags & 7,
        SHT_NOBITS if piece.size is not None else SHT_PROGBITS,
        piece.alignment,
        piece.size,
        relocations=relocations,
    )


def _is_call(piece: Piece, use: Use) -> bool:
    """A direct call or jump; of the other users of a distance, none has 0xe8 or
    0xe9 before it except by a PC32 with a ModRM, which PLT32 never has."""
    if use.type == R_X86_64_PLT32:
        return True
    executable = bool(piece.flags & SHF_EXECINSTR) and use.offset > 0
    return (
        executable
        and use.type == R_X86_64_PC32
        and use.addend == -4
        and piece.data[use.offset - 1] in _CALLS
    )


def _instruction(piece: Piece, use: Use) -> Place:
    """Where the call, jump or conditional jump begins whose distance is there."""
    before = 1 if piece.data[use.offset - 1] in _CALLS else 2
    return Place(piece.name, use.offset - before)


def _unsupported(piece: Piece, use: Use) -> BuildError:
    try:
        known = RelocationType(use.type).name
    except ValueError:
        known = f"relocation type {use.type}"
    return BuildError(
        f"{piece.name} needs {known}, which the kernel cannot relocate",
        codes=("LP-MOD-005",),
        hint="compile with the default flags",
    )
