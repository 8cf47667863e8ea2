"""What became of a source fix, for people."""

from collections.abc import Iterator

from lpengine.report.change_documents import (
    ObjectChangesRow,
    RefusalRow,
    SourceDocument,
)

_SHOWN = 8


def source_lines(document: SourceDocument) -> Iterator[str]:
    yield from _basis(document)
    for each in document.objects:
        if each.verdict != "unchanged":
            yield f"  {each.name}: {each.verdict}: {_functions(each)}"
    for fan_out in document.fan_out:
        yield (
            f"  {fan_out.function} of {fan_out.header} is in "
            f"{len(fan_out.objects)} objects"
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


def refusal_lines(refusals: list[RefusalRow]) -> Iterator[str]:
    yield f"refused: {len(refusals)} reasons why this cannot be a live patch"
    for each in refusals:
        where = f"{each.object}: " if each.object else ""
        yield f"  {each.code} {where}{each.subject}: {each.evidence}"
        yield f"      {each.remedy}"


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
    return _few([*changed, *new]) or "data only"


def _few(names: list[str]) -> str:
    more = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
