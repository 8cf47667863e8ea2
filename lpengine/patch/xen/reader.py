"""Reads Xen payloads: what they contain, and every rule of Xen they break."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from lpengine.elf.constants import SHF_MERGE
from lpengine.errors import InputError, NotFoundError
from lpengine.patch.model import FunctionPatch, NewSymbol, Patch, PatchSection
from lpengine.patch.xen import layout
from lpengine.patch.xen.extras import (
    check_bug_frames,
    check_exceptions,
    read_alternatives,
)
from lpengine.patch.xen.functions import read_functions
from lpengine.patch.xen.hooks import read_hooks
from lpengine.patch.xen.notes import read_build_id, read_metadata
from lpengine.patch.xen.payload_file import PayloadFile
from lpengine.patch.xen.placing import place_sections
from lpengine.patch.xen.references import View
from lpengine.patch.xen.rules_defects import check_defects
from lpengine.patch.xen.rules_header import check_upload, read_header
from lpengine.patch.xen.rules_relocations import read_relocations
from lpengine.patch.xen.rules_required import check_required
from lpengine.patch.xen.rules_sections import read_file
from lpengine.patch.xen.rules_symbols import resolve_symbols
from lpengine.patch.xen.violations import Violations

# Four times what Xen takes; what is larger is no payload and is not even read.
_LARGEST_READ = 8 << 20


def load_payload(path: Path, name: str = "") -> Patch:
    """The payload in a file, by default named like the file without its suffix.

    Raises NotFoundError, and InputError for a file that is no payload by its size.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST_READ + 1)
    except OSError as error:
        raise NotFoundError(f"{path}: {error.strerror}") from error
    if len(raw) > _LARGEST_READ:
        raise InputError(
            f"{path}: larger than {_LARGEST_READ} bytes",
            hint=f"a Xen payload has at most {layout.LARGEST_FILE} bytes",
        )
    return read_payload(raw, name or path.stem)


def read_payload(raw: bytes, name: str) -> Patch:
    """The payload in `raw`, to be loaded as `name`. Never raises for what the bytes
    say: Patch.violations has it, in the order of Xen's checks at upload
    (common/livepatch.c, livepatch_upload and load_payload_data)."""
    violations = Violations()
    check_upload(name, raw, violations)
    header = read_header(raw, violations)
    file = read_file(raw, header, violations) if header else None
    sha256 = hashlib.sha256(raw).hexdigest()
    if file is None:
        return Patch(name, raw, sha256, violations=violations.result())
    return _read_contents(file, name, sha256, violations)


def _read_contents(
    file: PayloadFile, name: str, sha256: str, violations: Violations
) -> Patch:
    # Each line is one of Xen's steps, in its order: each adds to the violations.
    placing = place_sections(file, violations)
    undefined = resolve_symbols(file, violations)
    relocations = read_relocations(file, violations)
    check_required(file, violations)
    view = View.of(file, placing, relocations, violations)
    functions = read_functions(view)
    hooks = read_hooks(view)
    build_id, depends, image_build_id = (
        read_build_id(view, section)
        for section in (layout.BUILD_ID, layout.DEPENDS, layout.XEN_DEPENDS)
    )
    check_bug_frames(view)
    alternatives = read_alternatives(view)
    check_exceptions(view)
    metadata = read_metadata(view)
    check_defects(file, functions, violations)
    return Patch(
        name=name,
        raw=file.raw,
        sha256=sha256,
        build_id=build_id,
        depends=depends,
        image_build_id=image_build_id,
        functions=functions,
        hooks=hooks,
        metadata=metadata,
        undefined=undefined,
        new_symbols=tuple(_new_symbols(view, functions)),
        sections=tuple(_loaded_sections(file)),
        relocations=relocations,
        alternatives=alternatives,
        violations=violations.result(),
    )


def _loaded_sections(file: PayloadFile) -> Iterator[PatchSection]:
    for section in file.sections:
        if section.allocated:
            yield PatchSection(
                section.index,
                section.name,
                section.size,
                section.raw.alignment,
                section.writable,
                section.executable,
                section.zero_filled,
            )


def _new_symbols(view: View, functions: Sequence[FunctionPatch]) -> Iterator[NewSymbol]:
    """common/livepatch.c, is_payload_symbol and build_symbol_table: every name in a
    loaded section counts, local ones too, unless a function's new code is there."""
    placing, file = view.placing, view.file
    replaced = {
        placing.at(f.new_section, f.new_offset)
        for f in functions
        if f.new_section in placing.offsets
    }
    for index in range(1, file.symbol_count):
        symbol = file.symbol(index)
        section = file.section_of(symbol)
        if section is None or not section.allocated:
            continue
        name = file.symbol_name(symbol)
        if not name or (section.raw.flags & SHF_MERGE and name.startswith(".L")):
            continue
        if placing.at(section.index, symbol.value) not in replaced:
            yield NewSymbol(name, section.index, symbol.value, symbol.size)
