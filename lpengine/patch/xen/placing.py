"""Where Xen would put a payload's sections, relative to the start of its memory."""

from dataclasses import dataclass

from lpengine.patch.xen.payload_file import FileSection, PayloadFile
from lpengine.patch.xen.violations import Violations

_PAGE = 4096
# All of Xen's own mappings lie in 1 GiB, and payloads have to lie there as well.
_MEMORY_MAX = 1 << 30


@dataclass(frozen=True)
class Placing:
    """Offsets of loaded sections by index: code first, then writable data, then
    read-only data, each region on pages of its own."""

    offsets: dict[int, int]
    text_size: int
    size: int

    def at(self, section: int, offset: int) -> int:
        return self.offsets[section] + offset


def place_sections(file: PayloadFile, violations: Violations) -> Placing:
    """common/livepatch.c, move_payload."""
    regions: tuple[list[FileSection], ...] = ([], [], [])
    for section in file.sections:
        if not section.allocated:
            continue
        if section.writable and section.executable:
            violations.refuse(
                "writable-and-executable",
                section.label,
                "writable and executable",
                "one of the two",
            )
        regions[0 if section.executable else 1 if section.writable else 2].append(
            section
        )
    offsets: dict[int, int] = {}
    start = text_size = end = 0
    for number, region in enumerate(regions):
        end = _place(region, start, offsets)
        text_size = end if number == 0 else text_size
        start = _round_up(end, _PAGE)
    if end > _MEMORY_MAX:
        violations.refuse(
            "out-of-memory",
            "loaded sections",
            f"{end} bytes",
            f"at most {_MEMORY_MAX} near the hypervisor",
        )
    return Placing(offsets, text_size, end)


def _place(region: list[FileSection], start: int, offsets: dict[int, int]) -> int:
    end = 0
    for section in region:
        # Alignment 0 would reset Xen's own count (defect zero-alignment).
        end = _round_up(end, section.raw.alignment or 1)
        offsets[section.index] = start + end
        end += section.size
    return start + end


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
