"""The running Xen as the files in its symbol package show it: names, addresses and
the bytes of its code, which Xen itself lets nobody read."""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from lpengine.arch.x86 import nops, starts_with_endbr
from lpengine.elf import Image, open_image
from lpengine.errors import LpengineError
from lpengine.loader.names import Names
from lpengine.machine.base import MappedImage
from lpengine.patch.model import FunctionPatch, Patch
from lpengine.patch.xen.layout import ALTERNATIVE as RECORD
from lpengine.planner.facts import CodeFact, ImageFacts, Span, SymbolFact
from lpengine.planner.situation import UNPLACED

SYMBOLS_VARIABLE = "LPENGINE_XEN_SYMS"
SYSFS = Path("/sys/hypervisor")
# xen/arch/x86/include/asm/config.h: XEN_VIRT_START and its end.
PATCH_AREA_END = 0xFFFF82D080000000
_XEN_TEXT = Span(0xFFFF82D040000000, PATCH_AREA_END)
_BUILD_ID_SIZE = 20
_CODE_MAX = 64 << 10
# Two sizes of a byte each.
_ALTERNATIVE_MAX = 2 * 255
_ENDBR_SIZE = 4
_JUMP = b"\xe9" + bytes(4)


def read_build_id(sysfs: Path = SYSFS) -> str:
    """The running image's build id as hex, "" where sysfs does not have it. Linux
    6.1 shows the bytes themselves, up to the first zero: then it is cut."""
    try:
        raw = (sysfs / "properties/buildid").read_bytes()
    except OSError:
        return ""
    text = raw.strip()
    if len(text) == 2 * _BUILD_ID_SIZE and not text.strip(b"0123456789abcdef"):
        return text.decode()
    return raw.hex() if len(raw) == _BUILD_ID_SIZE else ""


def read_version(sysfs: Path = SYSFS) -> str:
    """ "4.17.7"; "" where sysfs does not have it. A live patch may have changed what
    comes behind the second number."""
    try:
        parts = [
            (sysfs / "version" / part).read_text().strip()
            for part in ("major", "minor")
        ]
        extra = (sysfs / "version/extra").read_text().strip()
    except OSError:
        return ""
    return ".".join(parts) + (extra if extra.startswith((".", "-")) else "")


def read_compiled(sysfs: Path = SYSFS) -> str:
    """ "gcc (Debian 12.2.0-14) 12.2.0, by root@debian, Tue Nov 12 …"."""
    try:
        compiler, by, date = (
            (sysfs / "compilation" / part).read_text().strip()
            for part in ("compiler", "compiled_by", "compile_date")
        )
    except OSError:
        return ""
    return f"{compiler}, by {by}, {date}"


def find_symbols(build_id: str) -> Image | None:
    """The first image with that build id of those that may have it."""
    for path in candidates():
        try:
            image = open_image(path)
        except (LpengineError, OSError):
            continue
        if image.build_id == build_id:
            return image
    return None


def candidates() -> Iterator[Path]:
    """Where xen-syms may be, most likely ones first."""
    chosen = os.environ.get(SYMBOLS_VARIABLE)
    if chosen:
        yield Path(chosen)
    yield from sorted(
        path
        for pattern in ("usr/lib/debug/boot/xen-syms-*", "boot/xen-syms-*")
        for path in Path("/").glob(pattern)
        if path.suffix != ".map"
    )
    named = os.environ.get("LPENGINE_CACHE")
    cache = Path(named) if named else Path.home() / ".cache/lpengine"
    # Packages unpacked there, by the lab or one by one.
    for place in ("lab/*", "*"):
        found = cache.glob(f"{place}/usr/lib/debug/boot/xen-syms-*")
        yield from sorted(path for path in found if path.suffix != ".map")


def missing_symbols(build_id: str, version: str) -> str:
    """What to do where `find_symbols` finds nothing."""
    release = ".".join(version.split(".")[:2]) or "4.17"
    return (
        f"install xen-hypervisor-{release}-amd64-dbg of the running build, or name its"
        f" xen-syms (build id {build_id or 'unknown'}) in {SYMBOLS_VARIABLE}"
    )


class RunningImage:
    """What a symbol file says of the running image. Xen's own code is linked where
    it runs, so that addresses need no correction."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.names = Names(MappedImage(image, 0))

    def facts(self, build_id: str, version: str, boot: str) -> ImageFacts:
        return ImageFacts(
            build_id=build_id,
            version=version,
            text=self.names.text,
            init=self.names.init_spans,
            patch_area=self.patch_area,
            patch_area_free=self.patch_area.end - self.patch_area.start,
            boot=boot,
        )

    @cached_property
    def patch_area(self) -> Span:
        """Xen, arch_livepatch_init."""
        end = self.names.find("__2M_rwdata_end")
        return Span(end.address if end else _XEN_TEXT.start, PATCH_AREA_END)

    def symbols(
        self, names: Iterable[str], kept: Iterable[Patch]
    ) -> dict[str, tuple[SymbolFact, ...]]:
        """Those of the image, and those that loaded patches brought; Xen does not
        say where the latter are."""
        brought = [(s, patch.name) for patch in kept for s in patch.new_symbols]
        found = {}
        for name in names:
            own = tuple(
                SymbolFact(
                    name,
                    place.address,
                    place.size,
                    place.is_function,
                    self.names.is_init(place.address),
                )
                for place in self.names.all(name)
            )
            others = tuple(
                SymbolFact(name, UNPLACED, symbol.size, True, owner=owner)
                for symbol, owner in brought
                if symbol.name == name
            )
            if own or others:
                found[name] = (*own, *others)
        return found

    def address_of(self, record: FunctionPatch) -> int:
        """Where a record's old function is; 0 where the image does not have it."""
        if not record.wanted:
            return record.old_address
        place = self.names.find(record.wanted)
        return place.address if place else 0

    def span_of(self, record: FunctionPatch) -> Span | None:
        address = self.address_of(record)
        return Span(address, address + record.old_size) if address else None

    def code(
        self, patches: Iterable[Patch], applied: Iterable[Patch]
    ) -> dict[int, CodeFact]:
        """The functions that `patches` redirect, with what `applied` have done to
        them, bottom first."""
        stack = tuple(applied)
        addresses = {self.address_of(f) for patch in patches for f in patch.functions}
        facts = {at: self._code_at(at, stack) for at in sorted(addresses - {0})}
        return {at: fact for at, fact in facts.items() if fact is not None}

    def _code_at(self, address: int, applied: tuple[Patch, ...]) -> CodeFact | None:
        found, end = self.names.at(address), self.names.end_of(address)
        if found is None or end is None:
            return None
        place, _ = found
        size = min(end - place.address, _CODE_MAX)
        try:
            shipped = bytes(self.image.read(place.address, size))
        except LpengineError:
            return None
        live, owners, unknown = bytearray(shipped), [], []
        for patch in applied:
            for record in patch.functions:
                if self.address_of(record) == address:
                    owners.append(patch.name)
                    hidden = _redirect(live, record, address - place.address)
                    unknown += [place.address + offset for offset in hidden]
        return CodeFact(
            place.address,
            place.name,
            place.size,
            bytes(live),
            shipped,
            tuple(owners),
            (*self._unsure(place.address, shipped), *_spans(unknown)),
        )

    def _unsure(self, address: int, shipped: bytes) -> tuple[Span, ...]:
        """What Xen may have rewritten of a function: alternatives, and an endbr64
        that it poisons where nothing may jump to."""
        found = list(self.alternatives(address, address + len(shipped)))
        if starts_with_endbr(shipped):
            found.insert(0, Span(address, address + _ENDBR_SIZE))
        return tuple(found)

    def alternatives(self, start: int, end: int) -> tuple[Span, ...]:
        """The places in [start, end) that Xen changes while it boots
        (alternative.c)."""
        places = self._alternatives
        # One that begins before may reach inside; none is longer than that.
        at = bisect_left(places, (start - _ALTERNATIVE_MAX, 0))
        until = bisect_left(places, (end, 0))
        return tuple(Span(*each) for each in places[at:until] if start < each[1])

    @cached_property
    def _alternatives(self) -> list[tuple[int, int]]:
        """Start and end of each, sorted: there are tens of thousands."""
        bounds = [self.names.find(f"__alt_instructions{end}") for end in ("", "_end")]
        start, end = (place.address if place else 0 for place in bounds)
        try:
            table = bytes(self.image.read(start, max(0, end - start)))
        except LpengineError:
            return []
        whole = len(table) // RECORD.size * RECORD.size
        bases = range(start, start + whole, RECORD.size)
        records = zip(bases, RECORD.iter_unpack(table[:whole]), strict=True)
        return sorted(
            (base + offset, base + offset + size + padding)
            for base, (offset, _, _, size, _, padding, _) in records
        )


def _redirect(live: bytearray, record: FunctionPatch, at: int) -> range:
    """As Xen's arch_livepatch_apply writes it, but for the distance of the jump,
    which only Xen knows: where that is."""
    start = at + (_ENDBR_SIZE if starts_with_endbr(bytes(live[at:])) else 0)
    if record.is_nop:
        code = nops(max(0, at + record.new_size - start))
        live[start : start + len(code)] = code
        return range(0)
    live[start : start + len(_JUMP)] = _JUMP
    return range(start + 1, start + len(_JUMP))


def _spans(addresses: Iterable[int]) -> Iterator[Span]:
    """What lies together, together."""
    start = end = 0
    for address in sorted(set(addresses)):
        if address != end and end:
            yield Span(start, end)
        start = start if address == end and end else address
        end = address + 1
    if end:
        yield Span(start, end)
