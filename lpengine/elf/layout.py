"""The records of an ELF64 little-endian file, decoded one at a time.

Every function takes the whole file and an offset into it, and raises ElfError
where the record does not lie inside; none of them judges what a record says.
Readers with rules of their own (a hypervisor's, say) build on these.
"""

import mmap
from struct import Struct
from typing import NamedTuple, TypeAlias

from lpengine.elf.constants import (
    EM_X86_64,
    Machine,
)
from lpengine.errors import ElfError

Data: TypeAlias = bytes | mmap.mmap

MAGIC = b"\x7fELF"
HEADER = Struct("<16sHHIQQQIHHHHHH")
SECTION_HEADER = Struct("<IIQQQQIIQQ")
PROGRAM_HEADER = Struct("<IIQQQQQQ")
SYMBOL = Struct("<IBBHQQ")
RELA = Struct("<QIIq")
NOTE_HEADER = Struct("<III")
WORD = Struct("<I")

_CLASS_64 = 2
_LITTLE_ENDIAN = 1
_CURRENT = 1
_CLASSES = {1: "32-bit", _CLASS_64: "64-bit"}


class RawHeader(NamedTuple):
    """Elf64_Ehdr."""

    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    program_header_offset: int
    section_header_offset: int
    flags: int
    header_size: int
    program_header_size: int
    program_header_count: int
    section_header_size: int
    section_header_count: int
    section_name_index: int


class RawSection(NamedTuple):
    """Elf64_Shdr. `name` is an offset into the section name table."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class RawSegment(NamedTuple):
    """Elf64_Phdr."""

    type: int
    flags: int
    offset: int
    virtual_address: int
    physical_address: int
    file_size: int
    memory_size: int
    alignment: int


class RawSymbol(NamedTuple):
    """Elf64_Sym. `name` is an offset into the linked string table."""

    name: int
    info: int
    other: int
    section_index: int
    value: int
    size: int

    @property
    def binding(self) -> int:
        return self.info >> 4

    @property
    def type(self) -> int:
        return self.info & 0xF

    @property
    def visibility(self) -> int:
        return self.other & 0x3


class Relocation(NamedTuple):
    """Elf64_Rela: at `offset` into the section, a field of `type` is filled from
    symbol `symbol_index` of the linked table plus `addend`.

    In linked files `offset` is an address.
    """

    offset: int
    type: int
    symbol_index: int
    addend: int


def decode_header(data: Data, path: str = "<memory>") -> RawHeader:
    """The file header of an ELF64 little-endian x86-64 file; anything else is an
    ElfError that says what it is and what is needed."""
    if data[:4] != MAGIC:
        raise ElfError(path, 0, "not an ELF file")
    if len(data) < HEADER.size:
        raise ElfError(
            path, len(data), f"file ends inside the {HEADER.size}-byte ELF header"
        )
    header = RawHeader._make(HEADER.unpack_from(data))
    _check_kind(header, path)
    return header


def decode_section_header(
    data: Data, offset: int, path: str = "<memory>"
) -> RawSection:
    return RawSection._make(
        _unpack(SECTION_HEADER, data, offset, path, "section header")
    )


def decode_program_header(
    data: Data, offset: int, path: str = "<memory>"
) -> RawSegment:
    return RawSegment._make(
        _unpack(PROGRAM_HEADER, data, offset, path, "program header")
    )


def decode_symbol(data: Data, offset: int, path: str = "<memory>") -> RawSymbol:
    return RawSymbol._make(_unpack(SYMBOL, data, offset, path, "symbol"))


def decode_rela(data: Data, offset: int, path: str = "<memory>") -> Relocation:
    target, type_, symbol, addend = _unpack(RELA, data, offset, path, "relocation")
    return Relocation(target, type_, symbol, addend)


def decode_string(
    data: Data, table: tuple[int, int], position: int, path: str = "<memory>"
) -> str:
    """The NUL-terminated string `position` bytes into a table, given as (offset,
    size) and inside the file. Position 0 is no name (gABI, "String Table"). Bytes
    that are not UTF-8 become escapes (\\xff)."""
    offset, size = table
    if position == 0:
        return ""
    if position >= size:
        raise ElfError(
            path, offset, f"name at {position:#x} of a string table of {size:#x} bytes"
        )
    end = data.find(b"\0", offset + position, offset + size)
    if end < 0:
        raise ElfError(path, offset + position, "name without an end")
    return data[offset + position : end].decode("utf-8", "backslashreplace")


class Strings:
    """One string table, bounded: `allowance` is how many characters may be read
    from it in all, since overlapping strings of a small file can add up to
    anything. With `kept`, a string that is asked for again is the same object
    and costs nothing."""

    def __init__(
        self,
        data: Data,
        offset: int,
        size: int,
        path: str,
        *,
        allowance: int,
        kept: bool = False,
    ) -> None:
        if size and data[offset + size - 1] != 0:
            raise ElfError(path, offset, "string table does not end in NUL")
        self._data = data
        self._table = (offset, size)
        self._path = path
        self._left = allowance
        self._kept: dict[int, str] | None = {} if kept else None

    @classmethod
    def none(cls, path: str) -> "Strings":
        """The table of a file without one: holds the empty string."""
        return cls(b"", 0, 0, path, allowance=0)

    def text(self, position: int) -> str:
        if self._kept is not None and position in self._kept:
            return self._kept[position]
        value = decode_string(self._data, self._table, position, self._path)
        self._left -= len(value)
        if self._left < 0:
            raise ElfError(
                self._path, self._table[0], "names add up to more than the file holds"
            )
        if self._kept is not None:
            self._kept[position] = value
        return value


def _unpack(
    record: Struct, data: Data, offset: int, path: str, what: str
) -> tuple[int, ...]:
    if offset < 0 or offset > len(data) - record.size:
        raise ElfError(
            path, max(offset, 0), f"{what} ends behind the file's {len(data):#x} bytes"
        )
    return record.unpack_from(data, offset)


def _check_kind(header: RawHeader, path: str) -> None:
    class_, order, version = header.ident[4:7]
    if class_ != _CLASS_64:
        kind = _CLASSES.get(class_, f"class {class_}")
        raise ElfError(path, 4, f"{kind} ELF file, a 64-bit x86-64 one is needed")
    if order != _LITTLE_ENDIAN:
        raise ElfError(
            path, 5, f"byte order {order} is not little endian ({_LITTLE_ENDIAN})"
        )
    if version != _CURRENT:
        raise ElfError(path, 6, f"ELF version {version}, only {_CURRENT} exists")
    if header.machine != EM_X86_64:
        raise ElfError(
            path,
            18,
            f"made for {_machine_name(header.machine)}, x86-64 is needed",
        )


def _machine_name(machine: int) -> str:
    try:
        return Machine(machine).name.removeprefix("EM_")
    except ValueError:
        return f"machine {machine}"
