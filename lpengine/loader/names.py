"""Names and addresses on a machine: the image's symbols, then loaded patches'."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from lpengine.elf import Symbol
from lpengine.elf.constants import STT_FUNC, STT_OBJECT
from lpengine.loader.stack import Loaded, LoadedSymbol
from lpengine.machine.base import MappedImage
from lpengine.planner.facts import Span


@dataclass(frozen=True)
class Place:
    """A symbol on the machine. `owner` is "" for the image, else the patch."""

    name: str
    address: int
    size: int
    is_function: bool
    is_data: bool
    owner: str = ""


@dataclass(frozen=True)
class Names:
    """Looks names and addresses up the way Xen does: the image first, then what
    the loaded patches brought, in load order."""

    image: MappedImage
    loaded: tuple[Loaded, ...] = ()

    def all(self, name: str) -> tuple[Place, ...]:
        """Every place of that name, the one that Xen finds first."""
        own = (
            self._place(symbol)
            for symbol in self.image.image.symbols.xen_named(name)
            if not symbol.is_undefined
        )
        found = sorted((place for place in own if place.address), key=_address)
        return (*found, *self._brought.get(name, ()))

    def find(self, name: str) -> Place | None:
        """What Xen's symbols_lookup_by_name and livepatch_symbols_lookup_by_name
        find together."""
        return next(iter(self.all(name)), None) if name else None

    def at(self, address: int) -> tuple[Place, int] | None:
        """The symbol that covers an address, and the offset into it."""
        for patch in self.loaded:
            if patch.start <= address < patch.start + patch.size:
                return _nearest(patch, address)
        if not self.image.bias <= address < 1 << 64:
            return None
        found = self.image.image.symbols.at(address - self.image.bias)
        if found is None:
            return None
        symbol, offset = found
        return self._place(symbol), offset

    def starting_at(self, address: int) -> tuple[Place, ...]:
        """Every symbol that starts at an address, the image's aliases included."""
        own = self._starts.get(address - self.image.bias, ())
        brought = (
            _from_patch(patch, symbol)
            for patch in self.loaded
            for symbol in patch.symbols
            if symbol.address == address
        )
        return (*(self._place(symbol) for symbol in own), *brought)

    @cached_property
    def _starts(self) -> dict[int, list[Symbol]]:
        starts: dict[int, list[Symbol]] = {}
        for symbol in self.image.image.symbols:
            if not symbol.is_undefined and symbol.type <= STT_FUNC:
                starts.setdefault(symbol.value, []).append(symbol)
        return starts

    def end_of(self, address: int) -> int | None:
        """Where the code at an address ends at the latest: the next symbol or the
        end of its section. None where nothing of the image or of a patch is."""
        for patch in self.loaded:
            if patch.start <= address < patch.start + patch.size:
                later = (s.address for s in patch.symbols if s.address > address)
                return min(later, default=patch.text.end)
        within = address - self.image.bias
        for section in self.image.image.sections:
            end = section.address + section.size
            if section.allocated and section.address <= within < end:
                after = self.image.image.symbols.next_after(within)
                end = end if after is None else min(end, after)
                return end + self.image.bias
        return None

    def describe(self, address: int) -> str:
        """ "name+0x12", "name" at its start, or the bare address."""
        found = self.at(address)
        if found is None:
            return f"{address:#x}"
        place, offset = found
        owner = f" [{place.owner}]" if place.owner else ""
        return f"{place.name}+{offset:#x}{owner}" if offset else place.name + owner

    def is_init(self, address: int) -> bool:
        """Whether that is gone once the image has booted."""
        return any(address in span for span in self.init_spans)

    @cached_property
    def init_spans(self) -> tuple[Span, ...]:
        """[_sinittext, _einittext) and the .init sections, in order and disjoint."""
        bias = self.image.bias
        spans = [
            Span(section.address + bias, section.address + section.size + bias)
            for section in self.image.image.sections
            if section.allocated and section.name.startswith(".init.")
        ]
        bounds = [self.find(name) for name in ("_sinittext", "_einittext")]
        if bounds[0] and bounds[1]:
            spans.append(Span(bounds[0].address, bounds[1].address))
        return tuple(_join(spans))

    @cached_property
    def text(self) -> Span:
        """[_stext, _etext), else from the first to the last executable section."""
        bounds = [self.find(name) for name in ("_stext", "_etext")]
        if bounds[0] and bounds[1]:
            return Span(bounds[0].address, bounds[1].address)
        code = [s for s in self.image.image.sections if s.executable and s.allocated]
        if not code:
            return Span(0, 0)
        bias = self.image.bias
        return Span(
            min(s.address for s in code) + bias,
            max(s.address + s.size for s in code) + bias,
        )

    def _place(self, symbol: Symbol) -> Place:
        return Place(
            symbol.qualified_name,
            symbol.value + self.image.bias,
            symbol.size,
            symbol.is_function,
            symbol.type == STT_OBJECT,
        )

    @cached_property
    def _brought(self) -> dict[str, list[Place]]:
        brought: dict[str, list[Place]] = {}
        for patch in self.loaded:
            for symbol in patch.symbols:
                if symbol.new:
                    place = _from_patch(patch, symbol)
                    brought.setdefault(symbol.name, []).append(place)
        return brought


def _join(spans: list[Span]) -> Iterator[Span]:
    last = Span(0, 0)
    for span in sorted(spans, key=lambda each: (each.start, each.end)):
        if span.start <= last.end:
            last = Span(last.start, max(last.end, span.end))
        else:
            yield from (last,) if last.end else ()
            last = span
    yield from (last,) if last.end else ()


def _address(place: Place) -> int:
    return place.address


def _from_patch(patch: Loaded, symbol: LoadedSymbol) -> Place:
    return Place(
        symbol.name,
        symbol.address,
        symbol.size,
        symbol.is_function,
        not (patch.text.start <= symbol.address < patch.text.end),
        patch.name,
    )


def _nearest(patch: Loaded, address: int) -> tuple[Place, int] | None:
    """As Xen's livepatch_symbols_lookup: the nearest symbol at or below."""
    below = [symbol for symbol in patch.symbols if symbol.address <= address]
    if not below:
        return None
    best = max(below, key=lambda symbol: symbol.address)
    return _from_patch(patch, best), address - best.address
