"""Assembly text to x86-64 machine code."""

import re
import struct
from collections.abc import Container, Mapping, Sequence
from functools import cache
from typing import Any

from lpengine.arch.disassembly import disassemble
from lpengine.errors import UsageError

# A bare "#" may belong to a static's name ("time.c#read_tsc").
_COMMENT = re.compile(r"(?:^|\s)(?:#|//).*")
_ENDBR = re.compile(r"\bendbr64\b", re.IGNORECASE)
_ENDBR_BYTES = ".byte 0xf3, 0x0f, 0x1e, 0xfa"
_WORD = re.compile(r"[A-Za-z_.$][\w.$]*(?:/[\w./-]+)?(?:#[\w.$]+)?")
_RIP_RELATIVE = re.compile(r"\[\s*rip\s*\+\s*([A-Za-z_.$][\w.$]*)\s*\]", re.IGNORECASE)
_LABEL = re.compile(r"\s*([A-Za-z_.$][\w.$]*)\s*:")

# Displacements no one writes, to find the operand again in the first pass.
_PLACEHOLDER = 0x7FED0000


class _StatementError(Exception):
    """keystone refused; `missing` when only a symbol was unknown."""

    def __init__(self, what: str, missing: bool) -> None:
        super().__init__(what)
        self.what = what
        self.missing = missing


@cache
def _assembler() -> Any:
    # Imported here: keystone's start-up would be felt in every command.
    import keystone

    return keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64)


def _encode(text: str, address: int) -> bytes:
    import keystone

    try:
        encoded, _count = _assembler().asm(text, address, as_bytes=True)
    except keystone.KsError as error:
        what = str(error).partition(" (KS_ERR")[0]
        missing = error.errno == keystone.KS_ERR_ASM_SYMBOL_MISSING
        raise _StatementError(what, missing) from None
    return encoded or b""


def _statements(text: str) -> list[str]:
    lines = [_COMMENT.sub("", line) for line in text.splitlines()]
    parts = [part.strip() for line in lines for part in line.split(";")]
    return [_ENDBR.sub(_ENDBR_BYTES, part) for part in parts if part]


def _with_addresses(statement: str, symbols: Mapping[str, int]) -> str:
    """Symbols as numbers: keystone's own resolver forgets where a PC-relative
    field ends and is off by its size. The mnemonic stays."""

    def number(match: re.Match[str]) -> str:
        address = symbols.get(match.group())
        return match.group() if address is None else hex(address)

    mnemonic, space, operands = statement.partition(" ")
    return mnemonic + space + _WORD.sub(number, operands)


def _with_placeholders(
    statements: Sequence[str], symbols: Mapping[str, int]
) -> tuple[list[str], list[int]]:
    """`[rip + symbol]` as a displacement still to be computed, and the addresses
    meant, in order."""
    wanted: list[int] = []

    def displacement(match: re.Match[str]) -> str:
        if match.group(1) not in symbols:
            return match.group()
        wanted.append(symbols[match.group(1)])
        return f"[rip + {_PLACEHOLDER + len(wanted) - 1:#x}]"

    marked = [_RIP_RELATIVE.sub(displacement, statement) for statement in statements]
    return [_with_addresses(statement, symbols) for statement in marked], wanted


def _with_displacements(code: bytes, address: int, wanted: Sequence[int]) -> bytes:
    patched = bytearray(code)
    instructions = disassemble(code, address) if wanted else ()
    for index, target in enumerate(wanted):
        field = code.find(struct.pack("<I", _PLACEHOLDER + index))
        ends = (i.end for i in instructions if i.end > address + field)
        distance = target - next(ends)
        if not -(1 << 31) <= distance < 1 << 31:
            raise UsageError(
                f"[rip + ...] cannot reach {target:#x} from {address:#x}",
                hint="load the address with movabs first",
            )
        struct.pack_into("<i", patched, field, distance)
    return bytes(patched)


def _defined_labels(statements: Sequence[str]) -> set[str]:
    found = (_LABEL.match(statement) for statement in statements)
    return {match.group(1) for match in found if match}


def _known(
    statements: Sequence[str], symbols: Mapping[str, int], labels: Container[str]
) -> dict[str, int]:
    """Those symbols that the text speaks of: an image has many thousands more, and
    a mapping that finds them may not be able to list them."""
    words = {word for statement in statements for word in _WORD.findall(statement)}
    return {w: symbols[w] for w in words if w not in labels and w in symbols}


def _first_bad(
    statements: Sequence[str], shown: Sequence[str], address: int
) -> tuple[str, str]:
    """The statement that keystone stumbles over, as the user wrote it, and what it
    says. Labels that come later are no mistake."""
    for count in range(1, len(statements) + 1):
        try:
            _encode("\n".join(statements[:count]), address)
        except _StatementError as error:
            if not error.missing:
                return shown[count - 1], error.what
    labels = _defined_labels(statements)
    for statement, text in zip(statements, shown, strict=True):
        try:
            _encode(statement, address)
        except _StatementError as error:
            if not labels.intersection(_WORD.findall(statement)):
                return text, error.what
    return "; ".join(shown), "cannot be assembled"


def assemble(
    text: str, address: int = 0, symbols: Mapping[str, int] | None = None
) -> bytes:
    """Machine code for Intel-syntax `text` as it has to be at `address`.

    Statements end with a line or `;`, comments start with `#` or `//`. `symbols`
    may be the operands of jumps and calls, immediates, and `[rip + symbol]`; a
    label of the text itself hides a symbol of the same name.

    Raises UsageError naming the statement that cannot be assembled.
    """
    statements = _statements(text)
    labels = _defined_labels(statements)
    known = _known(statements, symbols or {}, labels)
    prepared, wanted = _with_placeholders(statements, known)
    try:
        code = _encode("\n".join(prepared), address)
    except _StatementError:
        statement, what = _first_bad(prepared, statements, address)
        raise UsageError(f"cannot assemble {statement!r}: {what}") from None
    return _with_displacements(code, address, wanted)
