"""Debug information of relocatable objects, DWARF or BTF: types, functions, source
lines."""

from lpengine.elf.dwarf.btf import BtfInfo
from lpengine.elf.dwarf.info import DebugInfo, TypeInfo
from lpengine.elf.dwarf.lines import LineTable
from lpengine.elf.dwarf.tags import Tag

__all__ = ["BtfInfo", "DebugInfo", "LineTable", "Tag", "TypeInfo"]
