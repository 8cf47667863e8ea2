"""Debug sections as they are meant: uncompressed, with relocations applied."""

import zlib
from struct import Struct

from lpengine.core import RelocationError, relocate
from lpengine.elf.constants import SHF_COMPRESSED
from lpengine.elf.headers import Section
from lpengine.elf.image import Image
from lpengine.errors import ElfError, InputError

# Elf64_Chdr: ch_type, ch_reserved, ch_size, ch_addralign.
_COMPRESSION = Struct("<IIQQ")
_ZLIB, _ZSTD = 1, 2
_LARGEST = 1 << 29


def debug_section(image: Image, name: str) -> bytearray:
    """A section's bytes; none where the file does not have it.

    InputError where it is damaged or compressed in an unknown way.
    """
    section = image.section(name)
    if section is None:
        return bytearray()
    data = bytearray(_plain(image, section))
    symbols = image.symbols
    values = [symbol.value for symbol in symbols]
    sizes = [symbol.size for symbol in symbols]
    try:
        for table in _tables(image, section):
            relocate(data, 0, image.section_data(table), values, sizes)
    except RelocationError as error:
        raise ElfError(image.path, section.offset, f"{name}: {error}") from error
    return data


def _tables(image: Image, section: Section) -> list[Section]:
    return [
        each
        for each in image.sections
        if each.info == section.index and each.name == f".rela{section.name}"
    ]


def _plain(image: Image, section: Section) -> bytes:
    data = image.section_data(section)
    if not section.flags & SHF_COMPRESSED:
        return data
    if len(data) < _COMPRESSION.size:
        raise ElfError(image.path, section.offset, f"{section.name} is cut off")
    kind, _reserved, size, _alignment = _COMPRESSION.unpack_from(data)
    if size > _LARGEST:
        raise ElfError(image.path, section.offset, f"{section.name} is too large")
    try:
        plain = _uncompressed(kind, data[_COMPRESSION.size :], size)
    except (zlib.error, ValueError) as error:
        what = f"{section.name} cannot be uncompressed: {error}"
        raise ElfError(image.path, section.offset, what) from error
    if len(plain) != size:
        what = f"{section.name} has {len(plain)} bytes, not {size}"
        raise ElfError(image.path, section.offset, what)
    return plain


def _uncompressed(kind: int, data: bytes, size: int) -> bytes:
    if kind == _ZLIB:
        return zlib.decompressobj().decompress(data, size)
    if kind == _ZSTD:
        import zstandard

        try:
            return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error
    raise InputError(f"compression {kind} of a debug section is not known")
