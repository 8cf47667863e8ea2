"""What the payload builder has to know about the image it builds for."""

import difflib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lpengine.arch import x86
from lpengine.elf import Image, Symbol
from lpengine.elf.constants import PT_LOAD, STT_SECTION
from lpengine.errors import BuildError, ElfError, InputError
from lpengine.patch.xen.layout import ALTERNATIVE

NEAR_JUMP_SIZE = 5

# As much as tells two builds of a function apart; the record holds 31.
_EXPECTED_MAX = 15

# Xen's configuration packs into less than 10 KiB.
_PACKED_MAX = 1 << 18
_CONFIGURATION_MAX = 1 << 22

_INDIRECT_CALL = b"\xff\x15"


@dataclass(frozen=True)
class OldFunction:
    """A function of the image that can be redirected. `name` is what Xen's built-in
    table calls it, where others may be called so too unless it is `findable`; the
    last `borrowed` of its `size` bytes are the padding behind a function that is too
    short by itself."""

    name: str
    address: int
    size: int
    code: bytes
    borrowed: int = 0
    findable: bool = True


class TargetImage:
    """An image, asked the questions of a builder."""

    def __init__(self, image: Image) -> None:
        if not any(each.type == PT_LOAD for each in image.segments):
            raise InputError(
                f"{image.path}: no linked image: nothing in it is loaded",
                hint="give the file with the symbols of what is running, "
                "such as xen-syms",
            )
        if not image.build_id:
            raise BuildError(
                f"{image.path}: the image has no build id",
                codes=("LP-TGT-104",),
                hint="Xen loads live patches only when it was linked with --build-id",
            )
        self.image = image
        self.build_id = image.build_id

    def old_function(self, wanted: str) -> OldFunction:
        """The function that `wanted` names: a global, "file#name", or the plain
        name of a static that exists once.

        Raises BuildError where it does not exist, is ambiguous, is gone after boot,
        is too short for a jump or jumps back into where that will be.
        """
        return self._redirectable(self.symbol(wanted))

    def _redirectable(self, symbol: Symbol) -> OldFunction:
        self._require_code(symbol)
        name, address = symbol.qualified_name, symbol.value
        own = symbol.size or self._measured_size(address)
        code = self.image.read(address, own)
        needed = room_needed(code)
        _require_no_way_back(name, address, code, needed)
        size, findable = own, self._leads_to(name, address)
        if own < needed:
            size = self._size_with_padding(address, own, needed)
            code = self.image.read(address, size)
        if size < needed:
            raise _too_short(name, own, needed)
        return OldFunction(name, address, size, code, size - own, findable)

    def function_at(self, address: int, shown: str) -> OldFunction:
        """The function at an address, which errors call `shown`; as `old_function`
        for one whose name does not lead there."""
        symbol = self._symbol_at(address)
        if symbol is None:
            raise self._unknown(shown)
        return self._redirectable(symbol)

    def name_at(self, address: int) -> str:
        """What is at an address, for people."""
        symbol = self._symbol_at(address)
        return symbol.qualified_name if symbol else f"{address:#x}"

    def is_init_at(self, address: int) -> bool:
        symbol = self._symbol_at(address)
        return symbol is not None and self.is_init(symbol)

    def reference_to(self, address: int, shown: str) -> str | int:
        """How a payload refers to what is at an address: by a name that Xen finds
        just there, else by the address itself. BuildError for what is gone after
        boot."""
        symbol = self._symbol_at(address)
        if symbol is None:
            start, end = self._init_bounds
            if start <= address < end:
                raise _gone(shown)
            return address
        if self.is_init(symbol):
            raise _gone(symbol.qualified_name)
        name = symbol.qualified_name
        return name if self._leads_to(name, address) else address

    def symbol(self, wanted: str) -> Symbol:
        """The one symbol that `wanted` can mean; see `old_function`."""
        exact = self.image.symbols.xen_named(wanted)
        if len({symbol.value for symbol in exact}) == 1:
            return exact[0]
        found = exact or self.statics(wanted)
        if not found:
            raise self._unknown(wanted)
        if len({symbol.qualified_name for symbol in found}) > 1 or exact:
            raise _ambiguous(wanted, found)
        return found[0]

    def can_mean(self, wanted: str) -> bool:
        """Whether the image has any symbol that goes by this name."""
        return self.has(wanted) or bool(self.statics(wanted))

    @property
    def end(self) -> int:
        """The first address behind the image."""
        return max(each.end for each in self.image.segments if each.type == PT_LOAD)

    def is_init(self, symbol: Symbol) -> bool:
        """Whether Xen frees the symbol's memory once it has booted."""
        if symbol.in_section:
            name = self.image.sections[symbol.section_index].name
            if name.startswith(".init"):
                return True
        start, end = self._init_bounds
        return start <= symbol.value < end

    def usable_name(self, wanted: str) -> str:
        """What a payload has to call the symbol `wanted` so that Xen finds it.

        Raises BuildError as `old_function`, except that data will do.
        """
        symbol = self.symbol(wanted)
        if self.is_init(symbol):
            raise _gone(symbol.qualified_name)
        return symbol.qualified_name

    @property
    def configuration(self) -> bytes:
        """The .config that it was built with, b"" where it does not hold it
        (CONFIG_HYPFS_CONFIG: common/Makefile, config.gz)."""
        found = self.image.symbols.xen_named("xen_config_data")
        if not found:
            return b""
        start = found[0].value
        packed = self.image.read(start, min(self.end - start, _PACKED_MAX))
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            return inflater.decompress(packed, _CONFIGURATION_MAX)
        except zlib.error:
            return b""

    @cached_property
    def compiler_flags(self) -> tuple[str, ...]:
        """The flags that make new code as hardened as the image: the same thunks
        for returns and indirect jumps, ENDBR64 where a pointer may lead."""
        flags: tuple[str, ...] = ()
        if self.has("__x86_return_thunk"):
            flags += ("-mfunction-return=thunk-extern",)
        if self.has("__x86_indirect_thunk_rax"):
            flags += ("-mindirect-branch=thunk-extern", "-mindirect-branch-register")
        if self._has_landing_pads:
            # Hooks are called through pointers, and so is whatever the new code
            # hands out: every such function needs its ENDBR64.
            flags += ("-fcf-protection=branch",)
        return flags

    @cached_property
    def _has_landing_pads(self) -> bool:
        functions = (each for each in self.image.symbols if each.is_function)
        return any(
            x86.starts_with_endbr(self.image.read(each.value, len(x86.ENDBR64)))
            for each in functions
            if each.in_section and each.size >= len(x86.ENDBR64)
        )

    def has(self, name: str) -> bool:
        """Whether Xen would find a symbol of that very name."""
        return bool(self.image.symbols.xen_named(name))

    def expectation(self, function: OldFunction) -> bytes:
        """The longest safe run of bytes, up to 15, that the running image has at
        the start of `function`; empty where none is safe.

        Xen rewrites its own code as it boots: alternatives, indirect calls that
        became direct ones, and ENDBR64 of functions that need none.
        """
        if x86.starts_with_endbr(function.code):
            return b""
        expected = function.code[:_EXPECTED_MAX]
        end = len(expected)
        for start, stop in self._alternatives:
            if start < function.address + end and stop > function.address:
                end = max(0, start - function.address)
        indirect = expected[:end].find(_INDIRECT_CALL)
        return expected[: end if indirect < 0 else indirect]

    def statics(self, wanted: str) -> tuple[Symbol, ...]:
        """What is known by this name within its file only."""
        return tuple(
            symbol
            for symbol in self.image.symbols.named(wanted)
            if symbol.is_local and symbol.in_section
        )

    @cached_property
    def _by_address(self) -> dict[int, Symbol]:
        """Of several symbols at one place one of something, not a label between
        sections; then a global one, whose name is shorter."""
        found: dict[int, Symbol] = {}
        for symbol in self.image.symbols:
            if symbol.in_section and symbol.name and symbol.type != STT_SECTION:
                known = found.setdefault(symbol.value, symbol)
                if _telling(symbol) > _telling(known):
                    found[symbol.value] = symbol
        return found

    def _symbol_at(self, address: int) -> Symbol | None:
        return self._by_address.get(address)

    def _leads_to(self, name: str, address: int) -> bool:
        return {each.value for each in self.image.symbols.xen_named(name)} == {address}

    def _unknown(self, wanted: str) -> BuildError:
        names = {each.qualified_name for each in self.image.symbols if each.in_section}
        near = difflib.get_close_matches(wanted, names - {""}, n=3)
        return BuildError(
            f"{self.image.path}: the image has no symbol {wanted!r}",
            codes=("LP-SYM-151",),
            hint=f"similar names: {', '.join(near)}" if near else "check the spelling",
        )

    def _require_code(self, symbol: Symbol) -> None:
        name = symbol.qualified_name
        if self.is_init(symbol):
            raise BuildError(
                f"{name} is init code: it is gone once the image has booted",
                codes=("LP-SHP-172",),
                hint="patch what still runs, or undo its effect in a load hook",
            )
        section = (
            self.image.sections[symbol.section_index] if symbol.in_section else None
        )
        if section is None or not section.executable:
            raise BuildError(
                f"{name} is no function: it lies in data",
                codes=("LP-SHP-172",),
                hint="only code can be redirected; change data in a load hook",
            )

    def _measured_size(self, address: int) -> int:
        """The distance to the next symbol, without the padding in front of it."""
        end = self.image.symbols.next_after(address)
        if end is None:
            return 0
        instructions = list(
            x86.disassemble(self.image.read(address, end - address), address)
        )
        while instructions and x86.is_padding(instructions[-1].bytes):
            instructions.pop()
        return instructions[-1].end - address if instructions else 0

    def _size_with_padding(self, address: int, own: int, needed: int) -> int:
        """How long the function is when it takes as much of the padding behind it
        as it needs, in whole instructions that nothing jumps to."""
        end = self.image.symbols.next_after(address) or address
        if own == 0 or end - address < needed:
            return own
        code = self.image.read(address, end - address)
        size = own
        for instruction in x86.disassemble(code[own:], address + own):
            if size >= needed or not x86.is_padding(instruction.bytes):
                break
            size = instruction.end - address
        last_own, new_end = address + own - 1, address + size
        if x86.branches_into(code[:own], address, last_own, new_end):
            return own
        return size

    @cached_property
    def _init_bounds(self) -> tuple[int, int]:
        return self._between("_sinittext", "_einittext")

    def _between(self, start: str, end: str) -> tuple[int, int]:
        first, last = (self.image.symbols.xen_named(name) for name in (start, end))
        return (first[0].value, last[0].value) if first and last else (0, 0)

    @cached_property
    def _alternatives(self) -> tuple[tuple[int, int], ...]:
        """Start and end of every piece of code that alternatives may rewrite."""
        start, end = self._between("__alt_instructions", "__alt_instructions_end")
        count = max(0, end - start) // ALTERNATIVE.size
        try:
            table = self.image.read(start, count * ALTERNATIVE.size)
        except ElfError:
            return ()
        spans = []
        for index, record in enumerate(ALTERNATIVE.iter_unpack(table)):
            distance, _, _, size, _, padding, _ = record
            original = start + index * ALTERNATIVE.size + distance
            spans.append((original, original + size + padding))
        return tuple(spans)


def _telling(symbol: Symbol) -> tuple[bool, bool]:
    return symbol.size > 0, not symbol.is_local


def _gone(name: str) -> BuildError:
    return BuildError(
        f"{name} is used, but it is gone once the image has booted",
        codes=("LP-SYM-155",),
        hint="bring a copy of it in the payload",
    )


def _ambiguous(wanted: str, found: Sequence[Symbol]) -> BuildError:
    names = sorted({symbol.qualified_name for symbol in found})
    return BuildError(
        f"{wanted!r} can mean {', '.join(names)}",
        codes=("LP-SYM-152",),
        hint="name one of them in full",
    )


def room_needed(code: bytes) -> int:
    """Bytes that a redirection takes at the start of a function: a near jump, behind
    an ENDBR64 (xen arch/x86/livepatch.c, arch_livepatch_verify_func)."""
    landing_pad = len(x86.ENDBR64) if x86.starts_with_endbr(code) else 0
    return landing_pad + NEAR_JUMP_SIZE


def _require_no_way_back(name: str, address: int, code: bytes, needed: int) -> None:
    end = address + needed
    found = x86.branches_into(code, address, end - NEAR_JUMP_SIZE, end)
    if found:
        raise BuildError(
            f"{name} cannot be redirected: {found[0].text!r} at "
            f"{found[0].address:#x} goes back into its first {needed} bytes",
            codes=("LP-SHP-175",),
            hint="patch its callers instead",
        )


def _too_short(name: str, size: int, needed: int) -> BuildError:
    return BuildError(
        f"{name} is too short to be redirected: {size} bytes, needed {needed}, and "
        "no padding behind it",
        codes=("LP-SHP-171",),
        hint="patch its callers instead",
    )
