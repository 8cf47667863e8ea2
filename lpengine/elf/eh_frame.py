"""Makes ORC entries of the unwind tables that compilers write (.eh_frame)."""

import io
from collections.abc import Iterator
from typing import Any, NamedTuple

from lpengine.elf.image import Image
from lpengine.elf.layout import Relocation
from lpengine.elf.orc import BP, NOTHING, PREVIOUS_SP, SP, OrcEntry
from lpengine.errors import InputError

# DWARF numbers of registers (psABI, table 3.36).
_RBP, _RSP = 6, 7
# An FDE's first address comes after its length and the distance to its CIE.
_ADDRESS_AT = 8


class OrcRange(NamedTuple):
    """`entry` holds from `offset` on, relative to symbol `symbol_index` of the
    object."""

    symbol_index: int
    offset: int
    entry: OrcEntry


def orc_of_object(image: Image) -> tuple[OrcRange, ...]:
    """What a relocatable object's .eh_frame says about its functions, each closed
    by an entry that says nothing; empty without that section.

    InputError where the frame cannot be said in ORC: a stack pointer that is
    neither rsp nor rbp plus a number.
    """
    section = image.section(".eh_frame")
    if section is None or section.size == 0:
        return ()
    places = {each.offset: each for each in image.relocations(section)}
    return tuple(
        entry
        for frame in _frames(image)
        for entry in _ranges(frame, places[frame.offset + _ADDRESS_AT])
    )


def _frames(image: Image) -> Iterator[Any]:
    from elftools.dwarf.callframe import FDE
    from elftools.elf.elffile import ELFFile

    file = ELFFile(io.BytesIO(bytes(image.data)))
    dwarf = file.get_dwarf_info(relocate_dwarf_sections=True)
    for entry in dwarf.EH_CFI_entries():
        if isinstance(entry, FDE):
            yield entry


def _ranges(frame: Any, place: Relocation) -> Iterator[OrcRange]:
    rows = frame.get_decoded().table
    start = frame["initial_location"]
    for row in rows:
        offset = place.addend + row["pc"] - start
        yield OrcRange(place.symbol_index, offset, _entry(row))
    end = place.addend + frame["address_range"]
    yield OrcRange(place.symbol_index, end, NOTHING)


def _entry(row: Any) -> OrcEntry:
    frame = row["cfa"]
    register = {_RSP: SP, _RBP: BP}.get(frame.reg)
    if register is None or frame.expr is not None:
        raise InputError(
            "a function finds its frame in a way that the kernel cannot unwind",
            hint="avoid alloca and variables aligned to more than 16 bytes",
        )
    saved = row.get(_RBP)
    if saved is None or saved.type in ("SAME_VALUE", "UNDEFINED"):
        return OrcEntry(register, frame.offset)
    if saved.type != "OFFSET":
        raise InputError("a function keeps rbp where the kernel cannot find it")
    return OrcEntry(register, frame.offset, PREVIOUS_SP, saved.arg)
