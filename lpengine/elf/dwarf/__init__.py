"""DWARF debug information of relocatable objects: types, functions, source lines."""

from lpengine.elf.dwarf.info import DebugInfo
from lpengine.elf.dwarf.lines import LineTable
from lpengine.elf.dwarf.tags import Tag

__all__ = ["DebugInfo", "LineTable", "Tag"]
