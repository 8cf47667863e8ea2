"""Tells a source line that moved from a number that changed.

Compilers leave `__LINE__` in immediates, in texts and in records. A difference
counts as a moved line only on evidence: the patch itself where it is at hand, else
the line tables of both builds, else the company it keeps (the same call gets the
name of a source file or of the function), else that it moved exactly as far as lines
beside it that are known to be lines.
"""

import re
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from lpengine.diff.instructions import ends, immediate, is_call, loads_constant
from lpengine.diff.linemap import LineMap
from lpengine.diff.names import is_function_name
from lpengine.diff.references import Reference, References
from lpengine.diff.shape import Instructions
from lpengine.diff.tables import TableRecord
from lpengine.diff.units import Unit

# The source line of an offset into a unit: file name and line.
LineTable: TypeAlias = Callable[[Unit, int], tuple[str, int] | None]

# A line of the original and the same in the patched build.
Pair: TypeAlias = tuple[int, int]

_SOURCE = r"\.(?:c|h|S|cc|cpp|hpp|inc)"
_SOURCE_NAME = re.compile(rf"[\w./+-]+{_SOURCE}".encode())
_LINE_IN_TEXT = re.compile(
    rf"({_SOURCE}\b[\"']?\s*(?:[:(,]|at)?\s*(?:line\s+)?)(\d+)".encode()
)
_NUMBER = re.compile(rb"\d+")

# How far before and behind an immediate the rest of its call's arguments may be.
_NEIGHBOURS = 24
# How far a macro's line may be from the line that the table has for its code.
_NEARBY = 64
_POINTERS_BEFORE_LINE = (8, 16)


@dataclass(frozen=True, slots=True)
class Side:
    """A function of one of the builds, while its instructions are compared."""

    references: References
    unit: Unit
    code: Instructions


class Lines:
    """What is known of lines in two builds of one object."""

    def __init__(
        self,
        line_map: LineMap | None = None,
        old_table: LineTable | None = None,
        new_table: LineTable | None = None,
    ) -> None:
        self._map = line_map
        self._old_table = old_table
        self._new_table = new_table
        self._in_function: dict[tuple[int, str], list[Pair]] = defaultdict(list)
        self._in_file: dict[str, list[Pair]] = defaultdict(list)
        self._by_function: dict[tuple[int, int], dict[str, set[Pair]]] = {}

    def explain_text(self, old: bytes, new: bytes) -> bool:
        """Whether two texts differ only in the lines they name."""
        if self._map is not None:
            return self._mapped_text(self._map, old, new)
        numbers = _LINE_IN_TEXT.findall(old)
        others = _LINE_IN_TEXT.findall(new)
        blank_old = _LINE_IN_TEXT.sub(rb"\1#", old)
        blank_new = _LINE_IN_TEXT.sub(rb"\1#", new)
        return bool(numbers) and len(numbers) == len(others) and blank_old == blank_new

    def explain_word(self, before: list[Reference], at: int) -> bool:
        """Whether the 32-bit word at an offset of a variable is a line: it follows
        the address of a source file's name."""
        return any(
            at - reference.offset in _POINTERS_BEFORE_LINE and _source(reference)
            for reference in before
        )

    def note_records(self, old: list[TableRecord], new: list[TableRecord]) -> None:
        """Lines of the same frames: what else moved in their file fits to them."""
        if len(old) != len(new):
            return
        for one, two in zip(old, new, strict=True):
            if one.owner and one.line and two.line and one.section == two.section:
                file = next(filter(None, map(_source, one.references)), "")
                self._note(one.owner, file, (one.line, two.line))

    def _note(self, unit: Unit, file: str, pair: Pair) -> None:
        self._in_function[unit.number, file].append(pair)
        if file:
            insort(self._in_file[file], pair)

    def explain_immediate(self, old: Side, new: Side, index: int, other: int) -> bool:
        """Whether the immediates of the `index`-th instruction and the `other`-th of
        the patched build are one line."""
        before, after = old.code, new.code
        values = immediate(before, index), immediate(after, other)
        if not loads_constant(before.decoded[index]) or min(values) <= 0:
            return False
        company = _company(old, index)
        if not self._has_evidence(old, new, values, company):
            return False
        file = next(filter(None, company), "")
        known = self._in_function[old.unit.number, file]
        if any(not _in_order(pair, values) for pair in known):
            return False
        self._note(old.unit, file, values)
        return True

    def _has_evidence(
        self,
        old: Side,
        new: Side,
        values: Pair,
        company: list[str],
    ) -> bool:
        before, after = values
        if self._map is not None:
            name = next((text for text in company if text), "")
            lines = self._map.of(name) if name else None
            if lines is not None:
                return lines.moved(before) == after
            return self._map.moves(before, after)
        tabled = self._by_tables(old, new, values)
        if tabled is not None:
            return tabled
        return bool(company) or self._moved_alike(old, values)

    def _moved_alike(self, side: Side, values: Pair) -> bool:
        """Whether lines next to this one, of a source file that the function names,
        moved just as far."""
        before, after = values
        for file in {_source(each) for each in side.references.of(side.unit)} - {""}:
            known = self._in_file.get(file, [])
            at = bisect_left(known, values)
            beside = known[max(at - 1, 0) : at + 1]
            if any(two - one == after - before for one, two in beside):
                return True
        return False

    def _by_tables(self, old: Side, new: Side, values: Pair) -> bool | None:
        """Whether the lines nearest to this one, of those that the function's code is
        from, moved just as far; None where there are none near."""
        before, after = values
        known = self._tabled(old, new)
        near = {
            file: min(pairs, key=lambda pair: abs(pair[0] - before))
            for file, pairs in known.items()
        }
        close = [pair for pair in near.values() if abs(pair[0] - before) <= _NEARBY]
        if not close:
            return None
        return any(two - one == after - before for one, two in close)

    def _tabled(self, old: Side, new: Side) -> dict[str, set[Pair]]:
        """The lines of a function's instructions in both builds, by source file."""
        if self._old_table is None or self._new_table is None:
            return {}
        key = old.unit.number, new.unit.number
        found = self._by_function.get(key)
        if found is None:
            found = self._by_function[key] = defaultdict(set)
            places = zip(old.code.significant, new.code.significant, strict=False)
            for index, other in places:
                one = self._old_table(old.unit, old.code.decoded[index].offset)
                two = self._new_table(new.unit, new.code.decoded[other].offset)
                if one is not None and two is not None and one[0] == two[0]:
                    found[one[0]].add((one[1], two[1]))
        return found

    def _mapped_text(self, line_map: LineMap, old: bytes, new: bytes) -> bool:
        if _NUMBER.sub(b"#", old) != _NUMBER.sub(b"#", new):
            return False
        pairs = zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)
        return all(a == b or line_map.moves(int(a), int(b)) for a, b in pairs)


def _company(side: Side, index: int) -> list[str]:
    """The source files and functions whose names go into the same call as an
    immediate; "" stands for a function's name."""
    code, functions = side.code, side.references.object.function_names
    path = _way_to_call(code, index)
    if not path:
        return []
    start = index
    while start > max(0, index - _NEIGHBOURS) and not _parts(code, start - 1):
        start -= 1
    found = []
    places = (*range(start, index), *path)
    for reference in (r for at in places for r in code.fields_at(at)):
        if _source(reference):
            found.append(_source(reference))
        elif _names_function(reference, functions):
            found.append("")
    return found


def _way_to_call(code: Instructions, index: int) -> list[int]:
    """The instructions from one to the next call, along jumps that are always taken:
    calls that never return are made once for many places. Empty where none comes."""
    way = [index]
    at = index + 1
    for _ in range(_NEIGHBOURS):
        if not 0 <= at < len(code):
            break
        if is_call(code, at):
            return way
        way.append(at)
        if ends(code.decoded[at]):
            target = code.target(at)
            following = None if target is None else code.decoded.begins_at(target)
            if following is None:
                break
            at = following
        else:
            at += 1
    return []


def _parts(code: Instructions, index: int) -> bool:
    """Whether what is in front of an instruction belongs to something else."""
    return is_call(code, index) or ends(code.decoded[index])


def _names_function(reference: Reference, functions: frozenset[str]) -> bool:
    if is_function_name(reference.shown.rpartition(".L")[2]):
        return True
    text = reference.text
    return text is not None and text[:-1].decode(errors="replace") in functions


def _source(reference: Reference) -> str:
    """The name of a source file that a field leads to, or ""."""
    if reference.text is None or not _SOURCE_NAME.fullmatch(reference.text[:-1]):
        return ""
    return reference.text[:-1].decode()


def _in_order(known: Pair, found: Pair) -> bool:
    """Lines do not overtake each other inside of one function."""
    before, after = found[0] - known[0], found[1] - known[1]
    return before * after > 0 or before == after == 0
