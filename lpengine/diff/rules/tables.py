"""Special sections: those that nobody knows, and records whose key a patch may not
use."""

from collections.abc import Iterator

from lpengine.diff import codes
from lpengine.diff.changes import Refusal, System
from lpengine.diff.rules.finding import Case, Found
from lpengine.diff.sections import SectionKind, is_ordinary
from lpengine.diff.tables import TableRecord
from lpengine.diff.units import Role, Unit
from lpengine.elf import Section

# Without these a tracer or a debug message stays off, and nothing else happens.
_INERT = ("__tracepoint_", "__SCK__tp_func_", "__UNIQUE_ID_ddebug", "descriptor.")
_KEYED = ("__jump_table", ".static_call_sites")


def unknown_sections(case: Case) -> Found:
    """Sections that say something about code that changed, in a way that is not
    known here: a patch without them would be half of what it should be."""
    object_ = case.examination.new_object
    strange = {section.index for section in object_.strange_tables}
    for section, kind in zip(object_.image.sections, object_.kinds, strict=True):
        unknown = kind in (SectionKind.DATA, SectionKind.CONSTANT)
        if section.index in strange:
            what = "records of a size that is not known"
        elif unknown and section.allocated and not is_ordinary(section):
            what = "a section that is not known"
        else:
            continue
        unit = next(_told_of(case, section), None)
        if unit is not None:
            yield Refusal(
                codes.SECTION_UNKNOWN,
                "section-unknown",
                section.name,
                f"{section.name} ({what}) has a record about {unit.name}, which "
                "changed",
                "have the section taught to the differ; until then, boot the fixed "
                "build",
            )


def _told_of(case: Case, section: Section) -> Iterator[Unit]:
    """The included functions that a section has records about: not just pointers to
    them in variables with names."""
    object_ = case.examination.new_object
    references = case.examination.new.references
    for record in object_.relocations(section):
        found = references.of_field(record, 0, 0)
        unit = found.unit
        if unit is None or not unit.is_code or not case.closure.includes(unit):
            continue
        holder = object_.unit_at(section.index, record.offset)
        is_variable = holder is not None and holder.role is Role.VARIABLE
        if not is_variable or found.place != unit.entry:
            yield unit


def keys_of_modules(case: Case) -> Found:
    """Jump labels and static calls are switched on when the patch is loaded: before
    the module that has their key."""
    if case.system is not System.LINUX or not case.is_module:
        return
    for unit in case.closure.included():
        for record in case.examination.new.by_owner.get(unit.number, ()):
            if record.section in _KEYED and _is_own_key(record):
                key = record.references[-1].shown
                yield Refusal(
                    codes.REWRITTEN,
                    "key-in-module",
                    record.owner.name if record.owner else unit.name,
                    f"{unit.name} has a record in {record.section} whose key {key} "
                    "is the module's own",
                    "rewrite the fix without that branch, or with the key's value "
                    "read as data",
                )


def _is_own_key(record: TableRecord) -> bool:
    key = record.references[-1]
    return (
        key.unit is not None
        and not key.shown.startswith(_INERT)
        and (key.unit.section.name not in ("__dyndbg", "__verbose"))
    )
