"""What differs between two builds, and what became of it, to JSON documents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lpengine.diff.changes import External, Original, Status
from lpengine.report import change_documents as d

if TYPE_CHECKING:
    from lpengine.compile.cache import Kept
    from lpengine.diff.changes import (
        Changes,
        FunctionChange,
        Note,
        ObjectChanges,
        Piece,
        Refusal,
    )
    from lpengine.patch.objects import ObjectsResult
    from lpengine.patch.source import SourceResult


AnyTarget = TypeVar("AnyTarget", External, Original)


def objects_document(
    result: ObjectsResult | SourceResult, path: Path | None
) -> d.ObjectsDocument:
    built = result.built
    payload = built.payload if built else b""
    return d.ObjectsDocument(
        schema="lpengine/build-objects/1",
        verdict=result.verdict.value,
        objects=[object_row(each) for each in result.changes.objects],
        refusals=[refusal_row(each) for each in result.refusals],
        fan_out=fan_out_rows(result.changes),
        path=str(path) if built and path else "",
        name=built.name if built else "",
        size=len(payload),
        sha256=hashlib.sha256(payload).hexdigest() if built else "",
        build_id=built.build_id if built else "",
        proved=result.proved,
        notes=[note_row(each) for each in result.changes.notes],
    )


def source_document(result: SourceResult, path: Path) -> d.SourceDocument:
    built = result.built
    payload = built.payload if built else b""
    return d.SourceDocument(
        schema="lpengine/build-source/1",
        verdict=result.verdict.value,
        path=str(path) if built else "",
        name=built.name if built else "",
        size=len(payload),
        sha256=hashlib.sha256(payload).hexdigest() if built else "",
        build_id=built.build_id if built else "",
        functions=list(built.functions) if built else [],
        objects=[object_row(each) for each in result.changes.objects],
        refusals=[refusal_row(each) for each in result.refusals],
        fan_out=fan_out_rows(result.changes),
        rebuilt=list(result.objects),
        absent=list(result.absent),
        proved=result.proved,
        configuration=result.configuration,
        strangers=list(result.strangers),
        notes=[*result.notes, *(built.notes if built else ())],
    )


def object_row(changes: ObjectChanges) -> d.ObjectChangesRow:
    return d.ObjectChangesRow(
        name=changes.name,
        verdict=changes.verdict.value,
        changed_functions=list(changes.changed_functions),
        new_functions=list(changes.new_functions),
        new_data=list(changes.new_data),
        system=changes.system.value,
        gone_functions=list(changes.gone_functions),
        functions=[
            function_row(each)
            for each in changes.functions
            if each.status is not Status.SAME
        ],
        pieces=[piece_row(each) for each in changes.pieces],
        tables={each.section: len(each.records) for each in changes.tables},
        originals=sorted({t.name for t in _targets(changes, Original) if t.name}),
        externals=sorted({t.name for t in _targets(changes, External)}),
        lifted=[
            d.LiftedRow(refusal=refusal_row(each.refusal), hook=each.hook)
            for each in changes.lifted
        ],
        refusals=[refusal_row(each) for each in changes.refusals],
        notes=[note_row(each) for each in changes.notes],
    )


def function_row(function: FunctionChange) -> d.FunctionChangeRow:
    reason = function.reason
    first = reason.first if reason else None
    return d.FunctionChangeRow(
        name=function.name,
        status=function.status.value,
        file=function.file,
        patched_name=function.patched_name,
        children=list(function.children),
        reason=reason.kind.value if reason else "",
        text=reason.text if reason else "",
        before=first.before.text if first else "",
        after=first.after.text if first else "",
    )


def piece_row(piece: Piece) -> d.PieceRow:
    return d.PieceRow(
        name=piece.name,
        kind=piece.kind.value,
        section=piece.section,
        size=piece.size,
        why=piece.why,
    )


def _targets(changes: ObjectChanges, kind: type[AnyTarget]) -> Iterator[AnyTarget]:
    uses = [use for piece in changes.pieces for use in piece.uses]
    for table in changes.tables:
        for record in table.records:
            uses += record.uses
    yield from (use.target for use in uses if isinstance(use.target, kind))


def note_row(note: Note) -> d.ChangeNoteRow:
    return d.ChangeNoteRow(cause=note.cause, subject=note.subject, text=note.text)


def refusal_row(refusal: Refusal) -> d.RefusalRow:
    return d.RefusalRow(
        code=refusal.code,
        cause=refusal.cause,
        object=refusal.object,
        subject=refusal.subject,
        evidence=refusal.evidence,
        remedy=refusal.remedy,
        liftable=refusal.liftable,
    )


def fan_out_rows(changes: Changes) -> list[d.FanOutRow]:
    return [
        d.FanOutRow(
            function=each.function,
            header=each.header,
            objects=list(each.objects),
            missing=list(each.missing),
        )
        for each in changes.fan_out
    ]


def bases_document(bases: Iterable[Kept], directory: Path) -> d.BasesDocument:
    return d.BasesDocument(
        schema="lpengine/build-cache/1",
        directory=str(directory),
        bases=[
            d.BaseRow(
                key=each.key,
                tree=each.described.get("tree", ""),
                format=each.described.get("format", ""),
                compiler=each.described.get("compiler", ""),
                configuration=each.described.get("configuration", ""),
                size=each.size,
                used=datetime.fromtimestamp(int(each.used), UTC).isoformat(),
            )
            for each in bases
        ],
    )
