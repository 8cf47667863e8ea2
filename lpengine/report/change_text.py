"""What became of a source fix, for people."""

from collections.abc import Iterator

from lpengine.report.change_documents import (
    FanOutRow,
    ObjectChangesRow,
    ObjectsDocument,
    RefusalRow,
    SourceDocument,
)
from lpengine.report.table import counted

_SHOWN, _REASONS = 8, 20


def source_lines(document: SourceDocument) -> Iterator[str]:
    yield from _basis(document)
    for each in document.objects:
        yield from _source_object(each)
    for fan_out in document.fan_out:
        yield (
            f"  {fan_out.function} of {fan_out.header} is in "
            f"{counted(len(fan_out.objects), 'object')}"
        )
    if document.verdict == "refused":
        yield from refusal_lines(document.refusals)
    elif document.verdict == "changed":
        yield (
            f"{document.path}: {', '.join(document.functions)}, build id "
            f"{document.build_id}"
        )
    else:
        yield "not affected: the fix changes no code of this image, so no module"
    yield from (f"note: {note}" for note in document.notes)


def _source_object(row: ObjectChangesRow) -> Iterator[str]:
    if row.verdict == "unchanged":
        yield from (f"  {row.name}: {note.text}" for note in row.notes)
        return
    functions = _functions(row)
    if not functions and row.verdict == "changed":
        functions = "data only"
    yield f"  {row.name}: {': '.join(filter(None, (row.verdict, functions)))}"
    yield from (f"      {note.text}" for note in row.notes[:_SHOWN])


def objects_lines(document: ObjectsDocument) -> Iterator[str]:
    """What differs between two builds of objects."""
    same = sum(each.verdict == "unchanged" for each in document.objects)
    for each in document.objects:
        if each.verdict != "unchanged" or each.notes:
            yield from _object_lines(each)
    if same and len(document.objects) > 1:
        yield f"{same} of {len(document.objects)} objects are unchanged"
    yield from _fan_out(document.fan_out)
    yield from (f"note: {note.text}" for note in document.notes)
    if document.verdict == "refused":
        yield from refusal_lines(document.refusals)
    elif document.verdict == "unchanged":
        yield "not affected: no code differs, so there is nothing to patch"
    elif document.path:
        yield f"{document.path}: {document.size} bytes, build id {document.build_id}"


def _object_lines(row: ObjectChangesRow) -> Iterator[str]:
    yield f"{row.name}: {row.verdict}"
    for function in row.functions:
        was = function.patched_name not in ("", function.name)
        renamed = f" (now {function.patched_name})" if was else ""
        yield f"  {function.status:<8} {function.name}{renamed}: {function.text}"
        if function.before or function.after:
            yield f"      - {function.before or '(nothing)'}"
            yield f"      + {function.after or '(nothing)'}"
    for name in row.new_data:
        yield f"  new data {name}"
    for section, count in row.tables.items():
        yield f"  brings   {count} records of {section}"
    for lifted in row.lifted:
        yield (
            f"  lifted   {lifted.refusal.code} {lifted.refusal.subject}, by the hook "
            f"{lifted.hook}"
        )
    for note in row.notes:
        yield f"  note     {note.text}"


def _fan_out(rows: list[FanOutRow]) -> Iterator[str]:
    for each in rows:
        yield (f"{each.function} of {each.header} is inlined into {_few(each.objects)}")


def refusal_lines(refusals: list[RefusalRow]) -> Iterator[str]:
    count = "one reason" if len(refusals) == 1 else f"{len(refusals)} reasons"
    yield f"refused: {count} why this cannot be a live patch"
    for each in refusals[:_REASONS]:
        where = f"{each.object}: " if each.object else ""
        yield f"  {each.code} {where}{each.subject}: {each.evidence}"
        yield f"      {each.remedy}"
    if len(refusals) > _REASONS:
        yield f"  and {len(refusals) - _REASONS} more, all of which --json lists"


def _basis(document: SourceDocument) -> Iterator[str]:
    yield (
        f"proved: {document.proved} functions are in the image as built "
        f"({document.configuration})"
    )
    if document.strangers:
        yield f"not built from: {_few(document.strangers)}"
    if document.absent:
        yield f"not in the image: {_few(document.absent)}"


def _functions(row: ObjectChangesRow) -> str:
    changed = row.changed_functions
    new = [f"{each} (new)" for each in row.new_functions]
    return _few([*changed, *new])


def _few(names: list[str]) -> str:
    more = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
