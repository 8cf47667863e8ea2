"""Lays out what changed in objects as the material of one module: pieces by kind of
section, and of the special sections what the kernel reads of a module."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from lpengine.diff.changes import (
    External,
    FunctionChange,
    Inside,
    Piece,
    PieceKind,
    Status,
    Table,
    Use,
)
from lpengine.elf.constants import (
    R_X86_64_32,
    R_X86_64_32S,
    R_X86_64_64,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    STB_LOCAL,
    STT_FUNC,
)
from lpengine.elf.orc import NOTHING
from lpengine.errors import BuildError
from lpengine.patch.linux import layout
from lpengine.patch.linux import object as parts
from lpengine.patch.linux.binding import Binder, Bound, Target
from lpengine.patch.linux.compose import Redirect
from lpengine.patch.linux.object import Material
from lpengine.patch.linux.rewritten import (
    MODULE_FREE,
    is_late,
    key_use,
    late_refusal,
    require_inert,
    require_read,
    rewritten,
)
from lpengine.patch.linux.spec import CallbackSpec, OrcSpec, Place, SymbolSpec
from lpengine.patch.model import SystemState

_KEPT_FLAGS = SHF_WRITE | SHF_ALLOC | SHF_EXECINSTR
_INT3, _ZERO = b"\xcc", b"\0"
_ABSOLUTE = (R_X86_64_64, R_X86_64_32, R_X86_64_32S)
_STRINGS = ".rodata.str"
# What is laid out by kind; sections of other names are read by the module loader, or
# protected once the module has been initialised.
_PLAIN = (".text", ".rodata", ".data", ".bss", ".sdata")
_NOT_PLAIN = (".data..ro_after_init",)
_SECTIONS = {
    PieceKind.CODE: (".text", SHF_ALLOC | SHF_EXECINSTR),
    PieceKind.CONSTANT: (".rodata", SHF_ALLOC),
    PieceKind.STRING: (".rodata", SHF_ALLOC),
    PieceKind.DATA: (".data", SHF_ALLOC | SHF_WRITE),
    PieceKind.ZERO: (".bss", SHF_ALLOC | SHF_WRITE),
}
# Told in other ways, or of no use in a module that comes late.
_TOLD = (
    layout.ORC,
    layout.ORC_IP,
    layout.RETURN_SITES,
    layout.RETPOLINE_SITES,
    ".printk_index",
)


@dataclass
class Gathered:
    """What was laid out, with every reference resolved."""

    material: Material
    redirects: tuple[Redirect, ...]
    callbacks: Mapping[str, Sequence[CallbackSpec]]
    notes: tuple[str, ...]


def gather(objects: Sequence[Bound], binder: Binder) -> Gathered:
    """Lay out the objects in their order. Raises BuildError with the codes of what
    the running code does not have, or a module cannot hold."""
    gathering = _Gathering(binder)
    for bound in objects:
        gathering.place(bound)
    for bound in objects:
        gathering.place_tables(bound)
        gathering.place_hooks(bound)
    gathering.resolve()
    return gathering.finish()


@dataclass(frozen=True)
class _Open:
    """Uses whose targets may not have a place yet."""

    bound: Bound
    section: parts.Piece
    offset: int
    uses: tuple[Use, ...]


@dataclass
class _Gathering:
    binder: Binder
    sections: dict[str, parts.Piece] = field(default_factory=dict)
    places: dict[str, list[Place]] = field(default_factory=dict)
    shared: dict[str, Place] = field(default_factory=dict)
    strings: dict[bytes, Place] = field(default_factory=dict)
    symbols: list[SymbolSpec] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)
    orc: list[OrcSpec] = field(default_factory=list)
    sites: dict[str, list[Place]] = field(default_factory=dict)
    open: list[_Open] = field(default_factory=list)
    rewritten: list[tuple[Place, int]] = field(default_factory=list)
    callbacks: dict[str, dict[str, CallbackSpec]] = field(default_factory=dict)
    states: list[SystemState] = field(default_factory=list)
    untraced: dict[str, None] = field(default_factory=dict)

    def place(self, bound: Bound) -> None:
        """Give the code and data that an object brings their places."""
        changes = bound.changes
        places = [self._place_piece(bound, piece) for piece in changes.pieces]
        self.places[changes.name] = places
        changed = [f for f in changes.functions if f.status is Status.CHANGED]
        old = {f.patched_name or f.name for f in changed}
        for piece, place in self._pieces(bound):
            self._define(piece, place, old)
        for function in changed:
            self._redirect(bound, function)

    def place_tables(self, bound: Bound) -> None:
        """Bring what special sections say about the code that was placed."""
        tables = {table.section: table for table in bound.changes.tables}
        self._unwind(bound, tables)
        for name in (layout.RETURN_SITES, layout.RETPOLINE_SITES):
            if name in tables:
                self.sites.setdefault(name, []).extend(self._owned(bound, tables[name]))
        for name, table in tables.items():
            if name not in _TOLD:
                self._place_table(bound, table)
            for inside, size in rewritten(table):
                self.rewritten.append((self._inside(bound, inside), size))

    def place_hooks(self, bound: Bound) -> None:
        """Take the callbacks and states that an author declares."""
        for table in bound.changes.hooks:
            data = b"".join(record.data for record in table.records)
            uses = [use for record in table.records for use in record.uses]
            if table.section == parts.STATES:
                self.states += parts.parse_states(data)
                continue
            kind = parts.callback_kind(table.section, len(data), len(uses))
            target = self._target(bound, uses[0])
            own = self.callbacks.setdefault(bound.object, {})
            if kind in own or target is None or not isinstance(target.reference, Place):
                raise BuildError(
                    f"{bound.changes.name}: {kind} of {bound.owner.object} is declared "
                    "twice, or is no function of the fix",
                    codes=("LP-MOD-003",),
                    hint="let one function do all that there is to do",
                )
            own[kind] = CallbackSpec(kind, target.reference)

    def resolve(self) -> None:
        """Let every reference lead to where its target is."""
        for each in self.open:
            for use in each.uses:
                target = self._target(each.bound, use)
                if target is None:
                    continue
                offset = each.offset + use.offset
                addend = use.addend + target.offset
                each.section.uses.append(
                    parts.Use(offset, use.type, target.reference, addend)
                )
                if is_late(target):
                    self._require_left_alone(each, offset, use)

    def _require_left_alone(self, each: _Open, offset: int, use: Use) -> None:
        """What only a module has comes too late for code that is rewritten."""
        place = Place(each.section.name, offset)
        within = any(
            at.section == place.section and at.offset <= offset < at.offset + size
            for at, size in self.rewritten
        )
        if within or each.section.name in MODULE_FREE:
            raise late_refusal(each.bound, place, use.symbol)

    def finish(self) -> Gathered:
        material = Material(
            pieces=list(self.sections.values()),
            symbols=tuple(self.symbols),
            orc=tuple(self.orc),
            states=tuple(self.states),
            return_sites=self._listed(layout.RETURN_SITES),
            retpoline_sites=self._listed(layout.RETPOLINE_SITES),
        )
        notes = tuple(
            f"{owner}: its tracepoints and debug messages stay off while it is "
            "patched, since their switches are in a module"
            for owner in self.untraced
        )
        callbacks = {name: tuple(own.values()) for name, own in self.callbacks.items()}
        return Gathered(material, tuple(self.redirects), callbacks, notes)

    def _listed(self, name: str) -> tuple[Place, ...] | None:
        return tuple(self.sites[name]) if name in self.sites else None

    def _place_piece(self, bound: Bound, piece: Piece) -> Place:
        if piece.kind is PieceKind.STRING and not piece.uses:
            if piece.data not in self.strings:
                section = self._section(_STRINGS, SHF_ALLOC)
                self.strings[piece.data] = _append(section, piece.data, 1)
            return self.strings[piece.data]
        zeroes = piece.size if piece.kind is PieceKind.ZERO else None
        section = self._section(*_laid_out(piece, bound), zeroes=zeroes is not None)
        place = _append(section, piece.data, piece.alignment, zeroes)
        self.open.append(_Open(bound, section, place.offset, piece.uses))
        return place

    def _place_table(self, bound: Bound, table: Table) -> None:
        require_read(bound, table)
        for record in table.records:
            key = key_use(table, record)
            if key is not None and is_late(self._target(bound, key)):
                require_inert(bound, record.owner, table, key)
                self.untraced[record.owner] = None
                continue
            section = self._section(table.section, table.flags & _KEPT_FLAGS)
            place = _append(section, record.data, table.alignment)
            self.open.append(_Open(bound, section, place.offset, record.uses))

    def _section(
        self, name: str, flags: int, object: str = "", *, zeroes: bool = False
    ) -> parts.Piece:
        if name not in self.sections:
            size = 0 if zeroes else None
            self.sections[name] = parts.Piece(
                name, int(flags), bytearray(), 1, size, [], object
            )
        return self.sections[name]

    def _define(self, piece: Piece, place: Place, old: Set[str]) -> None:
        for each in piece.definitions:
            at = Place(place.section, place.offset + each.offset)
            function = each.type == STT_FUNC
            self.symbols.append(SymbolSpec(each.name, at, each.size, function))
            # Other objects go on to use the old one, which leads here.
            if each.binding != STB_LOCAL and each.name not in old:
                self.shared[each.name] = at

    def _redirect(self, bound: Bound, function: FunctionChange) -> None:
        assert function.original is not None
        assert function.piece is not None
        name = function.patched_name or function.name
        piece = bound.changes.pieces[function.piece]
        place = self.places[bound.changes.name][function.piece]
        # What is put in front of a function is no part of it.
        entry = next((d for d in piece.definitions if d.name == name), None)
        offset, size = (entry.offset, entry.size) if entry else (0, piece.size)
        new = SymbolSpec(name, Place(place.section, place.offset + offset), size, True)
        old = self.binder.old_function(bound, function.original)
        self.redirects.append(Redirect(old, new))

    def _unwind(self, bound: Bound, tables: dict[str, Table]) -> None:
        """The unwind entries of the object's code, each function's closed."""
        ends = {
            Place(place.section, place.offset + piece.size)
            for piece, place in self._pieces(bound)
            if piece.kind is PieceKind.CODE
        }
        if layout.ORC in tables and layout.ORC_IP in tables:
            places = self._owned(bound, tables[layout.ORC_IP])
            for record, place in zip(tables[layout.ORC].records, places, strict=True):
                self.orc.append(OrcSpec(place, record.data))
                ends.discard(place)
        by_place = sorted(ends, key=lambda each: (each.section, each.offset))
        self.orc += [OrcSpec(end, NOTHING) for end in by_place]

    def _pieces(self, bound: Bound) -> Iterator[tuple[Piece, Place]]:
        changes = bound.changes
        yield from zip(changes.pieces, self.places[changes.name], strict=True)

    def _owned(self, bound: Bound, table: Table) -> list[Place]:
        """What the records of a table are about: their first field says."""
        places = []
        for record in table.records:
            target = self._target(bound, record.uses[0])
            assert target is not None
            assert isinstance(target.reference, Place)
            place = target.reference
            places.append(Place(place.section, place.offset + record.uses[0].addend))
        return places

    def _target(self, bound: Bound, use: Use) -> Target | None:
        match use.target:
            case Inside() as inside:
                return Target(self._inside(bound, inside))
            case External() as external:
                return self._external(bound, use, external)
            case original:
                return self.binder.original(bound, original)

    def _inside(self, bound: Bound, inside: Inside) -> Place:
        place = self.places[bound.changes.name][inside.piece]
        return Place(place.section, place.offset + inside.offset)

    def _external(self, bound: Bound, use: Use, external: External) -> Target | None:
        """None for what may be missing and is: its address is 0."""
        if external.name in self.shared:
            return Target(self.shared[external.name])
        found = self.binder.external(bound, external)
        if found is None and use.type not in _ABSOLUTE:
            raise BuildError(
                f"{bound.changes.name}: calls {external.name}, which the kernel does "
                "not have",
                codes=("LP-SYM-151",),
                hint="it is weak: guard the call, or leave it out",
            )
        return found


def _laid_out(piece: Piece, bound: Bound) -> tuple[str, int, str]:
    """The section for a piece, its flags, and for what object it is."""
    name, flags = _SECTIONS[piece.kind]
    plain = piece.section.startswith(_PLAIN) and piece.section not in _NOT_PLAIN
    if not plain:
        return piece.section, piece.flags & _KEPT_FLAGS, ""
    # Each module's apart, since its symbols are looked up when it is there.
    return f"{name}.{bound.object}" if bound.object else name, flags, bound.object


def _append(
    section: parts.Piece, data: bytes, alignment: int, zeroes: int | None = None
) -> Place:
    """Where the appended bytes begin."""
    alignment = max(1, alignment)
    section.alignment = max(section.alignment, alignment)
    if section.size is not None:
        start = -(-section.size // alignment) * alignment
        section.size = start + (zeroes or 0)
        return Place(section.name, start)
    fill = _INT3 if section.flags & SHF_EXECINSTR else _ZERO
    section.data += fill * (-len(section.data) % alignment)
    start = len(section.data)
    section.data += data
    return Place(section.name, start)
