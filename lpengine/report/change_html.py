"""What differs between two builds, as one page to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lpengine.diff.changes import FunctionChange, ObjectChanges, Row, Status, Verdict
from lpengine.diff.listing import rows
from lpengine.report import change_documents as d
from lpengine.report import change_shapes as shapes

if TYPE_CHECKING:
    from lpengine.patch.objects import ObjectsResult
    from lpengine.patch.source import SourceResult

_TEMPLATES = Path(__file__).with_name("templates")
# How many lines that are alike are shown around one that differs.
_CONTEXT = 6


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines beside each other, `skipped` alike ones in front of them."""

    skipped: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class FunctionView:
    """A function of the page: what changed, and its two builds."""

    row: d.FunctionChangeRow
    size_before: int
    size_after: int
    hunks: tuple[Hunk, ...]


@dataclass(frozen=True, slots=True)
class ObjectView:
    """An object of the page. `size` is how much a payload brings of it."""

    row: d.ObjectChangesRow
    functions: tuple[FunctionView, ...]
    size: int


def changes_page(result: ObjectsResult | SourceResult) -> str:
    """One HTML file that needs nothing else."""
    # Imported here: templates are compiled for this page alone.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    document = shapes.objects_document(result, None)
    views = [
        object_view(each)
        for each in result.changes.objects
        if each.verdict is not Verdict.UNCHANGED or each.notes
    ]
    built = result.built
    return environment.get_template("changes.html.j2").render(
        document=document,
        views=views,
        unchanged=[o.name for o in document.objects if o.verdict == "unchanged"],
        module=built,
        module_size=len(built.payload) if built else 0,
    )


def object_view(changes: ObjectChanges) -> ObjectView:
    return ObjectView(
        shapes.object_row(changes),
        tuple(
            function_view(each)
            for each in changes.functions
            if each.status is not Status.SAME
        ),
        sum(piece.size for piece in changes.pieces),
    )


def function_view(function: FunctionChange) -> FunctionView:
    before, after = function.before, function.after
    return FunctionView(
        shapes.function_row(function),
        len(before.data) if before else 0,
        len(after.data) if after else 0,
        tuple(hunks(rows(before, after))),
    )


def hunks(lines: Sequence[Row]) -> Iterator[Hunk]:
    """The parts in which lines differ, with some around them."""
    wanted: set[int] = set()
    for at, row in enumerate(lines):
        if not row.same:
            wanted.update(range(at - _CONTEXT, at + _CONTEXT + 1))
    part: list[Row] = []
    skipped = 0
    for at, row in enumerate(lines):
        if at in wanted:
            part.append(row)
            continue
        if part:
            yield Hunk(skipped, tuple(part))
            part, skipped = [], 0
        skipped += 1
    if part or skipped:
        yield Hunk(skipped, tuple(part))
