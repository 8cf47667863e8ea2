"""One ELF file as a value."""

import mmap
import stat
from bisect import bisect_right
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from lpengine.elf.constants import (
    NT_GNU_BUILD_ID,
    PT_LOAD,
    PT_NOTE,
    SHN_UNDEF,
    SHT_DYNSYM,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_NULL,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
    SHT_SYMTAB_SHNDX,
)
from lpengine.elf.headers import (
    Header,
    Section,
    Segment,
    read_header,
    read_sections,
    read_segments,
)
from lpengine.elf.layout import RELA, SYMBOL, Data, Relocation
from lpengine.elf.notes import Note, parse_notes
from lpengine.elf.symbols import SymbolTable
from lpengine.errors import ElfError, NotFoundError, NotPermittedError

# Larger files are mapped. Smaller ones are read, so that a file which is
# overwritten in place later cannot take the process down with SIGBUS.
_MAPPED_FROM = 64 << 20
_ZEROES_MAX = 1 << 30

_RELOCATIONS = frozenset({SHT_RELA, SHT_REL})

_NO_SYMBOLS = Section(0, "", SHT_NULL, 0, 0, 0, 0, 0, 0, 0, 0)


class Image:
    """An ELF64 x86-64 file: relocatable, executable, shared or core.

    Headers are checked when it is made; symbols, relocations and notes when they
    are first asked for. Everything raises ElfError where the file is damaged.
    """

    def __init__(self, data: Data, path: str = "<memory>") -> None:
        self.path = path
        self.data = data
        self.header: Header = read_header(data, path)
        self.sections: tuple[Section, ...] = read_sections(data, self.header, path)
        self.segments: tuple[Segment, ...] = read_segments(data, self.header, path)

    def __repr__(self) -> str:
        return f"<Image {self.path}>"

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return self._by_name.get(name)

    def section_data(self, section: Section) -> bytes:
        """A section's bytes, zeroes for one that takes none in the file; more than
        1 GiB of zeroes are refused."""
        if section.type == SHT_NULL:
            return b""
        if section.type == SHT_NOBITS:
            return self._zeroes(section.size, section.offset)
        return self.data[section.offset : section.offset + section.size]

    def relocations(self, section: Section) -> tuple[Relocation, ...]:
        """What a relocation section holds or, for any other section, the
        relocations that apply to it."""
        if section.type in _RELOCATIONS:
            return self._records(section)
        tables = self._relocating.get(section.index, ())
        return tuple(record for each in tables for record in self._records(each))

    @cached_property
    def notes(self) -> tuple[Note, ...]:
        """All notes: of the note sections or, without sections, the note
        segments."""
        return tuple(
            note
            for name, offset, size, alignment in self._note_areas()
            for note in parse_notes(
                self._file_bytes(offset, size),
                alignment,
                section=name,
                path=self.path,
                offset=offset,
            )
        )

    @cached_property
    def build_id(self) -> str:
        """The GNU build id in lowercase hex, "" where there is none."""
        for note in self.notes:
            if note.owner == "GNU" and note.type == NT_GNU_BUILD_ID:
                return note.description.hex()
        return ""

    @cached_property
    def symbols(self) -> SymbolTable:
        """The symbol table, or the dynamic one of a stripped file, or an empty
        one."""
        for kind in (SHT_SYMTAB, SHT_DYNSYM):
            for section in self.sections:
                if section.type == kind:
                    return self.symbol_table(section)
        return SymbolTable(self.data, self.path, _NO_SYMBOLS, _NO_SYMBOLS)

    def symbol_table(self, section: Section) -> SymbolTable:
        """The symbols of one symbol table section, such as the one that a
        relocation section's `link` names."""
        if section.type not in (SHT_SYMTAB, SHT_DYNSYM):
            raise ElfError(
                self.path,
                section.offset,
                f"section {section.index} is not a symbol table",
            )
        strings = self.sections[section.link]
        extended = next(
            (
                each
                for each in self.sections
                if each.type == SHT_SYMTAB_SHNDX and each.link == section.index
            ),
            None,
        )
        return SymbolTable(self.data, self.path, section, strings, extended)

    def read(self, address: int, size: int) -> bytes:
        """Bytes as they are in memory right after loading, by the PT_LOAD
        segments. ElfError where the range is not wholly inside them."""
        pieces = []
        while size > 0:
            segment = self._segment_at(address, size)
            count = min(size, segment.end - address)
            pieces.append(self._segment_bytes(segment, address, count))
            address, size = address + count, size - count
        return b"".join(pieces)

    @property
    def size_in_memory(self) -> int:
        """Bytes from the first to the last loaded one; 0 for a relocatable file."""
        loaded = self._loaded
        return loaded[-1].end - loaded[0].virtual_address if loaded else 0

    @cached_property
    def _by_name(self) -> dict[str, Section]:
        return {each.name: each for each in reversed(self.sections[1:])}

    @cached_property
    def _relocating(self) -> dict[int, list[Section]]:
        """The relocation sections of each section."""
        tables: dict[int, list[Section]] = {}
        for each in self.sections:
            if each.type in _RELOCATIONS and each.info != SHN_UNDEF:
                tables.setdefault(each.info, []).append(each)
        return tables

    @cached_property
    def _loaded(self) -> tuple[Segment, ...]:
        """What PT_LOAD puts into memory, by address. gABI wants it in order, which
        Linux's own per-CPU segment at 0 is not."""
        loaded = [
            each
            for each in self.segments
            if each.type == PT_LOAD and each.memory_size > 0
        ]
        loaded.sort(key=lambda each: each.virtual_address)
        for below, above in pairwise(loaded):
            if above.virtual_address < below.end:
                raise ElfError(
                    self.path,
                    above.offset,
                    f"segments {below.index} and {above.index} overlap in memory",
                )
        return tuple(loaded)

    @cached_property
    def _starts(self) -> list[int]:
        return [each.virtual_address for each in self._loaded]

    def _segment_at(self, address: int, size: int) -> Segment:
        place = bisect_right(self._starts, address) - 1
        if place >= 0 and address < self._loaded[place].end:
            return self._loaded[place]
        raise ElfError(
            self.path,
            self.header.program_header_offset,
            f"no loaded segment holds {size} bytes at {address:#x}",
        )

    def _segment_bytes(self, segment: Segment, address: int, size: int) -> bytes:
        start = address - segment.virtual_address
        filled = max(0, min(size, segment.file_size - start))
        stored = self._file_bytes(segment.offset + start, filled) if filled else b""
        return stored + self._zeroes(size - filled, segment.offset)

    def _file_bytes(self, offset: int, size: int) -> bytes:
        if size and offset + size > len(self.data):
            raise ElfError(
                self.path, offset, f"{size:#x} bytes end behind the end of the file"
            )
        return self.data[offset : offset + size]

    def _zeroes(self, size: int, offset: int) -> bytes:
        if size > _ZEROES_MAX:
            raise ElfError(self.path, offset, f"{size:#x} bytes of zeroes asked for")
        return bytes(size)

    def _note_areas(self) -> list[tuple[str, int, int, int]]:
        """Name, offset, size and alignment of each run of notes."""
        if self.sections:
            return [
                (each.name, each.offset, each.size, each.alignment)
                for each in self.sections
                if each.type == SHT_NOTE
            ]
        return [
            ("", each.offset, each.file_size, each.alignment)
            for each in self.segments
            if each.type == PT_NOTE
        ]

    def _records(self, section: Section) -> tuple[Relocation, ...]:
        if section.type == SHT_REL:
            raise ElfError(
                self.path,
                section.offset,
                "relocations without addends (SHT_REL); x86-64 has only SHT_RELA",
            )
        records = tuple(
            Relocation._make(fields)
            for fields in RELA.iter_unpack(self.section_data(section))
        )
        linked = self.sections[section.link] if section.link != SHN_UNDEF else None
        count = linked.size // SYMBOL.size if linked else 1
        highest = max((each.symbol_index for each in records), default=0)
        if highest >= count:
            raise ElfError(
                self.path,
                section.offset,
                f"relocation for symbol {highest} of a table of {count}",
            )
        return records


def parse_image(
    data: bytes | bytearray | memoryview | mmap.mmap, path: str = "<memory>"
) -> Image:
    """An ELF file that is in memory already; `path` is what errors call it."""
    if isinstance(data, bytes | mmap.mmap):
        return Image(data, path)
    return Image(bytes(data), path)


def open_image(path: Path | str) -> Image:
    """An ELF file on disk. NotFoundError or NotPermittedError where it cannot be
    opened, ElfError where it is not what is needed."""
    path = Path(path)
    try:
        # Before it is opened: opening a pipe would wait for a writer.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ElfError(str(path), 0, "not a regular file")
        with path.open("rb") as file:
            if status.st_size < _MAPPED_FROM:
                return Image(file.read(), str(path))
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return Image(data, str(path))
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file") from error
    except PermissionError as error:
        raise NotPermittedError(f"{path}: may not be read") from error
