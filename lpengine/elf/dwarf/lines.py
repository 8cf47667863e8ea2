"""Which source line the code of an object is from."""

from bisect import bisect_right
from collections import defaultdict
from functools import cached_property

from lpengine.core.dwarf import IN_LINE_STRINGS, IN_STRINGS
from lpengine.core.dwarf_lines import LineRow, dwarf_lines
from lpengine.elf.dwarf.sections import debug_section
from lpengine.elf.image import Image


class LineTable:
    """The line table of a relocatable object, by section and offset.

    InputError, when it is made, where that is damaged or of an unknown kind.
    """

    def __init__(self, image: Image) -> None:
        self._image = image
        self._data = bytes(debug_section(image, ".debug_line"))
        self._rows, self._files = dwarf_lines(self._data)
        self._sections = self._bases()

    def __bool__(self) -> bool:
        return bool(self._rows)

    def at(self, section_index: int, offset: int) -> tuple[str, int] | None:
        """The source file, as far as it has a name, and the line of a byte."""
        row = self._row(section_index, offset)
        if row is None or row.ends:
            return None
        return self._names.get((row.program, row.file), ""), row.line

    def file(self, number: int) -> str:
        """The name of a source file by its number in the first program, which is the
        only one of an object that one compiler made."""
        return self._names.get((0, number), "")

    def _row(self, section_index: int, offset: int) -> LineRow | None:
        rows = self._by_section.get(section_index, [])
        at = bisect_right(rows, offset, key=lambda row: row.address) - 1
        return rows[at] if at >= 0 else None

    def _bases(self) -> dict[int, int]:
        """The section that each place in .debug_line with an address is about."""
        section = self._image.section(".debug_line")
        if section is None:
            return {}
        symbols = self._image.symbols
        return {
            record.offset: symbols[record.symbol_index].section_index
            for record in self._image.relocations(section)
        }

    @cached_property
    def _by_section(self) -> dict[int, list[LineRow]]:
        found: dict[int, list[LineRow]] = defaultdict(list)
        for row in self._rows:
            section = self._sections.get(row.base)
            if section is not None:
                found[section].append(row)
        for rows in found.values():
            rows.sort(key=lambda row: (row.address, -row.ends))
        return found

    @cached_property
    def _names(self) -> dict[tuple[int, int], str]:
        return {
            (file.program, file.number): self._text(file.name_in, file.name_at)
            for file in self._files
        }

    def _text(self, section: int, offset: int) -> str:
        data = self._strings.get(section, self._data)
        end = data.find(b"\0", offset)
        if not 0 <= offset < len(data) or end < 0:
            return ""
        return data[offset:end].decode("utf-8", "backslashreplace")

    @cached_property
    def _strings(self) -> dict[int, bytes]:
        return {
            IN_STRINGS: bytes(debug_section(self._image, ".debug_str")),
            IN_LINE_STRINGS: bytes(debug_section(self._image, ".debug_line_str")),
        }
