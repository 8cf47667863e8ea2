"""What a kernel exports to its modules (include/linux/export.h)."""

import struct
from dataclasses import dataclass

from lpengine.elf.headers import Section
from lpengine.elf.image import Image
from lpengine.errors import ElfError

# Value, name and namespace, each relative to its own place (PREL32).
_RECORD = struct.Struct("<iii")
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Export:
    """One exported symbol. `crc` is None in a kernel without MODVERSIONS."""

    name: str
    address: int
    crc: int | None
    namespace: str
    gpl: bool


def read_exports(image: Image) -> dict[str, Export]:
    """The exports of a linked kernel by name. ElfError where the tables are
    damaged."""
    exports: dict[str, Export] = {}
    for suffix in ("", "_gpl"):
        table = image.section("__ksymtab" + suffix)
        if table is not None:
            crcs = image.section("__kcrctab" + suffix)
            for export in _read(image, table, crcs, gpl=bool(suffix)):
                exports[export.name] = export
    return exports


def _read(
    image: Image, table: Section, crcs: Section | None, *, gpl: bool
) -> list[Export]:
    records = image.section_data(table)
    count, rest = divmod(len(records), _RECORD.size)
    values = image.section_data(crcs) if crcs is not None else b""
    if rest or (crcs is not None and len(values) != count * _CRC.size):
        raise ElfError(image.path, table.offset, f"{table.name} is no table of exports")
    exports = []
    for index, (value, name, space) in enumerate(_RECORD.iter_unpack(records)):
        place = table.address + index * _RECORD.size
        exports.append(
            Export(
                _string(image, place + 4 + name),
                (place + value) & (1 << 64) - 1,
                _CRC.unpack_from(values, index * _CRC.size)[0] if values else None,
                _string(image, place + 8 + space) if space else "",
                gpl,
            )
        )
    return exports


def _string(image: Image, address: int) -> str:
    section = _holder(image, address)
    data, at = image.data, section.offset + address - section.address
    end = data.find(b"\0", at, section.offset + section.size)
    if end < 0:
        raise ElfError(image.path, at, "a name of an export has no end")
    return data[at:end].decode("utf-8", "backslashreplace")


def _holder(image: Image, address: int) -> Section:
    for name in ("__ksymtab_strings", ".rodata"):
        section = image.section(name)
        if section is not None and 0 <= address - section.address < section.size:
            return section
    raise ElfError(image.path, 0, f"no name of an export is at {address:#x}")
