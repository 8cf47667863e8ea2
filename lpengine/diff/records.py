"""The sections that hold records about places in code, and how records look.

Sizes changed over the years; where several are known the section itself tells, by
its size and by where its relocations are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lpengine.elf import Relocation
from lpengine.elf.constants import R_X86_64_64, R_X86_64_PC32


@dataclass(frozen=True, slots=True)
class LineField:
    """Where a record has a source line: `size` bytes at `offset`, of which `bits`
    count; 0 means all."""

    offset: int
    size: int
    bits: int = 0


@dataclass(frozen=True, slots=True)
class Form:
    """One size that records have had, and where the line is in it. They begin with a
    relocation of type `first`. The last record of a section may lack its padding:
    then only `used` bytes of it are there."""

    size: int
    line: LineField | None = None
    used: int = 0
    first: int = R_X86_64_PC32

    def fits(self, size: int, relocations: Sequence[Relocation]) -> bool:
        if not size or size % self.size not in (0, self.used):
            return False
        first = {each.offset for each in relocations if each.type == self.first}
        return all(at in first for at in range(0, size, self.size))


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One kind of special section.

    The first field of a record points to the code that it is about. `is_meaning`
    says that a function with other records is another function; records that follow
    from the code by themselves, or that only tracers read, are not. `packs_lines`:
    Xen's bug frames keep lines in the upper bits of relative addresses. `beside` is
    the section whose records run in parallel, without relocations of their own.
    """

    forms: tuple[Form, ...]
    is_meaning: bool = True
    packs_lines: bool = False
    beside: str = ""

    def form(self, size: int, relocations: Sequence[Relocation]) -> Form | None:
        """The form that fits a section of that size with those relocations: each
        record begins with one. None where none does, or the section is empty."""
        fitting = (form for form in self.forms if form.fits(size, relocations))
        return next(fitting, None)


def _plain(*sizes: int, is_meaning: bool = True) -> TableSpec:
    return TableSpec(tuple(Form(size) for size in sizes), is_meaning)


_BUG_FRAMES = TableSpec((Form(8),), packs_lines=True)
_SITES = _plain(4, is_meaning=False)
_ADDRESSES = TableSpec((Form(8, first=R_X86_64_64),), is_meaning=False)

TABLES: dict[str, TableSpec] = {
    # Xen: asm/bug.h; frames of assertions have a message.
    ".bug_frames.0": _BUG_FRAMES,
    ".bug_frames.1": _BUG_FRAMES,
    ".bug_frames.2": _BUG_FRAMES,
    ".bug_frames.3": TableSpec((Form(16),), packs_lines=True),
    # Xen: asm/uaccess.h, two distances.
    ".ex_table": _plain(8),
    ".ex_table.pre": _plain(8),
    # Xen 4.21: asm/alternative-call.h.
    ".alt_call_sites": _plain(4),
    # Xen: 14; Linux: 12 until 4.0, 13 until 5.10, 12 until 6.2, 14.
    ".altinstructions": _plain(14, 13, 12),
    # Linux: asm/bug.h, asm-generic/bug.h. 16 with the format's address (6.18).
    "__bug_table": TableSpec(
        (Form(12, LineField(8, 2)), Form(16, LineField(12, 2)), Form(6), Form(8))
    ),
    "__ex_table": _plain(12, 8),
    "__jump_table": TableSpec((Form(16), Form(24, first=R_X86_64_64))),
    ".static_call_sites": _plain(8),
    ".parainstructions": TableSpec((Form(16, used=12, first=R_X86_64_64),)),
    ".runtime_ptr_USER_PTR_MAX": _SITES,
    ".smp_locks": _SITES,
    ".retpoline_sites": _SITES,
    ".return_sites": _SITES,
    ".call_sites": _SITES,
    ".ibt_endbr_seal": _SITES,
    ".cfi_sites": _SITES,
    ".kcfi_traps": _SITES,
    ".orc_unwind_ip": TableSpec((Form(4),), is_meaning=False, beside=".orc_unwind"),
    ".orc_unwind": TableSpec((Form(6),), is_meaning=False),
    "__mcount_loc": _ADDRESSES,
    "__patchable_function_entries": _ADDRESSES,
}

FTRACE_SITES = ("__mcount_loc", "__patchable_function_entries")
EXCEPTIONS = (".ex_table", ".ex_table.pre", "__ex_table")
ALTERNATIVES = ".altinstructions"
REPLACEMENTS = ".altinstr_replacement"
