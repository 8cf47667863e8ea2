"""Modules and findings' codes as lines for people; needs no target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lpengine.report import module_shapes as shapes

if TYPE_CHECKING:
    from lpengine.planner import Code
    from lpengine.report import documents as d
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
    if document.livepatch is not None:
        yield from livepatch_lines(document.livepatch)
    if document.alternatives:
        yield f"Contains  {document.alternatives} alternatives"
    for each in document.violations:
        errno = f" ({each.errno})" if each.errno else ""
        yield f"✗ {each.cause}{errno}  {each.subject}: {each.observed}"
        yield f"    needed: {each.needed}"
    for function in document.functions:
        yield ""
        yield redirect_line(function)
        if function.expectation:
            yield f"  expects {bytes.fromhex(function.expectation).hex(' ')}"
        yield from (f"  {row}" for row in function.disassembly)


def redirect_line(function: d.FunctionRow) -> str:
    name = function.name
    if function.occurrence:
        name += f",{function.occurrence}"
    where = f" of {function.object}" if function.object else ""
    where += f" at {function.old_address}" if function.old_address else ""
    # How long the old one is, a module for Linux does not know.
    old = f"{function.old_size} bytes -> " if function.old_size else ""
    return f"{function.kind} {name}{where}: {old}{function.new_size} bytes"


def livepatch_lines(livepatch: d.LivepatchRow) -> Iterator[str]:
    """What only modules for Linux have; the vermagic is among the metadata."""
    if livepatch.replace:
        yield "Replaces  all older live patches"
    for callback in livepatch.callbacks:
        yield f"Callback  {callback.kind}: {callback.function or '(no name)'}" + (
            f" for {callback.object}" if callback.object else ""
        )
    for number, version in livepatch.states.items():
        yield f"State     {number}, version {version}"
    for each in livepatch.looked_up:
        name = f"{each.name},{each.occurrence}" if each.occurrence else each.name
        times = f", {each.relocations} times" if each.relocations > 1 else ""
        yield f"Looks up  {name} in {each.object}{times}"


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
