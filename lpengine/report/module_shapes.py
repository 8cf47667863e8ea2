"""Modules and findings' codes to JSON documents; needs no target."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lpengine.patch.model import FunctionPatch, HookKind, Patch, PatchSection
from lpengine.report import documents as d
from lpengine.report.disassembly import module_rows, relocation_name

if TYPE_CHECKING:
    from lpengine.patch.built import Built
    from lpengine.planner import Code
    from lpengine.report.values import Inspection


def inspect_document(inspection: Inspection) -> d.InspectDocument:
    patch = inspection.patch
    return d.InspectDocument(
        schema="lpengine/inspect/1",
        path=inspection.path,
        format=patch.format,
        name=patch.name,
        sha256=patch.sha256,
        size=len(patch.raw),
        build_id=patch.build_id,
        depends=patch.depends,
        image_build_id=patch.image_build_id,
        functions=[function_row(inspection, each) for each in patch.functions],
        hooks={
            kind.value: [hook.symbol for hook in patch.hooks if hook.kind is kind]
            for kind in HookKind
            if any(hook.kind is kind for hook in patch.hooks)
        },
        metadata=dict(patch.metadata),
        notes=notes(inspection),
        undefined=list(patch.undefined),
        new_symbols=[symbol.name for symbol in patch.new_symbols],
        sections=[section_row(section) for section in patch.sections],
        relocations=relocation_rows(inspection),
        alternatives=len(patch.alternatives),
        livepatch=livepatch_row(patch) if patch.format == "linux" else None,
        violations=[
            d.ViolationRow(
                cause=each.cause,
                errno=each.errno,
                subject=each.subject,
                observed=each.observed,
                needed=each.needed,
            )
            for each in patch.violations
        ],
    )


def livepatch_row(patch: Patch) -> d.LivepatchRow:
    uses = Counter(each.symbol for each in patch.klp_relocations)
    return d.LivepatchRow(
        vermagic=patch.vermagic.strip(),
        built_for=dict(patch.target_ids),
        replace=patch.replace,
        callbacks=[
            d.CallbackRow(object=each.object, kind=each.kind, function=each.symbol)
            for each in patch.callbacks
        ],
        states={str(each.id): each.version for each in patch.states},
        looked_up=[
            d.LookedUpRow(
                object=each.object,
                name=each.name,
                occurrence=each.occurrence,
                relocations=uses[each],
            )
            for each in patch.klp_symbols
        ],
        versions={each.name: f"{each.crc:#010x}" for each in patch.versions},
    )


def notes(inspection: Inspection) -> dict[str, str]:
    """The three build-id notes by section, where they could be read."""
    patch = inspection.patch
    found = {
        ".note.gnu.build-id": patch.build_id,
        ".livepatch.depends": patch.depends,
        ".livepatch.xen_depends": patch.image_build_id,
    }
    return {section: build_id for section, build_id in found.items() if build_id}


def function_row(inspection: Inspection, function: FunctionPatch) -> d.FunctionRow:
    expectation = function.expectation
    return d.FunctionRow(
        name=function.name or function.old_symbol,
        object=function.object,
        occurrence=function.occurrence,
        kind="nop" if function.is_nop else "redirect",
        old_address=f"{function.old_address:#x}" if function.old_address else "",
        old_size=function.old_size,
        new_size=function.new_size,
        expectation=expectation.bytes.hex() if expectation.enabled else "",
        disassembly=module_rows(inspection.patch, inspection.image, function),
    )


def section_row(section: PatchSection) -> d.SectionRow:
    flags = "A" + "W" * section.writable + "X" * section.executable
    return d.SectionRow(
        name=section.name,
        size=section.size,
        alignment=section.alignment,
        flags=flags + ("0" if section.zero_filled else ""),
    )


def relocation_rows(inspection: Inspection) -> list[d.RelocationRow]:
    names = {section.index: section.name for section in inspection.patch.sections}
    return [
        d.RelocationRow(
            section=names.get(each.section_index, str(each.section_index)),
            offset=f"{each.offset:#x}",
            type=relocation_name(each.type),
            symbol=each.symbol,
            addend=each.addend,
        )
        for each in inspection.patch.relocations
    ]


def explain_document(code: Code) -> d.ExplainDocument:
    return d.ExplainDocument(
        schema="lpengine/explain/1",
        code=code.code,
        id=code.name,
        summary=code.summary,
        detection=code.detection,
        remedy=code.remedy,
        guidance=code.guidance,
        source=code.source,
        text=code.text,
    )


def build_document(built: Built, path: Path, sha256: str) -> d.BuildDocument:
    return d.BuildDocument(
        schema="lpengine/build/1",
        path=str(path),
        name=built.name,
        size=len(built.payload),
        sha256=sha256,
        build_id=built.build_id,
        functions=list(built.functions),
        notes=list(built.notes),
    )
