"""Reads the function records of a placed module and checks what they point at."""

from dataclasses import dataclass
from itertools import pairwise
from struct import Struct

from lpengine.arch.x86 import boundaries, is_padding, starts_with_endbr
from lpengine.errors import TargetError
from lpengine.loader.names import Names, Place
from lpengine.loader.place import Placement
from lpengine.loader.refusing import refusal
from lpengine.loader.stack import LoadedFunction, Stack, read_pristine
from lpengine.machine.base import Machine
from lpengine.patch.xen.payload_file import PayloadFile

FUNCTIONS_SECTION = ".livepatch.funcs"
RECORD = Struct("<QQQIIB39xB31s")
OLD_ADDRESS_OFFSET = 16

# Enough for the longest NOP record and an instruction behind it.
DECODED = 64

_VERSION = 2
_NOP_MAX = 31
_JUMP_SIZE = 5
_ENDBR_SIZE = 4
_RANGE = 1 << 31
_NAME_MAX = 512


@dataclass(frozen=True)
class Preparation:
    """Everything that the checks of one module look at."""

    name: str
    module: PayloadFile
    placement: Placement
    machine: Machine
    names: Names
    stack: Stack

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the module or the machine. Xen follows a pointer that leads
        nowhere, and faults; here it is a refusal."""
        try:
            return self.placement.read(self.machine, address, size)
        except TargetError as error:
            raise self._no_memory(address, size) from error

    def read_pristine(self, address: int, size: int) -> bytes:
        """The machine's bytes without what applied patches wrote there."""
        try:
            return read_pristine(self.machine, self.stack, address, size)
        except TargetError as error:
            raise self._no_memory(address, size) from error

    def _no_memory(self, address: int, size: int) -> TargetError:
        return refusal(
            "unchecked-pointer",
            f"{self.name}: refers to {size} bytes at {address:#x}, where nothing is",
        )

    def read_string(self, address: int) -> str:
        """A NUL-terminated string of the module, "" for a null pointer."""
        text = bytearray()
        while address and len(text) < _NAME_MAX:
            byte = self.read(address + len(text), 1)
            if byte == b"\0":
                break
            text += byte
        return text.decode("utf-8", "backslashreplace")


def prepare_functions(view: Preparation) -> tuple[LoadedFunction, ...]:
    """Xen 4.17, prepare_payload: the records in order, each wholly checked before
    the next. Looked-up addresses are stored in the records, as Xen does."""
    section = view.module.first(FUNCTIONS_SECTION)
    if section is None:
        return ()
    if section.index not in view.placement.addresses:
        raise refusal(
            "section-not-allocated",
            f"{view.name}: {FUNCTIONS_SECTION} is not marked to be loaded",
        )
    if section.size % RECORD.size:
        raise refusal(
            "funcs-size",
            f"{view.name}: {FUNCTIONS_SECTION} has {section.size} bytes, needed: a"
            f" multiple of {RECORD.size}",
        )
    start = view.placement.addresses[section.index]
    return tuple(
        _prepare_function(view, start + offset, offset // RECORD.size)
        for offset in range(0, section.size, RECORD.size)
    )


def _prepare_function(view: Preparation, record: int, index: int) -> LoadedFunction:
    name_at, new, old, new_size, old_size, version, _, _ = RECORD.unpack(
        view.read(record, RECORD.size)
    )
    where = f"{view.name}: function record {index}"
    if version != _VERSION:
        raise refusal(
            "wrong-version", f"{where} has version {version}, needed: {_VERSION}"
        )
    if not old_size:
        raise refusal("old-size-zero", f"{where} has an old size of 0")
    name = view.read_string(name_at)
    if not old:
        old = _find_old(view, name, where)
        field = view.placement.view(record + OLD_ADDRESS_OFFSET, 8)
        if field is not None:
            field[:] = old.to_bytes(8, "little")
    function = LoadedFunction(name or f"{old:#x}", old, old_size, new, new_size)
    _verify(function, _first_bytes(view, function), view.name)
    return function


def _find_old(view: Preparation, name: str, where: str) -> int:
    place = view.names.find(name)
    if place is None:
        raise refusal(
            "old-function-not-found",
            f"{where}: there is no function {name or '(none)'}",
        )
    return place.address


def _first_bytes(view: Preparation, function: LoadedFunction) -> bytes:
    if view.names.at(function.old_address) is None:
        raise refusal(
            "wrong-old-size",
            f"{view.name}: no function is at {function.old_address:#x}",
        )
    return view.read(function.old_address, _ENDBR_SIZE)


def _verify(function: LoadedFunction, first: bytes, patch: str) -> None:
    """Xen, arch_livepatch_verify_func and livepatch_verify_distance."""
    where = f"{patch}: {function.name}"
    if function.new_address == 0:
        if function.new_size > _NOP_MAX:
            raise refusal(
                "nop-too-long",
                f"{where}: {function.new_size} bytes of NOPs, at most {_NOP_MAX}",
            )
        if function.new_size > function.old_size:
            raise refusal(
                "nop-beyond-function",
                f"{where}: {function.new_size} bytes of NOPs in a function of"
                f" {function.old_size}",
            )
        return
    needed = _JUMP_SIZE + (_ENDBR_SIZE if starts_with_endbr(first) else 0)
    if function.old_size < needed:
        raise refusal(
            "function-too-small",
            f"{where}: {function.old_size} bytes, the jump needs {needed}",
        )
    distance = function.old_address - function.new_address
    if not -_RANGE <= distance < _RANGE:
        raise refusal(
            "function-out-of-reach",
            f"{where}: {distance:+#x} bytes from its replacement",
        )


def check_targets(view: Preparation, functions: tuple[LoadedFunction, ...]) -> None:
    """What Xen takes and dies of, or reverts wrongly: `TargetError` with that
    defect's cause (patch.xen.refusals.DEFECTS) and no errno."""
    for function in functions:
        where = f"{view.name}: {function.name}"
        if view.names.is_init(function.old_address):
            raise refusal(
                "init-target",
                f"{where} at {function.old_address:#x} is gone after boot",
            )
        _check_size(view, function, where)
        if function.new_address == 0:
            size = min(function.old_size, DECODED)
            code = view.read_pristine(function.old_address, size)
            check_nop(function, code, view.name)
    _check_overlap(view, functions)


def _check_size(view: Preparation, function: LoadedFunction, where: str) -> None:
    nearest = view.names.at(function.old_address)
    if nearest and _is_at_start(*nearest) and _size_fits(view, nearest[0], function):
        return
    # Other names of the same code may have other sizes.
    places = view.names.starting_at(function.old_address)
    code = [place for place in places if not place.is_data]
    if not code:
        raise refusal(
            "wrong-old-size",
            f"{where}: {view.names.describe(function.old_address)} is not the start"
            " of a function",
        )
    if not any(_size_fits(view, place, function) for place in code):
        raise refusal(
            "wrong-old-size",
            f"{where}: old size {function.old_size}, the function has"
            f" {max(place.size for place in code)}",
        )


def _is_at_start(place: Place, offset: int) -> bool:
    return offset == 0 and not place.is_data


def _size_fits(view: Preparation, place: Place, function: LoadedFunction) -> bool:
    """Its own size, or that plus padding up to the next symbol: what makes room
    for the jump in a short function. Assembly symbols may have no size."""
    if function.old_size == place.size:
        return True
    end = view.names.end_of(place.address)
    if end is None or place.address + function.old_size > end:
        return False
    if not place.size:
        return True
    if function.old_size < place.size:
        return False
    behind = view.read_pristine(
        place.address + place.size, function.old_size - place.size
    )
    return is_padding(behind)


def check_nop(function: LoadedFunction, code: bytes, patch: str) -> None:
    """NOPs must replace whole instructions, and something behind an endbr64.
    `code` are the function's first bytes, up to `DECODED`."""
    size = function.new_size
    where = f"{patch}: {function.name}"
    if size <= (_ENDBR_SIZE if starts_with_endbr(code) else 0):
        raise refusal(
            "nop-underflow", f"{where}: {size} bytes of NOPs leave nothing to blank"
        )
    starts = boundaries(code, function.old_address)
    if size < function.old_size and function.old_address + size not in starts:
        raise refusal(
            "nop-partial-instruction",
            f"{where}: {size} bytes of NOPs end inside an instruction",
        )


def _check_overlap(view: Preparation, functions: tuple[LoadedFunction, ...]) -> None:
    written = sorted(
        (function.old_address, _written_end(view, function), function.name)
        for function in functions
    )
    for (_, end, first), (start, _, second) in pairwise(written):
        if start < end:
            raise refusal(
                "function-twice",
                f"{view.name}: {first} and {second} overwrite the same bytes",
            )


def _written_end(view: Preparation, function: LoadedFunction) -> int:
    """The end of what applying overwrites, the endbr64 in front included."""
    if function.new_address == 0:
        return function.old_address + function.new_size
    first = view.read(function.old_address, _ENDBR_SIZE)
    skipped = _ENDBR_SIZE if starts_with_endbr(first) else 0
    return function.old_address + skipped + _JUMP_SIZE
