"""Proves that an object is the one a running image was linked from, and finds out
where the linker put its parts.

Every function is compared byte for byte, without the fields that the linker filled
in; what it put there says where each thing that the function refers to lies. So the
right one of many statics of one name is known by its address.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from lpengine.arch import x86
from lpengine.elf import Image, Relocation, Section, Symbol
from lpengine.elf.constants import (
    R_X86_64_PC32,
    R_X86_64_PLT32,
    SHF_MERGE,
    SHF_STRINGS,
    STB_GLOBAL,
    STB_WEAK,
    STT_SECTION,
)
from lpengine.errors import ElfError
from lpengine.patch.relaxed import WIDTHS, Field, align

_RELATIVE = (R_X86_64_PC32, R_X86_64_PLT32)
# What nearly always follows the field of a reference relative to the next
# instruction.
_USUAL_DISTANCE = 4
_ADDRESSES = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Spot:
    """A symbol of the running image. `size` is 0 and `file` "" where unknown.
    `is_strong` says that it took the place of all weak ones of its name."""

    address: int
    size: int = 0
    file: str = ""
    is_strong: bool = False


class Running(Protocol):
    """The image that runs, or its file."""

    @property
    def path(self) -> str: ...

    def named(self, name: str) -> Sequence[Spot]:
        """All symbols of that name."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the image as linked. ElfError where there are none."""


class Kind(StrEnum):
    """How a function differs from that of the running image. Another TEXT, such as
    the date of the build, is no other code."""

    ABSENT = "absent"
    SIZE = "size"
    CODE = "code"
    REFERENCE = "reference"
    CONSTANT = "constant"
    TEXT = "text"
    LAYOUT = "layout"


@dataclass(frozen=True, slots=True)
class Difference:
    """`evidence` says what was seen where, in one phrase."""

    object: str
    function: str
    kind: Kind
    evidence: str


@dataclass(frozen=True)
class Proof:
    """What came out for one object: its functions that are in the image, by symbol
    index, what differs, and where its sections went. `overridden` are the names of
    weak functions of which another object has the one that is used."""

    object: Image
    functions: Mapping[int, int]
    differences: tuple[Difference, ...]
    bases: Mapping[int, int]
    running: Running = field(repr=False)
    overridden: frozenset[str] = frozenset()

    @property
    def is_linked(self) -> bool:
        """Whether the image has it: any of its functions, if it has functions."""
        return bool(self.functions) or not self.differences

    @property
    def disproved(self) -> tuple[Difference, ...]:
        """The differences that say that the image was linked from something else."""
        return tuple(each for each in self.differences if each.kind is not Kind.TEXT)

    def locate(self, section: str, offset: int, symbol_index: int = 0) -> int | None:
        """Where a place of the object is in the image: `offset` into `section`, which
        is what the symbol names, if there is one. None where that is not certain."""
        symbol = self.object.symbols[symbol_index] if symbol_index else None
        if symbol is not None and symbol.binding == STB_WEAK:
            # The one that is used may be another object's.
            return self._by_name(symbol)
        if symbol is not None and symbol.in_section:
            index = symbol.section_index
        else:
            found = self.object.section(section)
            index = found.index if found else 0
        base = self.bases.get(index)
        if base is not None:
            return base + offset
        return self._by_name(symbol) if symbol is not None else None

    def _by_name(self, symbol: Symbol) -> int | None:
        """Of what no proved function refers to: the only one that it can be."""
        spots = _of_file(self.running.named(symbol.name), symbol)
        fitting = {each.address for each in spots if each.size in (0, symbol.size)}
        return fitting.pop() if len(fitting) == 1 else None


def prove(name: str, raw: Image, running: Running) -> Proof:
    """Hold the object `raw`, called `name` in messages, against the image."""
    return _Prover(name, raw, running).prove()


@dataclass
class _Trial:
    """A function at one place of the image: sections that would lie at these
    addresses, unless `difference` says why it cannot be."""

    address: int
    bases: dict[int, int] = field(default_factory=dict)
    kind: Kind | None = None
    evidence: str = ""

    def fail(self, kind: Kind, evidence: str) -> "_Trial":
        self.kind, self.evidence = kind, evidence
        return self

    @property
    def fits(self) -> bool:
        return self.kind in (None, Kind.TEXT)


class _Prover:
    def __init__(self, name: str, raw: Image, running: Running) -> None:
        self._name = name
        self._image = raw
        self._running = running
        self._symbols = tuple(raw.symbols)
        self._bases: dict[int, int] = {}
        self._functions: dict[int, int] = {}
        self._overridden: set[str] = set()
        self._relocations: dict[int, tuple[Relocation, ...]] = {}
        self._data: dict[int, bytes] = {}

    def prove(self) -> Proof:
        differences: list[Difference] = []
        doubtful: list[tuple[Symbol, list[_Trial]]] = []
        for symbol in self._symbols:
            if not self._is_code(symbol):
                continue
            spots = self._spots(symbol)
            trials = [self._try(symbol, spot) for spot in spots]
            fitting = [trial for trial in trials if trial.fits]
            if len({trial.address for trial in fitting}) == 1:
                self._accept(symbol, fitting[0])
            elif fitting:
                doubtful.append((symbol, fitting))
            # Of a weak function another object may have the one that is used.
            overridden = symbol.binding == STB_WEAK and not fitting
            if overridden and any(spot.is_strong for spot in spots):
                self._overridden.add(symbol.name)
            if all(trial.kind for trial in trials) and not overridden:
                differences.append(self._difference(symbol, fitting or trials))
        self._follow_data()
        for symbol, trials in doubtful:
            self._decide(symbol, trials)
        return Proof(
            self._image,
            self._functions,
            tuple(differences),
            self._bases,
            self._running,
            frozenset(self._overridden),
        )

    def _is_code(self, symbol: Symbol) -> bool:
        if not (symbol.is_function and symbol.in_section and symbol.size):
            return False
        section = self._image.sections[symbol.section_index]
        return section.allocated and section.executable

    def _spots(self, symbol: Symbol) -> Sequence[Spot]:
        return _of_file(self._running.named(symbol.name), symbol)

    def _accept(self, symbol: Symbol, trial: _Trial) -> None:
        self._functions[symbol.index] = trial.address
        self._bases[symbol.section_index] = trial.address - symbol.value
        for section, base in trial.bases.items():
            self._bases.setdefault(section, base)

    def _decide(self, symbol: Symbol, trials: Sequence[_Trial]) -> None:
        """Of several functions that are alike, the one that others refer to."""
        known = self._bases.get(symbol.section_index)
        for trial in trials:
            if known is not None and known + symbol.value == trial.address:
                self._accept(symbol, trial)

    def _difference(self, symbol: Symbol, trials: Sequence[_Trial]) -> Difference:
        if not trials:
            what = "the image has no function of that name"
            return Difference(self._name, symbol.name, Kind.ABSENT, what)
        worst = trials[0]
        assert worst.kind is not None
        return Difference(self._name, symbol.name, worst.kind, worst.evidence)

    def _try(self, symbol: Symbol, spot: Spot) -> _Trial:
        trial = _Trial(spot.address)
        start = symbol.value
        ours = self._section_data(symbol.section_index)[start : start + symbol.size]
        try:
            theirs = self._running.read(spot.address, spot.size or symbol.size)
        except ElfError:
            return trial.fail(Kind.ABSENT, f"nothing at {spot.address:#x}")
        fields = self._fields(symbol, ours, theirs)
        if fields is None:
            if len(ours) != len(theirs):
                evidence = f"{len(ours)} bytes, in the image {len(theirs)}"
                return trial.fail(Kind.SIZE, evidence)
            return trial.fail(Kind.CODE, self._shown(symbol, ours, theirs))
        for each in fields:
            self._refer(trial, each, theirs)
            if not trial.fits:
                break
        return trial

    def _fields(
        self, symbol: Symbol, ours: bytes, theirs: bytes
    ) -> Sequence[Field] | None:
        """Where the image's code has what ours refers to; None where the code is not
        the same."""
        records = tuple(self._records(symbol))
        start = symbol.value
        if _masked(ours, records, start) == _masked(theirs, records, start):
            return [Field(each, each.offset - start) for each in records]
        return align(ours, theirs, records, start)

    def _shown(self, symbol: Symbol, ours: bytes, theirs: bytes) -> str:
        records, start = tuple(self._records(symbol)), symbol.value
        masked = _masked(ours, records, start), _masked(theirs, records, start)
        return _shown(masked[0], masked[1], start)

    def _records(self, symbol: Symbol) -> Iterator[Relocation]:
        end = symbol.value + symbol.size
        for record in self._section_relocations(symbol.section_index):
            if symbol.value <= record.offset < end:
                yield record

    def _follow_data(self) -> None:
        """Learn from data, too, where things are: a table of handlers tells which of
        many functions that are alike are its own."""
        for symbol in self._symbols:
            if symbol.in_section and symbol.binding == STB_GLOBAL and symbol.name:
                spots = self._running.named(symbol.name)
                if len(spots) == 1 and not self._is_merged(symbol.section_index):
                    base = spots[0].address - symbol.value
                    self._bases.setdefault(symbol.section_index, base)
        followed: set[int] = set()
        while waiting := self._bases.keys() - followed:
            for index in sorted(waiting):
                self._follow(index)
            followed |= waiting

    def _follow(self, index: int) -> None:
        section = self._image.sections[index]
        if section.executable or section.zero_filled:
            return
        for record in self._section_relocations(index):
            symbol = self._symbols[record.symbol_index]
            place = self._bases[index] + record.offset
            if not symbol.in_section or symbol.binding == STB_WEAK:
                continue
            if self._is_merged(symbol.section_index):
                continue
            try:
                linked = self._running.read(place, WIDTHS.get(record.type, 0))
            except ElfError:
                continue
            address = _referred(record, place, linked)
            if address is not None:
                base = address - symbol.value
                self._bases.setdefault(symbol.section_index, base)

    def _is_merged(self, index: int) -> bool:
        return bool(self._image.sections[index].flags & SHF_MERGE)

    def _refer(self, trial: _Trial, field: Field, linked: bytes) -> None:
        """What a field's value says of the symbol that it refers to."""
        record, at = field.record, field.at
        width = WIDTHS.get(record.type, 0)
        address = _referred(record, trial.address + at, linked[at : at + width])
        if field.target is not None:
            # From the end of the instruction, as the processor counts.
            distance = record.addend + WIDTHS[R_X86_64_PC32]
            address = (trial.address + field.target - distance) & _ADDRESSES
        if address is None:
            return
        symbol = self._symbols[record.symbol_index]
        if not symbol.in_section or symbol.binding == STB_WEAK:
            self._refer_by_name(trial, symbol, address)
            return
        section = self._image.sections[symbol.section_index]
        if section.flags & SHF_MERGE:
            self._refer_merged(trial, symbol, section, address, record)
            return
        base = address - symbol.value
        known = trial.bases.setdefault(
            section.index, self._bases.get(section.index, base)
        )
        if known != base:
            trial.fail(
                Kind.REFERENCE,
                f"{symbol.name or section.name} at {address:#x}, elsewhere at "
                f"{known + symbol.value:#x}",
            )
        elif symbol.name and not symbol.is_local:
            self._refer_by_name(trial, symbol, address)

    def _refer_by_name(self, trial: _Trial, symbol: Symbol, address: int) -> None:
        spots = self._running.named(symbol.name)
        if all(spot.address != address for spot in spots):
            trial.fail(
                Kind.REFERENCE, f"{symbol.name}, where the image has {address:#x}"
            )

    def _refer_merged(
        self,
        trial: _Trial,
        symbol: Symbol,
        section: Section,
        address: int,
        record: Relocation,
    ) -> None:
        """Strings and constants that the linker merged with their equals: each has
        a place of its own, so that only what is there can be compared."""
        start = symbol.value
        if symbol.type == STT_SECTION:
            moved = record.addend + _USUAL_DISTANCE * (record.type in _RELATIVE)
            start, address = start + moved, address + moved
        data = self._section_data(section.index)
        kind, end = Kind.CONSTANT, start + max(1, section.entry_size)
        if section.flags & SHF_STRINGS and section.entry_size == 1:
            kind, end = Kind.TEXT, data.find(b"\0", start) + 1
        wanted = data[start:end]
        try:
            found = self._running.read(address, len(wanted))
        except ElfError:
            found = b""
        if found != wanted:
            trial.fail(kind, f"{_text(wanted)}, where the image has {_text(found)}")

    def _section_data(self, index: int) -> bytes:
        if index not in self._data:
            section = self._image.sections[index]
            self._data[index] = self._image.section_data(section)
        return self._data[index]

    def _section_relocations(self, index: int) -> tuple[Relocation, ...]:
        if index not in self._relocations:
            section = self._image.sections[index]
            self._relocations[index] = self._image.relocations(section)
        return self._relocations[index]


def _of_file(spots: Sequence[Spot], symbol: Symbol) -> Sequence[Spot]:
    """Of those symbols the ones that a static of that file can be."""
    if not symbol.is_local or not symbol.file:
        return spots
    same = [spot for spot in spots if spot.file == symbol.file]
    return same or [spot for spot in spots if not spot.file]


def _masked(code: bytes, records: Sequence[Relocation], start: int) -> bytes:
    """The code without what a linker fills in."""
    masked = bytearray(code)
    for each in records:
        at, width = each.offset - start, WIDTHS.get(each.type, 4)
        masked[at : at + width] = bytes(len(masked[at : at + width]))
    return bytes(masked)


def _referred(record: Relocation, place: int, linked: bytes) -> int | None:
    """The address of the symbol of a record whose field the linker filled in. None
    for fields that do not tell."""
    if len(linked) != WIDTHS.get(record.type):
        return None
    value = int.from_bytes(linked, "little", signed=True)
    if record.type in _RELATIVE:
        value += place
    return (value - record.addend) & _ADDRESSES


def _shown(ours: bytes, theirs: bytes, address: int) -> str:
    """The first instruction that differs, of both."""
    at = next(n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    texts = []
    for code in (ours, theirs):
        found = x86.disassemble(code, address)
        texts += [i.text for i in found if i.address <= address + at < i.end] or ["?"]
    return f"at +{at:#x} {texts[0]}, in the image {texts[1]}"


def _text(data: bytes) -> str:
    return ascii(data.rstrip(b"\0").decode(errors="replace"))


class LinkedFile:
    """A linked ELF file with symbols, as what runs."""

    def __init__(self, image: Image) -> None:
        self.path = image.path
        self._image = image
        self._spots: dict[str, list[Spot]] = defaultdict(list)
        for symbol in image.symbols:
            if symbol.name and (symbol.in_section or symbol.is_absolute):
                strong = symbol.binding == STB_GLOBAL
                spot = Spot(symbol.value, symbol.size, symbol.file, strong)
                self._spots[symbol.name].append(spot)

    def named(self, name: str) -> Sequence[Spot]:
        return self._spots.get(name, ())

    def read(self, address: int, size: int) -> bytes:
        return self._image.read(address, size)
