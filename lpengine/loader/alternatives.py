"""Alternatives and exception tables of a placed module, as Xen prepares them."""

from dataclasses import dataclass
from struct import Struct

from lpengine.arch.x86 import ENDBR64, nops
from lpengine.loader.prepare import Preparation
from lpengine.loader.refusing import refusal
from lpengine.patch.xen.layout import ALTERNATIVE as RECORD
from lpengine.patch.xen.layout import ALTERNATIVE_FEATURES as FEATURES
from lpengine.patch.xen.payload_file import FileSection

# X86_FEATURE_ALWAYS is another name of X86_FEATURE_LM: every x86-64 CPU has it.
FEATURE_ALWAYS = 2 * 32 + 29

_INVERTED = 1 << 15
_REPLACED_MAX = 254
_DONE_OFFSET = 13
_NEAR_BRANCH = 5
_INDIRECT_SIZE = 6
_BACK_TO_ITSELF = -_NEAR_BRANCH
# "UD2; UD0": what Xen leaves where a call has no destination yet.
_NO_DESTINATION = bytes.fromhex("0f0b0fffff")
_EXCEPTION = Struct("<ii")
_EXCEPTION_SORTED = Struct("<II")
_WORD = 1 << 32


@dataclass(frozen=True)
class _Record:
    """A struct alt_instr with its two references as addresses."""

    at: int
    original: int
    replacement: int
    feature: int
    inverted: bool
    original_size: int
    replacement_size: int
    padding: int
    done: bool

    @property
    def room(self) -> int:
        return self.original_size + self.padding


def apply_alternatives(view: Preparation) -> None:
    """Xen 4.17, prepare_payload and _apply_alternatives (with `force`). Where Xen
    4.17 stops the machine with BUG(), this refuses."""
    section = view.module.first(".altinstructions")
    if section is None or section.index not in view.placement.addresses:
        return
    if section.size % RECORD.size:
        raise refusal(
            "alternatives-size",
            f"{view.name}: .altinstructions has {section.size} bytes, needed: a"
            f" multiple of {RECORD.size}",
        )
    if not section.size:
        return
    records = _read_records(view, section)
    _check_positions(view, records)
    for record in records:
        _check_fits(view, record)
    base = records[0]
    touched: set[int] = {record.at for record in records if record.done}
    for record in records:
        if base.original != record.original:
            base = record
        if record.at not in touched:
            _apply(view, record, base.at in touched, touched)
    for at in touched:
        _view(view, at + _DONE_OFFSET, 1)[0] = 1


def _read_records(view: Preparation, section: FileSection) -> list[_Record]:
    start = view.placement.addresses[section.index]
    records = []
    for at in range(start, start + section.size, RECORD.size):
        original, replacement, feature, size, new_size, padding, done = RECORD.unpack(
            view.read(at, RECORD.size)
        )
        records.append(
            _Record(
                at,
                at + original,
                at + 4 + replacement,
                feature & ~_INVERTED,
                bool(feature & _INVERTED),
                size,
                new_size,
                padding,
                bool(done),
            )
        )
    return records


def _check_positions(view: Preparation, records: list[_Record]) -> None:
    if not view.placement.text_size:
        raise refusal(
            "alternatives-without-text", f"{view.name}: alternatives but no code"
        )
    section = view.module.first(".altinstr_replacement")
    if section is None or section.index not in view.placement.addresses:
        raise refusal(
            "alternatives-without-replacement",
            f"{view.name}: alternatives but no .altinstr_replacement",
        )
    text = view.placement.start
    text_end = text + view.placement.text_size
    start = view.placement.addresses[section.index]
    end = start + section.size
    for index, record in enumerate(records):
        where = f"{view.name}: alternative {index}"
        if not text <= record.original <= text_end - record.original_size:
            raise refusal(
                "alternative-outside-text", f"{where} does not change this patch's code"
            )
        if not start <= record.replacement <= end - record.replacement_size:
            raise refusal(
                "alternative-outside-replacement",
                f"{where} takes its bytes from outside .altinstr_replacement",
            )


def _check_fits(view: Preparation, record: _Record) -> None:
    text_end = view.placement.start + view.placement.text_size
    if record.replacement_size > record.room or record.room > _REPLACED_MAX:
        problem = f"{record.replacement_size} bytes do not fit {record.room}"
    elif record.feature >= FEATURES:
        problem = f"CPU feature {record.feature}, known are {FEATURES}"
    elif record.original + record.room > text_end:
        problem = "its padding ends outside the code"
    else:
        return
    raise refusal(
        "foreign-alternatives", f"{view.name}: alternative at {record.at:#x}: {problem}"
    )


def _apply(
    view: Preparation, record: _Record, base_touched: bool, touched: set[int]
) -> None:
    if _has_feature(view, record.feature) == record.inverted:
        # The site keeps its instructions; a site of which nothing was changed yet
        # gets better NOPs behind them.
        if not base_touched:
            touched.add(record.at)
            if record.padding > 1:
                behind = record.original + record.original_size
                _view(view, behind, record.padding)[:] = nops(record.padding)
        return
    code = _replacement(view, record)
    touched.add(record.at)
    _view(view, record.original, record.room)[:] = code + nops(record.room - len(code))


def _has_feature(view: Preparation, feature: int) -> bool:
    return feature == FEATURE_ALWAYS or view.machine.has_cpu_feature(feature)


def _replacement(view: Preparation, record: _Record) -> bytes:
    code = view.read(record.replacement, record.replacement_size)
    if len(code) < _NEAR_BRANCH or code[0] & 0xFE != 0xE8:
        return code
    distance = int.from_bytes(code[1:_NEAR_BRANCH], "little", signed=True)
    if _is_indirect_call(view, record, code[0], distance):
        return _direct_call(view, record, code)
    moved = distance + record.replacement - record.original
    return code[:1] + _encode_distance(view, record, moved) + code[_NEAR_BRANCH:]


def _is_indirect_call(
    view: Preparation, record: _Record, opcode: int, distance: int
) -> bool:
    """An altcall: "call *name(%rip)" whose replacement calls itself."""
    if record.feature != FEATURE_ALWAYS or record.inverted:
        return False
    if distance != _BACK_TO_ITSELF or record.original_size < _INDIRECT_SIZE:
        return False
    wanted = bytes((0xFF, 0x25 if opcode & 1 else 0x15))
    return view.read(record.original, 2) == wanted


def _direct_call(view: Preparation, record: _Record, code: bytes) -> bytes:
    """The pointer is read once, now; its target's endbr64 is skipped."""
    raw = view.read(record.original + 2, 4)
    pointer = record.original + 6 + int.from_bytes(raw, "little", signed=True)
    target = int.from_bytes(view.read(pointer, 8), "little")
    if not target:
        return _NO_DESTINATION + code[_NEAR_BRANCH:]
    if view.read(target, len(ENDBR64)) == ENDBR64:
        target += len(ENDBR64)
    distance = target - (record.original + _NEAR_BRANCH)
    return code[:1] + _encode_distance(view, record, distance) + code[_NEAR_BRANCH:]


def _encode_distance(view: Preparation, record: _Record, distance: int) -> bytes:
    try:
        return distance.to_bytes(4, "little", signed=True)
    except OverflowError as error:
        raise refusal(
            "foreign-alternatives",
            f"{view.name}: alternative at {record.at:#x}: its branch is"
            f" {distance:+#x} bytes long",
        ) from error


def sort_exceptions(view: Preparation) -> None:
    """Xen, sort_exception_table: by faulting address; entries hold distances from
    their own fields, so moving one changes it."""
    section = view.module.first(".ex_table")
    if section is None or section.index not in view.placement.addresses:
        return
    if section.size % _EXCEPTION.size:
        raise refusal(
            "ex-table-size",
            f"{view.name}: .ex_table has {section.size} bytes, needed: a multiple of"
            f" {_EXCEPTION.size}",
        )
    start = view.placement.addresses[section.index]
    places = range(start, start + section.size, _EXCEPTION.size)
    entries = []
    for at in places:
        address, goes_on = _EXCEPTION.unpack(view.read(at, _EXCEPTION.size))
        entries.append((at + address, at + 4 + goes_on))
    for at, (address, goes_on) in zip(places, sorted(entries), strict=True):
        packed = _EXCEPTION_SORTED.pack(
            (address - at) % _WORD, (goes_on - at - 4) % _WORD
        )
        _view(view, at, _EXCEPTION.size)[:] = packed


def _view(view: Preparation, address: int, size: int) -> memoryview:
    found = view.placement.view(address, size)
    assert found is not None, "positions were checked to lie in the module"
    return found
