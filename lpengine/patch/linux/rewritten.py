"""Code that the kernel rewrites as it loads a module: what it needs for that has to
be there by then, and so cannot be in a module that may come later."""

from collections.abc import Iterator

from lpengine.diff.changes import Inside, Record, Table, Use
from lpengine.errors import BuildError
from lpengine.patch.linux import layout
from lpengine.patch.linux.binding import Bound, Target
from lpengine.patch.linux.spec import Place
from lpengine.patch.model import KlpSymbol

JUMPS, CALLS = "__jump_table", ".static_call_sites"
ALTERNATIVES, PARAVIRT = ".altinstructions", ".parainstructions"

# Sections whose own code is put elsewhere as the module is loaded.
MODULE_FREE = (".altinstr_replacement",)

# What the module loader reads and, for the most part, rewrites code by (load_module,
# arch/x86/kernel/module.c: module_finalize).
_READ = frozenset(
    (
        *(JUMPS, CALLS, ALTERNATIVES, PARAVIRT, ".smp_locks", ".call_sites"),
        *(layout.RETURN_SITES, layout.RETPOLINE_SITES, layout.ORC, layout.ORC_IP),
        *("__bug_table", "__ex_table", "__mcount_loc", ".kcfi_traps", ".cfi_sites"),
        *(".ibt_endbr_seal", "__patchable_function_entries"),
    )
)

# Where a record has its key (linux/jump_label.h, linux/static_call_types.h).
_KEYS = {JUMPS: 8, CALLS: 4}
# A jump or call is rewritten as a whole.
_JUMP_SIZE = 5
# Keys without which code only goes untraced: tracepoints, and pr_debug's.
_INERT = ("__tracepoint_", "__SCK__tp_func_", "__SCT__tp_func_")
_INERT_ANYWHERE = ("descriptor", "ddebug")


def require_read(bound: Bound, table: Table) -> None:
    """BuildError for records that the kernel only reads of itself, as it boots: code
    that waits for that would wait for ever."""
    if table.section not in _READ:
        owners = {record.owner for record in table.records}
        raise BuildError(
            f"{bound.changes.name}: {', '.join(sorted(owners))} has records in "
            f"{table.section}, which the kernel reads only of itself",
            codes=("LP-SHP-174",),
            hint="let the fix leave that function alone, and patch its callers",
        )


def is_late(target: Target | None) -> bool:
    """Whether it is only there once a module is that the live patch is for."""
    reference = target.reference if target else None
    return isinstance(reference, KlpSymbol) and reference.object != layout.KERNEL


def key_use(table: Table, record: Record) -> Use | None:
    """The one of a record's uses that says what a jump label or static call asks."""
    at = _KEYS.get(table.section)
    return next((use for use in record.uses if use.offset == at), None)


def require_inert(bound: Bound, owner: str, table: Table, key: Use) -> None:
    """BuildError where code does not do its work without a record whose key comes
    too late."""
    inert = any(each in key.symbol for each in _INERT_ANYWHERE)
    if inert or key.symbol.startswith(_INERT):
        return
    kind = "jump label" if table.section == JUMPS else "static call"
    raise BuildError(
        f"{bound.changes.name}: {owner} has a {kind} whose key {key.symbol} is in a "
        "module",
        codes=("LP-SHP-174",),
        hint="the kernel rewrites such code before that module need be there; let the "
        "fix ask static_key_enabled() instead",
    )


def rewritten(table: Table) -> Iterator[tuple[Inside, int]]:
    """The code that the records of a table let be rewritten, and its size."""
    for record in table.records:
        size = _size(table, record.data)
        target = record.uses[0].target if record.uses else None
        if size and isinstance(target, Inside):
            yield target, size


def _size(table: Table, data: bytes) -> int:
    if table.section in _KEYS:
        return _JUMP_SIZE
    if table.section == PARAVIRT:
        return data[9]
    if table.section == ALTERNATIVES:
        # Two addresses, the feature in 2 bytes or (since 6.3) 4, then the size.
        return data[12 if table.record_size == 14 else 10]
    return 0


def late_refusal(bound: Bound, place: Place, what: str) -> BuildError:
    return BuildError(
        f"{bound.changes.name}: the code at {place.section}+{place.offset:#x}, which "
        f"the kernel rewrites as it loads the live patch, refers to {what} of a module",
        codes=("LP-SHP-174",),
        hint="let the fix leave that function alone, and patch its callers",
    )
