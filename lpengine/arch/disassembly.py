"""x86-64 machine code as instructions and as text."""

import builtins
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lpengine.arch.decoder import decoder
from lpengine.arch.encoding import is_vex

_RETURNS = frozenset(
    name + suffix
    for name in ("ret", "retf", "iret", "sysret", "sysexit")
    for suffix in ("", "d", "q")
)
_LOOPS = frozenset(("loop", "loope", "loopne", "xbegin"))
_NUMBER = re.compile(r"0x[0-9a-f]+|[0-9]+")


@dataclass(frozen=True)
class Instruction:
    """One instruction. `target` is where a direct jump or call goes, else None;
    `is_branch` covers jumps and loops, conditional or not, but not calls."""

    address: int
    bytes: builtins.bytes
    mnemonic: str
    operands: str
    is_branch: bool
    is_call: bool
    is_return: bool
    target: int | None
    is_vex: bool

    @property
    def size(self) -> int:
        return len(self.bytes)

    @property
    def end(self) -> int:
        return self.address + len(self.bytes)

    @property
    def text(self) -> str:
        return f"{self.mnemonic} {self.operands}".rstrip()


def _instruction(
    code: bytes, address: int, mnemonic: str, operands: str
) -> Instruction:
    # "notrack jmp", "bnd ret": the prefixes come first.
    name = mnemonic.rpartition(" ")[2]
    is_call = name in ("call", "lcall")
    is_branch = name in _LOOPS or (name.startswith(("j", "ljmp")) and not is_call)
    direct = (is_branch or is_call) and _NUMBER.fullmatch(operands)
    return Instruction(
        address=address,
        bytes=code,
        mnemonic=mnemonic,
        operands=operands,
        is_branch=is_branch,
        is_call=is_call,
        is_return=name in _RETURNS,
        target=int(operands, 0) if direct else None,
        is_vex=is_vex(code),
    )


def _instructions(code: bytes, address: int) -> Iterator[Instruction]:
    for start, size, mnemonic, operands in decoder().disasm_lite(code, address):
        offset = start - address
        yield _instruction(code[offset : offset + size], start, mnemonic, operands)


def disassemble(code: bytes, address: int) -> tuple[Instruction, ...]:
    """The instructions of `code`, which starts at `address`, up to the first byte
    that cannot be decoded: compare the last `.end` with `address + len(code)`."""
    return tuple(_instructions(bytes(code), address))


def disassemble_lines(
    code: bytes, address: int, symbolize: Callable[[int], str] | None = None
) -> list[str]:
    """One row an instruction: address, bytes, text and, where `symbolize` knows
    its name, the target of a direct jump or call. What cannot be decoded is shown
    as .byte."""
    found = disassemble(code, address)
    lines = [_line(instruction, symbolize) for instruction in found]
    end = found[-1].end if found else address
    for position in range(end - address, len(code)):
        byte = f"{code[position]:02x}"
        lines.append(f"{address + position:016x}  {byte:<30}  .byte 0x{byte}")
    return lines


def _line(instruction: Instruction, symbolize: Callable[[int], str] | None) -> str:
    name = ""
    if symbolize is not None and instruction.target is not None:
        name = symbolize(instruction.target)
    shown = f"  <{name}>" if name else ""
    encoded = instruction.bytes.hex(" ")
    return f"{instruction.address:016x}  {encoded:<30}  {instruction.text}{shown}"


def boundaries(code: bytes, address: int) -> frozenset[int]:
    """Every address at which an instruction starts, and the end of the last."""
    found = disassemble(code, address)
    starts = {instruction.address for instruction in found}
    return frozenset(starts | {found[-1].end if found else address})


def branches_into(
    code: bytes, address: int, span_start: int, span_end: int
) -> tuple[Instruction, ...]:
    """The direct jumps and calls in `code` that land strictly inside the span:
    behind `span_start` and before `span_end`. Overwriting the span would let them
    run into the middle of what was written."""
    return tuple(
        instruction
        for instruction in disassemble(code, address)
        if instruction.target is not None and span_start < instruction.target < span_end
    )
