"""Whose rules an object follows: Xen's, Linux's or nobody's."""

from lpengine.diff.changes import System
from lpengine.diff.object import ObjectFile

# Either is told from sections that only its own macros make.
_XEN = (
    *(".bug_frames.", ".ex_table", ".initcallpresmp.init", ".init.setup"),
    *(".livepatch.", ".bss.percpu", ".data.read_mostly", ".data.ro_after_init"),
)
_LINUX = (
    *("__bug_table", "__ex_table", "__ksymtab", "___ksymtab", "__mcount_loc"),
    *("__patchable_function_entries", ".smp_locks", "__jump_table", ".modinfo"),
    *(".static_call_sites", ".return_sites", ".retpoline_sites", ".parainstructions"),
    *(".orc_unwind", ".printk_index", "__dyndbg", "__tracepoints", ".data..percpu"),
    *(".data..read_mostly", ".gnu.linkonce.this_module", ".kpatch.", "__param"),
)
_ENTRY_CALLS = frozenset(("__fentry__", "mcount"))


def system_of(*objects: ObjectFile) -> System:
    """The system that these builds of one object belong to."""
    names = {section.name for each in objects for section in each.image.sections}
    if any(name.startswith(_LINUX) for name in names):
        return System.LINUX
    if any(name.startswith(_XEN) for name in names):
        return System.XEN
    for each in objects:
        if any(s.is_undefined and s.name in _ENTRY_CALLS for s in each.symbols):
            return System.LINUX
    return System.GENERIC
