"""The functions of a patch, found on the target."""

from collections.abc import Iterator
from dataclasses import dataclass

from lpengine.arch.x86 import Instruction, disassemble, starts_with_endbr
from lpengine.patch.model import FunctionPatch, Patch
from lpengine.planner.facts import CodeFact
from lpengine.planner.situation import (
    UNPLACED,
    Rewrite,
    Situation,
    old_address,
    overwritten,
)


@dataclass(frozen=True)
class Site:
    """One old function as it is just before the patch is applied.

    `address` is where the patch says it starts, `start` and `end` the offsets it
    overwrites, `rewrites` what earlier steps of the plan will have put there, `bare`
    that the image's own bytes are back, and `stated_size` the size of the symbol the
    patch names: another symbol may start at the same address.
    """

    function: FunctionPatch
    address: int
    code: CodeFact
    start: int
    end: int
    rewrites: tuple[Rewrite, ...]
    bare: bool
    stated_size: int = 0

    @property
    def label(self) -> str:
        return label(self.function)

    @property
    def into(self) -> int:
        """How far inside the containing function the address is."""
        return self.address - self.code.address

    @property
    def size(self) -> int:
        """The function's size; 0 where the image does not say (assembly)."""
        return self.stated_size or self.code.size

    @property
    def now(self) -> bytes:
        """The bytes from `address` on; where `rewrites` are, the old ones."""
        code = self.code.shipped if self.bare else self.code.live
        return code[self.into :] if self.into >= 0 else b""

    @property
    def original(self) -> bytes:
        """The function's own code, without any redirection."""
        ours = self.bare or self.rewrites or self.code.redirected_by
        code = self.code.shipped if ours else self.code.live
        return code[: self.size or len(code)]

    @property
    def room(self) -> int:
        """Bytes up to the next symbol."""
        return len(self.code.live) - self.into

    @property
    def keeps_endbr(self) -> bool:
        return starts_with_endbr(self.now)

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        return disassemble(self.original, self.code.address)


def label(function: FunctionPatch) -> str:
    """What messages call the function; the module's reader calls it the same."""
    return function.name or function.old_symbol or f"function {function.index}"


def sites(patch: Patch, situation: Situation) -> Iterator[Site]:
    """Every function whose place and bytes are known."""
    for function in patch.functions:
        address = old_address(function, situation)
        if address is None or address == UNPLACED:
            continue
        code = situation.code(address)
        if code is None:
            continue
        start, end = overwritten(function, situation, address)
        yield Site(
            function=function,
            address=address,
            code=code,
            start=start,
            end=end,
            rewrites=situation.rewritten(address),
            bare=situation.bare,
            stated_size=stated_size(function, situation),
        )


def stated_size(function: FunctionPatch, situation: Situation) -> int:
    found = situation.symbols(function.wanted) if function.wanted else ()
    return found[0].size if found else 0
