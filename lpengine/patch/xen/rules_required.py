"""Xen's rules on which sections a payload has to have, and which have a size."""

from lpengine.patch.model import HookKind
from lpengine.patch.xen import layout
from lpengine.patch.xen.payload_file import FileSection, PayloadFile
from lpengine.patch.xen.violations import Violations

_PATCHING = (layout.FUNCS, *map(layout.hook_section, HookKind))


def check_required(file: PayloadFile, violations: Violations) -> None:
    """common/livepatch.c, check_special_sections and check_patching_sections."""
    for name in layout.NOTES:
        section = file.first(name)
        if section is None:
            violations.refuse("section-missing", name, "no such section", "a note")
        else:
            _check_not_empty(section, violations)
    patching = [file.first(name) for name in _PATCHING]
    if not any(patching):
        violations.refuse(
            "nothing-to-patch",
            "payload",
            f"neither {layout.FUNCS} nor hooks",
            "functions or hooks",
        )
    for section in patching:
        if section is not None:
            _check_not_empty(section, violations)


def _check_not_empty(section: FileSection, violations: Violations) -> None:
    if not section.size:
        violations.refuse("section-empty", section.name, "0 bytes", "contents")


def is_whole(
    section: FileSection, unit: int, cause: str, violations: Violations
) -> bool:
    """common/livepatch.c, section_ok: a table holds whole entries."""
    if section.size % unit == 0:
        return True
    violations.refuse(
        cause, section.label, f"{section.size} bytes", f"a multiple of {unit}"
    )
    return False
