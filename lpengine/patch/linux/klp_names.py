"""Takes apart the names by which live patch relocations say what they mean."""

import re

from lpengine.elf import Section, Symbol
from lpengine.elf.constants import SHF_RELA_LIVEPATCH, SHN_LIVEPATCH
from lpengine.patch.model import KlpSymbol

# As the kernel's own patterns have them: ".klp.sym.%55[^.].%511[^,],%lu".
_SYMBOL = re.compile(r"\.klp\.sym\.([^.]{1,55})\.([^,]{1,511}),(\d+)")
_TABLE = re.compile(r"\.klp\.rela\.([^.]{1,55})")


def is_klp_symbol(symbol: Symbol) -> bool:
    return symbol.section_index == SHN_LIVEPATCH and not symbol.extended


def parse_klp_symbol(symbol: Symbol) -> KlpSymbol | None:
    """What a symbol means; None where it is none of these, or damaged."""
    found = _SYMBOL.match(symbol.name) if is_klp_symbol(symbol) else None
    return KlpSymbol(found[1], found[2], int(found[3])) if found else None


def is_klp_table(section: Section) -> bool:
    return bool(section.flags & SHF_RELA_LIVEPATCH)


def parse_klp_table(section: Section) -> str | None:
    """The object with which a relocation section is applied; None for ordinary
    ones, "" where its name does not say."""
    if not is_klp_table(section):
        return None
    found = _TABLE.match(section.name)
    return found[1] if found else ""
