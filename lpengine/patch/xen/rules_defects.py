"""What can be seen in a payload alone and makes Xen suffer later (defects)."""

from collections.abc import Iterable

from lpengine.patch.model import FunctionPatch, HookKind
from lpengine.patch.xen import layout
from lpengine.patch.xen.payload_file import PayloadFile
from lpengine.patch.xen.violations import Violations

_USED = (
    layout.FUNCS,
    *layout.NOTES,
    *map(layout.hook_section, HookKind),
    *layout.BUG_FRAMES,
    layout.ALTERNATIVES,
    layout.REPLACEMENTS,
    layout.EXCEPTIONS,
    layout.MODINFO,
)


def check_defects(
    file: PayloadFile, functions: Iterable[FunctionPatch], violations: Violations
) -> None:
    _check_loaded(file, violations)
    _check_alignments(file, violations)
    _check_funcs_writable(file, violations)
    _check_unique(functions, violations)


def _check_loaded(file: PayloadFile, violations: Violations) -> None:
    for name in _USED:
        section = file.first(name)
        if section is not None and not section.allocated:
            violations.suffer(
                "section-not-allocated", name, "not loaded", "the flag SHF_ALLOC"
            )


def _check_alignments(file: PayloadFile, violations: Violations) -> None:
    for section in file.sections:
        if section.allocated and section.raw.alignment == 0:
            violations.suffer(
                "zero-alignment", section.label, "alignment 0", "alignment 1 or more"
            )


def _check_funcs_writable(file: PayloadFile, violations: Violations) -> None:
    section = file.first(layout.FUNCS)
    if section is not None and section.allocated and not section.writable:
        violations.suffer("readonly-funcs", layout.FUNCS, "read-only", "writable")


def _check_unique(functions: Iterable[FunctionPatch], violations: Violations) -> None:
    seen: dict[str | int, int] = {}
    for function in functions:
        key = function.wanted or function.old_address
        if not key:
            continue
        first = seen.setdefault(key, function.index)
        if first != function.index:
            violations.suffer(
                "function-twice",
                function.name or str(key),
                f"records {first} and {function.index}",
                "one record for each function",
            )
