"""Modules and findings' codes as lines for people; needs no target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lpengine.report import module_shapes as shapes

if TYPE_CHECKING:
    from lpengine.planner import Code
    from lpengine.report.values import Inspection


def explain_lines(code: Code) -> Iterator[str]:
    yield f"{code.code} {code.name}"
    yield code.summary
    yield ""
    yield code.text
    yield ""
    yield f"How it is found: {code.detection}"
    yield f"What to do:      {code.remedy}"
    yield f"If not done:     {code.guidance}"
    yield f"Known from:      {code.source}"


def inspection_lines(inspection: Inspection) -> Iterator[str]:
    document = shapes.inspect_document(inspection)
    yield f"Module    {document.name}  ({document.path}, {document.size} bytes)"
    yield f"SHA-256   {document.sha256}"
    for section, build_id in document.notes.items():
        yield f"Note      {section}  {build_id}"
    for key, value in document.metadata.items():
        yield f"Metadata  {key}={value}"
    for kind, symbols in document.hooks.items():
        names = ", ".join(symbol or "(no name)" for symbol in symbols)
        yield f"Hook      {kind}: {names}"
    for name in document.undefined:
        yield f"Needs     {name}"
    for name in document.new_symbols:
        yield f"Brings    {name}"
    if document.alternatives:
        yield f"Contains  {document.alternatives} alternatives"
    for each in document.violations:
        errno = f" ({each.errno})" if each.errno else ""
        yield f"✗ {each.cause}{errno}  {each.subject}: {each.observed}"
        yield f"    needed: {each.needed}"
    for function in document.functions:
        yield ""
        where = f" at {function.old_address}" if function.old_address else ""
        yield (
            f"{function.kind} {function.name}{where}: {function.old_size} bytes "
            f"-> {function.new_size} bytes"
        )
        if function.expectation:
            yield f"  expects {bytes.fromhex(function.expectation).hex(' ')}"
        yield from (f"  {row}" for row in function.disassembly)


def section_rows(inspection: Inspection) -> Iterator[tuple[str, ...]]:
    for each in shapes.inspect_document(inspection).sections:
        yield each.name, str(each.size), str(each.alignment), each.flags


def relocation_rows(inspection: Inspection) -> Iterator[tuple[str, ...]]:
    for each in shapes.relocation_rows(inspection):
        yield (
            each.section,
            each.offset,
            each.type,
            each.symbol or "(section)",
            f"{each.addend:+#x}",
        )
