"""Writes Xen payloads, the same bytes for the same specification."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lpengine.elf.constants import (
    R_X86_64_64,
    R_X86_64_PC32,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_NOTE,
)
from lpengine.elf.layout import NOTE_HEADER
from lpengine.errors import UsageError
from lpengine.patch.model import Expectation, HookKind
from lpengine.patch.xen import layout
from lpengine.patch.xen.linking import NamedObject
from lpengine.patch.xen.spec import (
    TEXT_ALIGNMENT,
    BuildId,
    FunctionSpec,
    HookSpec,
    PayloadSpec,
    Place,
    RelocationSpec,
    SectionSpec,
    SymbolSpec,
)

_BUILD_ID_TYPE = 3
_BUILD_ID_SIZE = 20
_INT3 = b"\xcc"
_TEXT = ".text"
_CODE_FLAGS = SHF_ALLOC | SHF_EXECINSTR


def write_payload(spec: PayloadSpec) -> bytes:
    """The payload as a relocatable ELF file.

    Raises UsageError where the specification contradicts itself. What Xen would
    refuse or suffer from is written as asked for: read_payload says so.
    """
    if spec.build_id is not None:
        return _emit(spec)
    draft = _emit(replace(spec, build_id=bytes(_BUILD_ID_SIZE)))
    content = hashlib.sha256(draft).digest()
    return _emit(replace(spec, build_id=content[:_BUILD_ID_SIZE]))


def _emit(spec: PayloadSpec) -> bytes:
    text = _Text.of(spec)
    sections = [section for section in _sections(spec, text) if section is not None]
    return NamedObject(sections).finish([*_symbols(spec, text), *spec.symbols])


@dataclass(frozen=True)
class _Text:
    """The code that came as bytes, in one section: functions, then hooks, each
    aligned. `places` has one entry each, None for one that brought no code."""

    section: SectionSpec | None
    functions: tuple[Place | None, ...]
    hooks: tuple[Place | None, ...]

    @classmethod
    def of(cls, spec: PayloadSpec) -> "_Text":
        data = bytearray()
        relocations: list[RelocationSpec] = []
        places: list[Place | None] = []
        pieces: tuple[FunctionSpec | HookSpec, ...] = (*spec.functions, *spec.hooks)
        for piece in pieces:
            if piece.code is None:
                places.append(None)
                continue
            data += _INT3 * (-len(data) % TEXT_ALIGNMENT)
            relocations += _shifted(piece.relocations, len(data))
            places.append(Place(_TEXT, len(data)))
            data += piece.code
        section = SectionSpec(
            _TEXT,
            bytes(data),
            _CODE_FLAGS,
            alignment=TEXT_ALIGNMENT,
            relocations=tuple(relocations),
        )
        count = len(spec.functions)
        return cls(
            section if any(places) else None,
            tuple(places[:count]),
            tuple(places[count:]),
        )


def _shifted(
    relocations: Sequence[RelocationSpec], distance: int
) -> Iterator[RelocationSpec]:
    return (replace(r, offset=r.offset + distance) for r in relocations)


def _sections(spec: PayloadSpec, text: _Text) -> Iterator[SectionSpec | None]:
    yield _note(layout.BUILD_ID, spec.build_id)
    yield _note(layout.DEPENDS, spec.depends)
    yield _note(layout.XEN_DEPENDS, spec.xen_depends)
    yield text.section
    yield from spec.sections
    yield _strings(spec)
    yield _funcs(spec, text)
    yield from _hook_sections(spec, text)
    yield _modinfo(spec)
    yield from _alternatives(spec)
    yield _exceptions(spec)
    yield from _bug_frames(spec)


def _note(name: str, build_id: BuildId | None) -> SectionSpec | None:
    if build_id is None:
        return None
    try:
        content = bytes.fromhex(build_id) if isinstance(build_id, str) else build_id
    except ValueError:
        raise UsageError(f"{name}: build id {build_id!r} is not hex") from None
    owner = layout.NOTE_OWNER.encode() + b"\0"
    header = NOTE_HEADER.pack(len(owner), len(content), _BUILD_ID_TYPE)
    padding = bytes(-len(content) % 4)
    return SectionSpec(
        name, header + owner + content + padding, type=SHT_NOTE, alignment=4
    )


def _strings(spec: PayloadSpec) -> SectionSpec | None:
    names = _name_offsets(spec)
    data = b"".join(name.encode() + b"\0" for name in names)
    return SectionSpec(layout.STRINGS, data) if data else None


def _name_offsets(spec: PayloadSpec) -> dict[str, int]:
    offsets: dict[str, int] = {}
    end = 0
    for function in spec.functions:
        if "\0" in function.name:
            raise UsageError(f"function name {function.name!a} holds a NUL")
        if function.name and function.name not in offsets:
            offsets[function.name] = end
            end += len(function.name.encode()) + 1
    return offsets


def _funcs(spec: PayloadSpec, text: _Text) -> SectionSpec | None:
    if not spec.functions:
        return None
    names = _name_offsets(spec)
    relocations: list[RelocationSpec] = []
    for index, function in enumerate(spec.functions):
        base = index * layout.FUNCTION.size
        references: dict[int, Place | str | None] = {
            layout.FUNCTION_NEW: text.functions[index] or function.new,
            layout.FUNCTION_OLD: function.old_symbol or None,
        }
        if function.name:
            references[layout.FUNCTION_NAME] = Place(
                layout.STRINGS, names[function.name]
            )
        relocations += (
            RelocationSpec(base + field, R_X86_64_64, target)
            for field, target in sorted(references.items())
            if target is not None
        )
    return SectionSpec(
        layout.FUNCS,
        b"".join(map(_record, spec.functions)),
        # Xen 4.17.1 and 4.17.2 write into it (defect readonly-funcs).
        SHF_ALLOC | (SHF_WRITE if spec.funcs_writable else 0),
        alignment=layout.POINTER_SIZE,
        relocations=tuple(relocations),
    )


def _record(function: FunctionSpec) -> bytes:
    if function.code is not None and function.new is not None:
        raise UsageError(f"function {function.name}: either code or a place for it")
    if function.old_symbol and function.old_address:
        raise UsageError(f"function {function.name}: either old symbol or address")
    size = function.new_size
    expectation = _expectation(function)
    bits = expectation.enabled | expectation.length << 1 | expectation.reserved << 6
    return layout.FUNCTION.pack(
        0,
        0,
        function.old_address,
        len(function.code or b"") if size is None else size,
        function.old_size,
        function.version,
        bits,
        expectation.data,
    )


def _expectation(function: FunctionSpec) -> Expectation:
    given = function.expectation
    if isinstance(given, bytes):
        given = Expectation(True, len(given), 0, given.ljust(layout.SAVED_MAX, b"\0"))
    if given is None:
        return Expectation(False, 0, 0, bytes(layout.SAVED_MAX))
    if len(given.data) != layout.SAVED_MAX or not 0 <= given.length < 32:
        raise UsageError(
            f"function {function.name}: {given.length} bytes are expected, a record "
            f"holds {layout.SAVED_MAX}"
        )
    return given


def _hook_sections(spec: PayloadSpec, text: _Text) -> Iterator[SectionSpec]:
    for kind in HookKind:
        targets = [
            place or hook.target
            for hook, place in zip(spec.hooks, text.hooks, strict=True)
            if hook.kind is kind
        ]
        if targets:
            yield _pointers(layout.hook_section(kind), targets)


def _pointers(name: str, targets: Sequence[Place | str | None]) -> SectionSpec:
    return SectionSpec(
        name,
        bytes(layout.POINTER_SIZE * len(targets)),
        alignment=layout.POINTER_SIZE,
        relocations=tuple(
            RelocationSpec(index * layout.POINTER_SIZE, R_X86_64_64, target)
            for index, target in enumerate(targets)
            if target is not None
        ),
    )


def _modinfo(spec: PayloadSpec) -> SectionSpec | None:
    for key, value in spec.metadata:
        if "=" in key or "\0" in key + value:
            raise UsageError(f"metadata {key!a}: no '=' in a key, no NUL in either")
    data = b"".join(f"{key}={value}\0".encode() for key, value in spec.metadata)
    return SectionSpec(layout.MODINFO, data) if data else None


def _alternatives(spec: PayloadSpec) -> Iterator[SectionSpec]:
    if not spec.alternatives:
        return
    records, code = bytearray(), bytearray()
    references: list[RelocationSpec] = []
    relocations: list[RelocationSpec] = []
    for each in spec.alternatives:
        new = Place(layout.REPLACEMENTS, len(code))
        base = len(records)
        references.append(RelocationSpec(base, R_X86_64_PC32, each.original))
        references.append(RelocationSpec(base + 4, R_X86_64_PC32, new))
        relocations += _shifted(each.relocations, len(code))
        inverted = layout.ALTERNATIVE_INVERTED if each.inverted else 0
        sizes = (each.original_size, len(each.replacement), each.padding)
        records += layout.ALTERNATIVE.pack(0, 0, each.feature | inverted, *sizes, 0)
        code += each.replacement
    yield SectionSpec(
        layout.ALTERNATIVES, bytes(records), relocations=tuple(references)
    )
    yield SectionSpec(
        layout.REPLACEMENTS,
        bytes(code),
        _CODE_FLAGS,
        relocations=tuple(relocations),
    )


def _exceptions(spec: PayloadSpec) -> SectionSpec | None:
    if not spec.exceptions:
        return None
    places = [place for each in spec.exceptions for place in (each.fault, each.resume)]
    return SectionSpec(
        layout.EXCEPTIONS,
        bytes(layout.EXCEPTION.size * len(spec.exceptions)),
        alignment=4,
        relocations=tuple(
            RelocationSpec(index * 4, R_X86_64_PC32, place)
            for index, place in enumerate(places)
        ),
    )


def _bug_frames(spec: PayloadSpec) -> Iterator[SectionSpec]:
    for kind, name in enumerate(layout.BUG_FRAMES):
        data = bytearray()
        relocations: list[RelocationSpec] = []
        for frame in spec.bug_frames:
            if frame.kind == kind:
                relocations += _shifted(frame.relocations, len(data))
                data += frame.data
        if data:
            yield SectionSpec(
                name, bytes(data), alignment=4, relocations=tuple(relocations)
            )


def _symbols(spec: PayloadSpec, text: _Text) -> Iterator[SymbolSpec]:
    """The names of replacements and, where asked for, of hooks. Local, so that the
    payload can refer to the old function by the same name."""
    pairs: list[tuple[FunctionSpec | HookSpec, Place | str | None]] = []
    pairs += zip(spec.functions, text.functions, strict=True)
    pairs += zip(spec.hooks, text.hooks, strict=True)
    for piece, place in pairs:
        if isinstance(piece, FunctionSpec):
            target = place or piece.new
            name = piece.name if piece.symbol is None else piece.symbol
            size = piece.new_size
        else:
            target, name, size = place or piece.target, piece.symbol, None
        if name and isinstance(target, Place):
            size = len(piece.code or b"") if size is None else size
            yield SymbolSpec(name, target, size, function=True, local=True)
