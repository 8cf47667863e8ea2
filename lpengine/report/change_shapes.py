"""What differs between two builds, and what became of it, to JSON documents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lpengine.report import change_documents as d

if TYPE_CHECKING:
    from lpengine.compile.cache import Kept
    from lpengine.diff.changes import Changes, ObjectChanges, Refusal
    from lpengine.patch.source import SourceResult


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
        refusals=[refusal_row(each) for each in changes.refusals],
        notes=[
            d.ChangeNoteRow(cause=each.cause, subject=each.subject, text=each.text)
            for each in changes.notes
        ],
    )


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
