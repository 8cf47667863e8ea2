"""ELF files as values: read any ELF64 x86-64 file, write relocatable ones."""

from lpengine.elf.headers import Header, Section, Segment
from lpengine.elf.image import Image, open_image, parse_image
from lpengine.elf.layout import Relocation
from lpengine.elf.notes import Note, parse_notes
from lpengine.elf.symbols import Symbol, SymbolTable
from lpengine.elf.writer import ObjectWriter

__all__ = [
    "Header",
    "Image",
    "Note",
    "ObjectWriter",
    "Relocation",
    "Section",
    "Segment",
    "Symbol",
    "SymbolTable",
    "open_image",
    "parse_image",
    "parse_notes",
]
