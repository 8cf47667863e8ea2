"""Lays a module's sections out in memory: code, writable data, constants.

Xen 4.17, move_payload: three regions in this order, each on pages of its own, and
within a region the sections in file order at their alignment.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lpengine.loader.refusing import refusal
from lpengine.machine.base import Machine, Protection
from lpengine.patch.xen.payload_file import FileSection, PayloadFile

PAGE = 4096

_CODE = Protection.READ | Protection.EXECUTE
_DATA = Protection.READ | Protection.WRITE
_CONSTANTS = Protection.READ


@dataclass(frozen=True)
class Region:
    """Pages of one protection, composed in `data` before they are written."""

    start: int
    data: bytearray
    protection: Protection

    @property
    def end(self) -> int:
        return self.start + len(self.data)


@dataclass(frozen=True)
class Placement:
    """Where everything is. `addresses` maps section indexes; `text_size` is the
    code region's size before rounding to pages."""

    start: int
    size: int
    text_size: int
    regions: tuple[Region, ...]
    addresses: Mapping[int, int]

    def view(self, address: int, size: int) -> memoryview | None:
        """Those bytes of the module, writable; None where they are not its own."""
        for region in self.regions:
            if region.start <= address and address + size <= region.end:
                first = address - region.start
                return memoryview(region.data)[first : first + size]
        return None

    def read(self, machine: Machine, address: int, size: int) -> bytes:
        """Bytes of the module, or of the machine where they are not the module's."""
        own = self.view(address, size)
        return machine.read(address, size) if own is None else bytes(own)


def place(module: PayloadFile, machine: Machine, name: str) -> Placement:
    """Allocates the module's pages and copies its sections. `TargetError` for a
    section that is writable and executable, or where memory is short."""
    placed = [s for s in module.sections[1:] if s.allocated]
    for section in placed:
        if section.writable and section.executable:
            raise refusal(
                "writable-and-executable",
                f"{name}: section {section.name} is writable and executable",
            )
    chosen: tuple[tuple[Protection, Callable[[FileSection], bool]], ...] = (
        (_CODE, lambda section: section.executable),
        (_DATA, lambda section: section.writable),
        (_CONSTANTS, lambda section: not section.executable and not section.writable),
    )
    layouts = [
        (protection, *_lay_out([s for s in placed if belongs(s)]))
        for protection, belongs in chosen
    ]
    size = sum(_round_up(used, PAGE) for _, used, _ in layouts)
    if not size:
        raise refusal("out-of-memory", f"{name}: no section of it is to be loaded")
    return _fill(module, machine.allocate(size), size, layouts)


def _lay_out(sections: list[FileSection]) -> tuple[int, list[tuple[FileSection, int]]]:
    used = 0
    offsets = []
    for section in sections:
        used = _round_up(used, max(section.raw.alignment, 1))
        offsets.append((section, used))
        used += section.size
    return used, offsets


def _fill(
    module: PayloadFile,
    start: int,
    size: int,
    layouts: list[tuple[Protection, int, list[tuple[FileSection, int]]]],
) -> Placement:
    regions = []
    addresses: dict[int, int] = {}
    position = start
    for protection, used, offsets in layouts:
        data = bytearray(_round_up(used, PAGE))
        for section, offset in offsets:
            addresses[section.index] = position + offset
            if not section.zero_filled:
                content = module.contents(section, 0, section.size)
                data[offset : offset + len(content)] = content
        regions.append(Region(position, data, protection))
        position += len(data)
    return Placement(start, size, layouts[0][1], tuple(regions), addresses)


def commit(placement: Placement, machine: Machine) -> None:
    """Writes the composed regions and protects them (Xen, secure_payload)."""
    for region in placement.regions:
        if region.data:
            machine.write(region.start, bytes(region.data))
            machine.protect(region.start, len(region.data), region.protection)


def _round_up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment
