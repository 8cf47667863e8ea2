"""What to say about a fault: where, why, and how the CPU got there."""

from collections.abc import Callable, Iterator

from lpengine.arch.x86 import disassemble, disassemble_lines
from lpengine.elf import Image
from lpengine.errors import FaultError
from lpengine.machine.layout import MAX_CPUS, STACK_SIZE, Span, page_of
from lpengine.machine.memory import EXECUTE, GuestMemory
from lpengine.machine.stops import Stop

_BEFORE, _AFTER = 5, 4
_BACKTRACE_DEPTH = 16
_CALL_SIZES = (5, 2, 3, 6, 7, 4, 8)  # e8 rel32 first, then the forms of ff /2
_LONGEST_LOOK_BACK = 64


class FaultReporter:
    """Turns a stop into a FaultError. `symbolize`, where set, is asked first and
    names addresses that the image does not know, such as patch code."""

    def __init__(self, image: Image, memory: GuestMemory) -> None:
        self._image = image
        self._memory = memory
        self.symbolize: Callable[[int], str] | None = None

    def name(self, address: int) -> str:
        """ "symbol+0x12", "" where nothing is known."""
        if self.symbolize and (known := self.symbolize(address)):
            return known
        if not any(address in span for span in self._memory.layout.images):
            return ""
        found = self._image.symbols.at(address)
        if not found:
            return ""
        symbol, offset = found
        return f"{symbol.qualified_name}+{offset:#x}" if offset else symbol.name

    def place(self, address: int) -> str:
        name = self.name(address)
        return f"{name} ({address:#x})" if name else f"{address:#x}"

    def error(
        self, stop: Stop, registers: dict[str, int], stack: Span, cpu: str
    ) -> FaultError:
        what = stop.what or self._access(stop)
        message = f"{self.place(stop.address)}: {what}"
        lines = [f"{message} on {cpu}", *_register_lines(registers)]
        lines += self._code_lines(stop.address)
        lines += self._backtrace_lines(registers["rsp"], stack)
        return FaultError(message, address=stop.address, report="\n".join(lines))

    def _access(self, stop: Stop) -> str:
        where = f"{stop.access} of {stop.accessed:#x}"
        if self._below_a_stack(stop.accessed):
            return f"{where}: stack overflow"
        if self._memory.exists(stop.accessed):
            return f"{where}: not permitted there"
        return f"{where}: no memory there"

    def _below_a_stack(self, address: int) -> bool:
        first = self._memory.layout.stack(0)
        last = self._memory.layout.stack(MAX_CPUS)
        stacks = Span(first.start - STACK_SIZE, last.start)
        return address in stacks and not self._memory.exists(address)

    def _code_lines(self, address: int) -> list[str]:
        start = self._line_before(address)
        code = self._readable(start, address + 15 * (_AFTER + 1) - start)
        if not code:
            return ["code: none there"]
        lines = disassemble_lines(code, start, self.name)
        here = sum(1 for each in disassemble(code, start) if each.address < address)
        shown = range(max(0, here - _BEFORE), min(len(lines), here + _AFTER + 1))
        return ["code:"] + [
            f"{'->' if index == here else '  '} {lines[index]}" for index in shown
        ]

    def _line_before(self, address: int) -> int:
        """A start from which decoding arrives at `address`: the function's, or the
        farthest one near it that works."""
        found = self._image.symbols.at(address) if self.name(address) else None
        if found and 0 < found[1] < 4096:
            candidates = [address - found[1]]
        else:
            candidates = list(range(address - _LONGEST_LOOK_BACK, address))
        for start in candidates:
            instructions = disassemble(self._readable(start, address - start), start)
            if instructions and instructions[-1].end == address:
                return start
        return address

    def _readable(self, address: int, size: int) -> bytes:
        """Bytes from `address`, cut where memory ends."""
        end = address + size
        while end > address and not self._memory.exists(end - 1):
            end = page_of(end - 1)
        if end <= address or not self._memory.exists(address):
            return b""
        return self._memory.read(address, end - address)

    def _backtrace_lines(self, stack_pointer: int, stack: Span) -> list[str]:
        frames = [
            f"   {self.place(each)}"
            for each in self.return_addresses(stack_pointer, stack)
        ]
        return ["return addresses on the stack:", *frames] if frames else []

    def return_addresses(self, stack_pointer: int, stack: Span) -> list[int]:
        """Words on the stack that point behind a call instruction."""
        found: list[int] = []
        if stack_pointer in stack:
            content = self._memory.read(stack_pointer, stack.end - stack_pointer)
            for word in _words(content):
                if len(found) < _BACKTRACE_DEPTH and self._follows_call(word):
                    found.append(word)
        return found

    def _follows_call(self, address: int) -> bool:
        if not self._memory.protection(address) & EXECUTE:
            return False
        for size in _CALL_SIZES:
            code = self._readable(address - size, size)
            decoded = disassemble(code, address - size)
            if len(decoded) == 1 and decoded[0].is_call and decoded[0].size == size:
                return True
        return False


def _words(content: bytes) -> Iterator[int]:
    for offset in range(0, len(content) - 7, 8):
        yield int.from_bytes(content[offset : offset + 8], "little")


def _register_lines(registers: dict[str, int]) -> list[str]:
    cells = [f"{name:>6} {value:016x}" for name, value in registers.items()]
    return ["registers:"] + [
        " ".join(cells[start : start + 3]) for start in range(0, len(cells), 3)
    ]
