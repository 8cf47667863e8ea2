"""What the fields of a unit refer to, by meaning: a place in another unit, a text, or
a name that is defined elsewhere."""

from dataclasses import dataclass

from lpengine.core import decode
from lpengine.diff.object import ObjectFile
from lpengine.diff.sections import SectionKind
from lpengine.diff.units import Role, Unit
from lpengine.elf import Relocation, Section, Symbol
from lpengine.elf.constants import (
    R_X86_64_PC8,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    STB_WEAK,
)

# Offsets of a jump table's entries count from the table's start (gcc and clang, PIC).
_TABLE_RELATIVE = (R_X86_64_PC32, R_X86_64_PLT32)
_FAR_BRANCH = 4


@dataclass(frozen=True, slots=True)
class Reference:
    """One field. `offset` counts from the unit's start.

    Exactly one is given: `unit`, with `place` in it counted from its start; `text`,
    the bytes of a merged string or constant in `section`, with `place` in it; or
    `name`, of a symbol without a place in this object, with `place` behind it.
    `position` counts from the start of the section that it leads to. `shift` is what
    the addend has besides: -4 where a processor counts from the end of a field.
    `is_filled` says that the assembler filled it in, without a relocation.
    """

    offset: int
    type: int
    shift: int
    place: int
    position: int = 0
    unit: Unit | None = None
    text: bytes | None = None
    section: Section | None = None
    name: str = ""
    weak: bool = False
    shown: str = ""
    is_filled: bool = False


class References:
    """The references of each unit of an object, found when they are asked for."""

    def __init__(self, object_: ObjectFile) -> None:
        self.object = object_
        self._known: dict[int, tuple[Reference, ...]] = {}

    def of(self, unit: Unit) -> tuple[Reference, ...]:
        """A unit's references, by offset."""
        found = self._known.get(unit.number)
        if found is None:
            found = self._known[unit.number] = self._find(unit)
        return found

    def of_field(self, record: Relocation, start: int, shift: int) -> Reference:
        """The one of a record that starts at `start` in its section, and has `shift`
        in its addend beside what it refers to."""
        return self._resolve(record, shift, start, None)

    def _find(self, unit: Unit) -> tuple[Reference, ...]:
        records = self.object.relocations_of(unit)
        found = [
            self._resolve(record, shift, unit.start, unit)
            for record, shift in self.object.shifts(unit.section, records)
        ]
        if unit.is_code and len(self.object.units_in(unit.section.index)) > 1:
            found += self._branches(unit, {each.offset for each in found})
            found.sort(key=lambda each: each.offset)
        return tuple(found)

    def _resolve(
        self, record: Relocation, shift: int, start: int, unit: Unit | None
    ) -> Reference:
        symbol = self.object.symbols[record.symbol_index]
        section = self.object.section_of(symbol)
        offset = record.offset - start
        if section is None:
            return self._elsewhere(record, shift, offset, symbol)
        if unit is not None and self._is_table_relative(unit, record, section):
            shift = offset
        position = symbol.value + record.addend - shift
        kind = self.object.kinds[section.index]
        if kind in (SectionKind.STRINGS, SectionKind.MERGED):
            return self._merged(record, shift, offset, section, position)
        named = symbol.value if symbol.name else position
        target = self.object.unit_at(section.index, named)
        if target is None:
            return Reference(
                offset,
                record.type,
                shift,
                position,
                position,
                section=section,
                name=section.name,
                shown=section.name,
            )
        return Reference(
            offset,
            record.type,
            shift,
            position - target.start,
            position,
            unit=target,
            shown=symbol.name or target.name,
        )

    def _elsewhere(
        self, record: Relocation, shift: int, offset: int, symbol: Symbol
    ) -> Reference:
        name = symbol.name or f"*ABS*{symbol.value:+#x}"
        return Reference(
            offset,
            record.type,
            shift,
            record.addend - shift,
            name=name,
            weak=symbol.binding == STB_WEAK,
            shown=name,
        )

    def _is_table_relative(
        self, unit: Unit, record: Relocation, section: Section
    ) -> bool:
        return (
            unit.role is Role.ANONYMOUS
            and unit.kind in (SectionKind.CONSTANT, SectionKind.BOOT_DATA)
            and record.type in _TABLE_RELATIVE
            and section.executable
        )

    def _merged(
        self,
        record: Relocation,
        shift: int,
        offset: int,
        section: Section,
        position: int,
    ) -> Reference:
        data = self.object.data(section)
        if self.object.kinds[section.index] is SectionKind.STRINGS:
            width = max(section.entry_size, 1)
            text, place = _string(data, position, width), 0
        else:
            width = max(section.entry_size, 1)
            first = position - position % width
            text, place = data[max(first, 0) : first + width], position - first
        return Reference(
            offset,
            record.type,
            shift,
            place,
            position,
            text=text,
            section=section,
            shown=shown_text(text),
        )

    def _branches(self, unit: Unit, filled: set[int]) -> list[Reference]:
        """Jumps and calls out of the unit, to others of its section: assemblers
        resolve those themselves."""
        code = self.object.bytes_of(unit)
        found = []
        for each in decode(code):
            field = each.offset + each.immediate_at
            if not each.is_relative or field in filled:
                continue
            raw = code[field : field + each.immediate_size]
            to = unit.start + each.end + int.from_bytes(raw, "little", signed=True)
            target = self.object.unit_at(unit.section.index, to)
            if target is None or unit.start <= to < unit.end:
                continue
            far = each.immediate_size == _FAR_BRANCH
            found.append(
                Reference(
                    field,
                    R_X86_64_PC32 if far else R_X86_64_PC8,
                    field - each.end,
                    to - target.start,
                    to,
                    unit=target,
                    shown=target.name,
                    is_filled=True,
                )
            )
        return found


def is_call(code: bytes, reference: Reference) -> bool:
    """Whether a field of this code is the distance of a jump or call, and not an
    address that is taken."""
    if reference.type not in (*_TABLE_RELATIVE, R_X86_64_PC8):
        return False
    before = code[max(reference.offset - 2, 0) : reference.offset]
    near = before[-1:] in (b"\xe8", b"\xe9")
    conditional = before[:1] == b"\x0f" and b"\x80" <= before[1:2] <= b"\x8f"
    return near or conditional or reference.type == R_X86_64_PC8


def _string(data: bytes, start: int, width: int) -> bytes:
    """From a place in a section of strings to the end of that string, its NUL
    included."""
    if not 0 <= start < len(data):
        return b""
    if width == 1:
        end = data.find(b"\0", start)
        return data[start:] if end < 0 else data[start : end + 1]
    for at in range(start, len(data), width):
        if not any(data[at : at + width]):
            return data[start : at + width]
    return data[start:]


def shown_text(text: bytes) -> str:
    """A string as a listing shows it; constants as hexadecimal."""
    if text.endswith(b"\0") and text[:-1].isascii():
        return repr(text[:-1].decode("ascii"))
    return "0x" + text[::-1].hex()
