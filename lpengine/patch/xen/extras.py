"""Reads the tables that compilers make: bug frames, alternatives, exceptions."""

from collections.abc import Iterator
from dataclasses import dataclass

from lpengine.elf.constants import R_X86_64_PC32
from lpengine.patch.model import Alternative
from lpengine.patch.xen import layout
from lpengine.patch.xen.payload_file import FileSection
from lpengine.patch.xen.references import Reference, View
from lpengine.patch.xen.rules_required import is_whole

_ORIGINAL, _REPLACEMENT = 0, 4
# MAX_PATCH_LEN of arch/x86/alternative.c.
_LONGEST_PATCH = 255


def check_bug_frames(view: View) -> None:
    for name in layout.BUG_FRAMES:
        section = view.file.first(name)
        if section is not None:
            is_whole(section, layout.BUG_FRAME_SIZE, "bug-frames-size", view.violations)


def check_exceptions(view: View) -> None:
    section = view.file.first(layout.EXCEPTIONS)
    if section is not None:
        is_whole(section, layout.EXCEPTION.size, "ex-table-size", view.violations)


@dataclass(frozen=True)
class _Record:
    """One struct alt_instr with its two pointers."""

    index: int
    original: Reference
    replacement: Reference
    cpuid: int
    original_size: int
    replacement_size: int
    padding: int

    @property
    def subject(self) -> str:
        return f"alternative {self.index}"


def read_alternatives(view: View) -> tuple[Alternative, ...]:
    """common/livepatch.c, prepare_payload, and the BUGs of arch/x86/alternative.c,
    _apply_alternatives."""
    section = view.file.first(layout.ALTERNATIVES)
    if section is None or not section.readable:
        return ()
    size = layout.ALTERNATIVE.size
    if not is_whole(section, size, "alternatives-size", view.violations):
        return ()
    if not section.size:
        return ()
    if not _has_sections(view):
        return ()
    view.refuse_strays(section, R_X86_64_PC32, (_ORIGINAL, _REPLACEMENT), size)
    return tuple(_usable(view, section))


def _has_sections(view: View) -> bool:
    if not view.placing.text_size:
        view.violations.refuse(
            "alternatives-without-text", layout.ALTERNATIVES, "no code", "code"
        )
        return False
    if view.file.first(layout.REPLACEMENTS) is None:
        view.violations.refuse(
            "alternatives-without-replacement",
            layout.ALTERNATIVES,
            f"no {layout.REPLACEMENTS}",
            "one",
        )
        return False
    return True


def _usable(view: View, section: FileSection) -> Iterator[Alternative]:
    for record in _records(view, section):
        if _check_places(view, record) and _check_sizes(view, record):
            yield Alternative(
                original=(record.original.section, record.original.offset),
                replacement=(record.replacement.section, record.replacement.offset),
                feature=record.cpuid & ~layout.ALTERNATIVE_INVERTED,
                inverted=bool(record.cpuid & layout.ALTERNATIVE_INVERTED),
                original_size=record.original_size,
                replacement_size=record.replacement_size,
                padding=record.padding,
            )


def _records(view: View, section: FileSection) -> Iterator[_Record]:
    pointers = view.fields(section, R_X86_64_PC32)
    size = layout.ALTERNATIVE.size
    end = size if section.zero_filled else section.size
    for base in range(0, end, size):
        data = view.file.contents(section, base, size)
        original, replacement, cpuid, *sizes, _ = layout.ALTERNATIVE.unpack(data)
        yield _Record(
            base // size,
            pointers.get(base, _relative(section, base, original)),
            pointers.get(base + 4, _relative(section, base + 4, replacement)),
            cpuid,
            *sizes,
        )


def _relative(section: FileSection, field: int, distance: int) -> Reference:
    """Without a relocation, a pointer counts from its own field."""
    return Reference(section.index, "", field + distance)


def _check_places(view: View, record: _Record) -> bool:
    start = _position(view, record.original)
    text = view.placing.text_size
    if start is None or not _fits(start, record.original_size, 0, text):
        view.violations.refuse(
            "alternative-outside-text",
            record.subject,
            f"{record.original_size} bytes at {_shown(view, record.original)}",
            "bytes of the payload's code",
        )
        return False
    replacements = view.file.first(layout.REPLACEMENTS)
    start = _position(view, record.replacement)
    if (
        start is None
        or replacements is None
        or not replacements.allocated
        or not _fits(
            start,
            record.replacement_size,
            view.placing.at(replacements.index, 0),
            replacements.size,
        )
    ):
        view.violations.refuse(
            "alternative-outside-replacement",
            record.subject,
            f"{record.replacement_size} bytes at {_shown(view, record.replacement)}",
            f"bytes of {layout.REPLACEMENTS}",
        )
        return False
    return True


def _check_sizes(view: View, record: _Record) -> bool:
    total = record.original_size + record.padding
    start = _position(view, record.original)
    observed = ""
    if record.replacement_size > total or total > _LONGEST_PATCH:
        observed = f"{record.replacement_size} bytes for {total}"
        needed = f"no more than there are, and at most {_LONGEST_PATCH}"
    elif start is None or not _fits(start, total, 0, view.placing.text_size):
        observed = f"{total} bytes at {_shown(view, record.original)}"
        needed = "bytes of the payload's code, padding included"
    if observed:
        view.violations.suffer("foreign-alternatives", record.subject, observed, needed)
    return not observed


def _position(view: View, reference: Reference) -> int | None:
    """Relative to the start of the payload's memory; None outside of it."""
    if reference.section not in view.placing.offsets:
        return None
    return view.placing.at(reference.section, reference.offset)


def _fits(start: int, size: int, first: int, room: int) -> bool:
    return first <= start and size <= room and start + size <= first + room


def _shown(view: View, reference: Reference) -> str:
    if reference.section:
        label = view.file.sections[reference.section].label
        return f"{label}+{reference.offset:#x}"
    return reference.symbol or f"{reference.offset:#x}"
