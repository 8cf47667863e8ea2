"""One emulated CPU; Unicorn is known here only.

Unicorn's habits that this file is built around (release 2.1.4):
- Addresses in the upper half need its virtual TLB mode. There the TLB-fill hook is
  asked about every page first, which makes `GuestMemory` the page table: it
  decides on protections and sees the first write to every page.
- Nothing written from outside reaches translated code before
  `ctl_remove_cache`, not even `mem_write`.
- The edge-generated hook sees every newly translated block before it runs, except
  the first one of an engine; so one block is run when the engine is made.
- Code hooks work only in blocks that are translated after they are set.
"""

from collections.abc import Callable, Sequence
from ctypes import c_void_p
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakMethod

import unicorn
from unicorn import unicorn_const as uc
from unicorn import x86_const as x86

from lpengine.arch.x86 import Instruction, disassemble
from lpengine.errors import LpengineError
from lpengine.machine.code_check import objection, objectionable
from lpengine.machine.layout import PAGE, page_of, pages_of
from lpengine.machine.memory import EXECUTE, READ, WRITE, GuestMemory
from lpengine.machine.stops import Stop, StopKind

REGISTERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "eflags"),
)
_REGISTER_IDS = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in REGISTERS]
_ARGUMENT_IDS = tuple(
    getattr(x86, f"UC_X86_REG_{name}")
    for name in ("RDI", "RSI", "RDX", "RCX", "R8", "R9")
)

_ACCESS = {
    uc.UC_MEM_READ: ("read", READ),
    uc.UC_MEM_WRITE: ("write", WRITE),
    uc.UC_MEM_FETCH: ("fetch", EXECUTE),
}
# Vector numbers of the Intel SDM, volume 3, table 6-1.
_VECTORS = {
    0: "divide error",
    1: "debug exception",
    3: "int3",
    4: "overflow",
    5: "bound range exceeded",
    6: "invalid instruction",
    7: "no FPU",
    8: "double fault",
    10: "invalid TSS",
    11: "segment not present",
    12: "stack-segment fault",
    13: "general protection fault",
    14: "page fault",
    16: "FPU error",
    17: "alignment check",
    19: "SIMD error",
}
_LONGEST_INSTRUCTION = 15


@dataclass(frozen=True)
class CpuState:
    """All registers of a CPU, opaque."""

    context: Any


class Cpu:
    """A CPU over memory that others write, too.

    Every call starts from the state after reset, in 64-bit mode at privilege level
    0; nothing in registers outlives a call.
    """

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self._uc: Any = unicorn.Uc(uc.UC_ARCH_X86, uc.UC_MODE_64)
        # The model with the most that the emulator can do (SMAP, ADX, CLWB, SHA).
        self._uc.ctl_set_cpu_model(x86.UC_CPU_X86_EPYC_ROME)
        self._uc.ctl_set_tlb_mode(uc.UC_TLB_VIRTUAL)
        self._return = memory.layout.return_address
        self._epoch = memory.epoch
        self._running = False
        self._stop: Stop | None = None
        self._unhooked: list[int] = []
        self._hooked: set[int] = set()
        self._map()
        self._fill_hook = self._hook(uc.UC_HOOK_TLB_FILL, self._fill)
        self._hook(uc.UC_HOOK_INTR, self._interrupted)
        self._hook(uc.UC_HOOK_INSN_INVALID, self._invalid)
        self._hook(uc.UC_HOOK_EDGE_GENERATED, self._translated)
        self._reset_state = self._uc.context_save()
        self._run_first_block()

    def _hook(
        self, kind: int, callback: Callable[..., Any], address: int | None = None
    ) -> int:
        """The engine refers to a CPU weakly: memory that is gigabytes wide should
        not have to wait for the collector."""
        method = WeakMethod(callback)

        def call(*arguments: Any) -> Any:
            bound = method()
            return bound(*arguments) if bound else False

        if address is None:
            return int(self._uc.hook_add(kind, call))
        return int(self._uc.hook_add(kind, call, None, address, address))

    def _map(self) -> None:
        for region in self._memory.regions:
            pointer = self._memory.core.pointer(region.span.start)
            self._uc.mem_map_ptr(
                region.span.start,
                region.span.size,
                uc.UC_PROT_ALL,
                c_void_p(pointer),
            )

    def _run_first_block(self) -> None:
        """LpengineError where the engine does not report the block after it:
        without these reports, code that is emulated wrongly would go unnoticed."""
        self._reported = 0
        self._uc.reg_write(x86.UC_X86_REG_RIP, self._memory.layout.return_pages.start)
        if self._start(0) or not self._reported:
            raise LpengineError("this release of Unicorn cannot watch what it runs")

    # Starting and running

    def begin(self, function: int, arguments: Sequence[int], stack: int) -> None:
        """Reset, then set up for a call: register arguments and stack pointer."""
        self._uc.context_restore(self._reset_state)
        for register, value in zip(_ARGUMENT_IDS, arguments, strict=False):
            self._uc.reg_write(register, value)
        self._uc.reg_write(x86.UC_X86_REG_RSP, stack)
        self._uc.reg_write(x86.UC_X86_REG_RIP, function)

    def run(self, count: int) -> Stop:
        """Run at most about `count` instructions; exactly for 1."""
        self.synchronize()
        self._stop = None
        while True:
            failure = self._start(count)
            if self._unhooked and self._stop is None:
                self._hook_objectionable()
                continue
            return self._resting(failure)

    def _start(self, count: int) -> str:
        self._running = True
        try:
            self._uc.emu_start(self.instruction_pointer, self._return, count=count)
        except unicorn.UcError as error:
            return str(error)
        finally:
            self._running = False
        return ""

    def _resting(self, failure: str) -> Stop:
        stop, here = self._stop, self.instruction_pointer
        if stop is not None and stop.access:
            # Known exactly only now that the emulator has wound up its block.
            return self._precise(replace(stop, address=here))
        if stop is not None:
            return stop
        if failure:
            return Stop(StopKind.FAULTED, here, failure)
        if here == self._return:
            return Stop(StopKind.RETURNED, here)
        return Stop(StopKind.COUNTED, here)

    def run_until(self, address: int, count: int) -> Stop:
        """As `run`, and stop before the instruction at `address`."""

        def reached(_uc: Any, here: int, _size: int, _data: Any) -> None:
            self._stop = Stop(StopKind.BREAKPOINT, here)
            self._uc.emu_stop()

        hook = self._uc.hook_add(uc.UC_HOOK_CODE, reached, None, address, address)
        self.forget(address, 1)
        try:
            return self.run(count)
        finally:
            self._uc.hook_del(hook)
            self.forget(address, 1)

    # What others changed

    def synchronize(self) -> None:
        """Drop cached pages and protections when they are out of date."""
        if self._epoch != self._memory.epoch:
            self._epoch = self._memory.epoch
            self._uc.ctl(uc.UC_CTL_TLB_FLUSH, uc.UC_CTL_IO_WRITE)

    def forget(self, address: int, size: int) -> None:
        """Drop translations of code that has changed."""
        for page in pages_of(address, size):
            if self._memory.protection(page) & EXECUTE:
                start, end = max(address, page), min(address + size, page + PAGE)
                self._uc.ctl_remove_cache(start, end)

    def forget_all(self) -> None:
        """Drop all translations."""
        self._uc.ctl_flush_tb()

    # Registers

    @property
    def instruction_pointer(self) -> int:
        return int(self._uc.reg_read(x86.UC_X86_REG_RIP))

    @property
    def stack_pointer(self) -> int:
        return int(self._uc.reg_read(x86.UC_X86_REG_RSP))

    @property
    def result(self) -> int:
        return int(self._uc.reg_read(x86.UC_X86_REG_RAX))

    def registers(self) -> dict[str, int]:
        values = (self._uc.reg_read(register) for register in _REGISTER_IDS)
        return dict(zip(REGISTERS, values, strict=True))

    def save(self) -> CpuState:
        return CpuState(self._uc.context_save())

    def restore(self, state: CpuState) -> None:
        self._uc.context_restore(state.context)

    # Hooks

    def _fill(self, _uc: Any, address: int, access: int, entry: Any, _: Any) -> bool:
        page = page_of(address)
        name, bit = _ACCESS[access]
        granted = self._memory.grant(page, bit)
        if granted:
            entry.paddr = page
            entry.perms = granted
            return True
        if self._running and self._stop is None:
            self._stop = Stop(StopKind.FAULTED, 0, "", name, page)
        return False

    def _interrupted(self, _uc: Any, vector: int, _: Any) -> None:
        here = self.instruction_pointer
        name = _VECTORS.get(vector, f"interrupt {vector:#x}")
        # int3 and `int vector` leave rip behind them, faults do not.
        code = b"\xcc" if vector == 3 else bytes([0xCD, vector & 0xFF])
        if self._code(here - len(code), len(code)) == code:
            here -= len(code)
        self._stop = Stop(StopKind.FAULTED, here, name)
        self._uc.emu_stop()

    def _invalid(self, _uc: Any, _: Any) -> bool:
        here = self.instruction_pointer
        decoded = self._instruction(here)
        what = f"invalid instruction ({decoded.text if decoded else 'undecodable'})"
        if decoded and decoded.mnemonic == "ud2":
            what = "ud2 (a BUG)"
        elif why := self._objection(here):
            what = why
        self._stop = self._stop or Stop(StopKind.FAULTED, here, what)
        return False

    def _translated(self, _uc: Any, block: Any, _before: Any, _: Any) -> None:
        """Look through a new block; where something in it cannot be emulated, stop
        before it, so that it is translated again with a hook on that."""
        self._reported += 1
        new = [
            address
            for address in objectionable(self._code(block.pc, block.size), block.pc)
            if address not in self._hooked
        ]
        if new:
            self._unhooked += new
            self._uc.emu_stop()

    def _hook_objectionable(self) -> None:
        for address in self._unhooked:
            self._hook(uc.UC_HOOK_CODE, self._refused, address)
            self.forget(address, 1)
        self._hooked.update(self._unhooked)
        self._unhooked.clear()

    def _refused(self, _uc: Any, address: int, _size: int, _: Any) -> None:
        """The code may have changed since the hook was set, so look again."""
        if why := self._objection(address):
            self._stop = Stop(StopKind.FAULTED, address, why)
            self._uc.emu_stop()

    def _objection(self, address: int) -> str:
        decoded = self._instruction(address)
        return objection(decoded) if decoded else ""

    def _instruction(self, address: int) -> Instruction | None:
        decoded = disassemble(self._code(address, _LONGEST_INSTRUCTION), address)
        return decoded[0] if decoded else None

    def _code(self, address: int, size: int) -> bytes:
        """What is there, cut short where memory ends."""
        size = min(size, 16 * PAGE)
        while size > 0 and not self._memory.exists(address + size - 1):
            size = page_of(address + size - 1) - address
        if size <= 0 or not self._memory.exists(address):
            return b""
        return self._memory.read(address, size)

    # The exact address of a refused access

    def _precise(self, stop: Stop) -> Stop:
        """The TLB-fill hook knows only pages: carry out the instruction once more
        without it, watching, and undo what that does."""
        if stop.access == "fetch":
            return replace(stop, accessed=stop.address)
        touched: list[tuple[int, int, int]] = []
        undo: list[tuple[int, bytes]] = []
        before = self._uc.context_save()
        hooks = [
            self._uc.hook_add(kind, callback)
            for kind, callback in self._watchers(touched, undo)
        ]
        self._uc.hook_del(self._fill_hook)
        self._uc.ctl(uc.UC_CTL_TLB_FLUSH, uc.UC_CTL_IO_WRITE)
        try:
            self._step_watched(stop.address)
        finally:
            for hook in hooks:
                self._uc.hook_del(hook)
            for address, content in reversed(undo):
                self._uc.mem_write(address, content)
            self._fill_hook = self._hook(uc.UC_HOOK_TLB_FILL, self._fill)
            self._uc.context_restore(before)
            self._uc.ctl(uc.UC_CTL_TLB_FLUSH, uc.UC_CTL_IO_WRITE)
            self.forget(stop.address, _LONGEST_INSTRUCTION)
        return _with_address(stop, touched)

    def _step_watched(self, address: int) -> None:
        self.forget(address, _LONGEST_INSTRUCTION)
        try:
            self._uc.emu_start(address, self._return, count=1)
        except unicorn.UcError:
            return  # it faulted before it, too

    def _watchers(
        self, touched: list[tuple[int, int, int]], undo: list[tuple[int, bytes]]
    ) -> list[tuple[int, Callable[..., Any]]]:
        def valid(
            _uc: Any, access: int, address: int, size: int, _value: int, _: Any
        ) -> None:
            touched.append((access, address, size))
            if access == uc.UC_MEM_WRITE:
                undo.append((address, bytes(self._uc.mem_read(address, size))))

        def invalid(
            _uc: Any, access: int, address: int, size: int, _value: int, _: Any
        ) -> bool:
            touched.append((access, address, size))
            return False

        return [
            (uc.UC_HOOK_MEM_READ | uc.UC_HOOK_MEM_WRITE, valid),
            (uc.UC_HOOK_MEM_READ_UNMAPPED | uc.UC_HOOK_MEM_WRITE_UNMAPPED, invalid),
        ]


def _with_address(stop: Stop, touched: Sequence[tuple[int, int, int]]) -> Stop:
    for _, address, size in touched:
        pages = {page_of(address), page_of(address + size - 1)}
        if stop.accessed in pages:
            accessed = max(address, stop.accessed)
            return replace(stop, accessed=accessed)
    return stop
