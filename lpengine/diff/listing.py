"""Functions as lines of assembly, one build beside the other."""

import re
from bisect import bisect_left
from collections.abc import Sequence

from lpengine.arch.x86 import Instruction, disassemble
from lpengine.core import decode
from lpengine.diff.align import aligned
from lpengine.diff.changes import Code, Line, Row
from lpengine.diff.references import Reference, References
from lpengine.diff.shape import masked
from lpengine.diff.units import Unit

NOTHING = Line(-1, b"", "")

_EMPTY_RIP = re.compile(r"\[rip(?: [+-] 0x[0-9a-f]+)?\]")
_WIDE = 1
_FIELD, _WIDE_FIELD = 4, 8


def code_of(side: References, unit: Unit) -> Code:
    """A function's bytes and what its fields are called."""
    names = tuple(
        (each.offset, field_size(each), _shown(each)) for each in side.of(unit)
    )
    return Code(masked(side, unit), names)


def field_size(reference: Reference) -> int:
    """How many bytes a reference fills in."""
    if reference.type in (1, 24):  # R_X86_64_64, R_X86_64_PC64
        return _WIDE_FIELD
    if reference.type in (12, 13):  # R_X86_64_16, R_X86_64_PC16
        return 2
    return _WIDE if reference.type in (14, 15) else _FIELD


def lines(code: Code) -> list[Line]:
    """One line an instruction."""
    return [_line(code, each.offset, each.end) for each in decode(code.data)]


def rows(before: Code | None, after: Code | None) -> tuple[Row, ...]:
    """Two builds of a function beside each other."""
    left = lines(before) if before else []
    right = lines(after) if after else []
    return tuple(_rows(left, right))


def first_row(before: Code, after: Code, places: tuple[int, int]) -> Row:
    """The lines at two offsets; an empty one for an offset that is none."""
    return Row(_line_at(before, places[0]), _line_at(after, places[1]), same=False)


def _rows(left: Sequence[Line], right: Sequence[Line]) -> list[Row]:
    found: list[Row] = []
    at = other = 0
    pairs = aligned([_token(each) for each in left], [_token(each) for each in right])
    for one, two in [*pairs, (len(left), len(right))]:
        for step in range(max(one - at, two - other)):
            before = left[at + step] if at + step < one else NOTHING
            after = right[other + step] if other + step < two else NOTHING
            found.append(Row(before, after, same=False))
        if one < len(left):
            found.append(Row(left[one], right[two], same=True))
        at, other = one + 1, two + 1
    return found


def _token(line: Line) -> str:
    """What is alike in lines that mean the same: distances are not."""
    mnemonic, _, operands = line.text.partition(" ")
    return mnemonic if operands.startswith("0x") else line.text


def _line(code: Code, start: int, end: int) -> Line:
    """The instruction between two offsets."""
    raw = code.data[start:end]
    found = disassemble(raw, start)
    first = bisect_left(code.names, (start, 0, ""))
    last = bisect_left(code.names, (end, 0, ""))
    names = [name for _, _, name in code.names[first:last]]
    if len(found) != 1 or found[0].end != end:
        return Line(start, raw, f".byte {raw.hex(' ')}")
    return Line(start, raw, _text(found[0], names))


def _text(each: Instruction, names: Sequence[str]) -> str:
    if not names:
        return each.text
    if each.target is not None:
        return f"{each.mnemonic} {names[0]}"
    shown = f"[rip + {names[0]}]"
    text, count = _EMPTY_RIP.subn(lambda _: shown, each.text, count=1)
    rest = names[1:] if count else names
    return f"{text}  <{', '.join(rest)}>" if rest else text


def _line_at(code: Code, offset: int) -> Line:
    """The instruction that holds a byte."""
    if not 0 <= offset < len(code.data):
        return NOTHING
    decoded = decode(code.data)
    found = decoded[decoded.index_of(offset)]
    return _line(code, found.offset, found.end)


def _shown(reference: Reference) -> str:
    unit = reference.unit
    place = reference.place - (unit.entry if unit else 0)
    if reference.text is not None:
        place = 0
    return f"{reference.shown}{place:+#x}" if place else reference.shown
