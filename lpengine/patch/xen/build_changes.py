"""Makes Xen payloads of what differs between two builds of a hypervisor's objects."""

from collections.abc import Sequence
from dataclasses import dataclass

from lpengine.diff.changes import (
    External,
    Inside,
    ObjectChanges,
    Original,
    Piece,
    PieceKind,
    Status,
    Table,
    Use,
)
from lpengine.elf import Image
from lpengine.elf.constants import (
    R_X86_64_64,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    SHF_EXECINSTR,
    SHF_WRITE,
    STB_LOCAL,
    STT_FUNC,
    RelocationType,
)
from lpengine.errors import BuildError
from lpengine.patch.built import Built
from lpengine.patch.proof import Proof
from lpengine.patch.xen.build_image import TargetImage
from lpengine.patch.xen.build_material import Material, Merge
from lpengine.patch.xen.compose import Composer, Modinfo, Redirect
from lpengine.patch.xen.spec import Place, RelocationSpec, SymbolSpec

_ACCEPTED = (R_X86_64_64, R_X86_64_PC32, R_X86_64_PLT32)
_NOP = b"\x90"
_SECTIONS = {
    PieceKind.CONSTANT: ".rodata",
    PieceKind.STRING: ".rodata",
    PieceKind.DATA: ".data",
    PieceKind.ZERO: ".bss",
}


@dataclass(frozen=True)
class Bound:
    """What changed in one object, and where its original is in the image; a new
    object has none."""

    changes: ObjectChanges
    proof: Proof | None


def build_changes(
    objects: Sequence[Bound],
    image: Image,
    *,
    name: str,
    depends: str = "",
    modinfo: Modinfo = (),
) -> Built:
    """A payload of all changed objects, in their order. Raises BuildError with the
    codes of what cannot be found in the image or redirected there."""
    target = TargetImage(image)
    gathering = _Gathering(target)
    for each in objects:
        gathering.place(each)
    gathering.link()
    redirects = sorted(gathering.redirects, key=lambda each: each.old.address)
    functions = (("functions", " ".join(each.old.name for each in redirects)),)
    composer = Composer(target, name, depends, (*modinfo, *functions))
    return composer.compose(gathering.material(), redirects)


@dataclass(frozen=True)
class _Part:
    """What stands at one place of the payload, while its references are open."""

    owner: Bound
    place: Place
    uses: tuple[Use, ...]


class _Gathering:
    """Lays the pieces of several objects out in sections and links them."""

    def __init__(self, target: TargetImage) -> None:
        self._target = target
        self._merges: dict[str, Merge] = {}
        self._parts: list[_Part] = []
        self._places: dict[str, list[Place]] = {}
        self._strings: dict[bytes, Place] = {}
        self._globals: dict[str, Place] = {}
        self._symbols: list[SymbolSpec] = []
        self.redirects: list[Redirect] = []

    def place(self, bound: Bound) -> None:
        """Give everything that an object brings its place in the payload."""
        changes = bound.changes
        places = [self._place_piece(piece) for piece in changes.pieces]
        self._places[changes.name] = places
        for piece, place in zip(changes.pieces, places, strict=True):
            self._parts.append(_Part(bound, place, piece.uses))
            self._define(piece, place)
        for table in changes.tables:
            self._place_table(bound, table, table.flags)
        for hooks in changes.hooks:
            # Writable, they would forbid applying again.
            self._place_table(bound, hooks, 0)
        self._redirect(bound, places)

    def link(self) -> None:
        """Refer from every part to where its targets have their places."""
        for part in self._parts:
            merge = self._merges[part.place.section]
            for use in part.uses:
                merge.relocations.append(
                    RelocationSpec(
                        part.place.offset + use.offset,
                        _accepted(use, part.owner.changes),
                        self._target_of(use, part.owner),
                        use.addend,
                    )
                )

    def material(self) -> Material:
        for merge in self._merges.values():
            if merge.executable and not merge.size:
                # Xen takes no references into a section of no size.
                merge.append(_NOP, len(_NOP), 1)
        sections = tuple(merge.finish() for merge in self._merges.values())
        return Material(sections, tuple(self._symbols))

    def _place_piece(self, piece: Piece) -> Place:
        if piece.kind is PieceKind.STRING and not piece.uses:
            if piece.data not in self._strings:
                self._strings[piece.data] = self._append_piece(piece)
            return self._strings[piece.data]
        return self._append_piece(piece)

    def _place_table(self, bound: Bound, table: Table, flags: int) -> None:
        for record in table.records:
            place = self._append(table.section, flags, record.data, table.alignment)
            self._parts.append(_Part(bound, place, record.uses))

    def _append_piece(self, piece: Piece) -> Place:
        if piece.kind is PieceKind.CODE:
            plain = piece.section.startswith(".text")
            name, flags = ".text" if plain else piece.section, SHF_EXECINSTR
        else:
            name = _SECTIONS[piece.kind]
            flags = 0 if name == ".rodata" else SHF_WRITE
        zero = piece.kind is PieceKind.ZERO
        return self._append(
            name, flags, piece.data, piece.alignment, piece.size if zero else None
        )

    def _append(
        self,
        name: str,
        flags: int,
        data: bytes,
        alignment: int,
        zeroes: int | None = None,
    ) -> Place:
        merge = self._merges.get(name)
        if merge is None:
            merge = Merge(
                name,
                writable=bool(flags & SHF_WRITE),
                executable=bool(flags & SHF_EXECINSTR),
                zero_filled=zeroes is not None,
            )
            self._merges[name] = merge
        size = len(data) if zeroes is None else zeroes
        return Place(name, merge.append(data, size, max(1, alignment)))

    def _define(self, piece: Piece, place: Place) -> None:
        for each in piece.definitions:
            at = Place(place.section, place.offset + each.offset)
            if each.type == STT_FUNC:
                self._symbols.append(
                    SymbolSpec(each.name, at, each.size, function=True, local=True)
                )
            if each.binding != STB_LOCAL:
                self._globals[each.name] = at

    def _redirect(self, bound: Bound, places: Sequence[Place]) -> None:
        for function in bound.changes.functions:
            if function.status is not Status.CHANGED:
                continue
            assert function.original is not None
            assert function.piece is not None
            old = self._target.function_at(
                _address(function.original, bound), function.name
            )
            start, piece = places[function.piece], bound.changes.pieces[function.piece]
            place = Place(start.section, start.offset + function.entry)
            size = piece.size - function.entry
            new = SymbolSpec(old.name, place, size, function=True, local=True)
            self.redirects.append(Redirect(old, new))

    def _target_of(self, use: Use, owner: Bound) -> str | Place | int:
        match use.target:
            case Inside(piece, offset):
                place = self._places[owner.changes.name][piece]
                return Place(place.section, place.offset + offset)
            case Original() as original:
                return self._target.reference_to(
                    _address(original, owner), original.name
                )
            case External(name, weak):
                return self._external(name, weak)

    def _external(self, name: str, weak: bool) -> str | Place | int:
        """Something of the image, or new and global in another object of the fix."""
        if self._target.has(name):
            return name
        if name in self._globals:
            return self._globals[name]
        if weak:
            return 0
        raise BuildError(
            f"the image has no symbol {name!r}, which the fix uses",
            codes=("LP-SYM-151",),
            hint="was that object linked into the image, and is it in the fix?",
        )


def _address(original: Original, owner: Bound) -> int:
    address = None
    if owner.proof is not None:
        address = owner.proof.locate(
            original.section, original.offset, original.symbol_index
        )
    if address is None:
        raise BuildError(
            f"{owner.changes.name}: where {original.name} is in the image is not "
            "certain",
            codes=("LP-SYM-152",),
            hint="no function of the image that was proved refers to it",
        )
    return address


def _accepted(use: Use, changes: ObjectChanges) -> int:
    if use.type in _ACCEPTED:
        return use.type
    raise BuildError(
        f"{changes.name}: {RelocationType(use.type).name} for {use.symbol}, which Xen "
        "cannot relocate",
        codes=("LP-MOD-005",),
        hint="compile with -fPIC and hidden visibility, as Xen is",
    )
