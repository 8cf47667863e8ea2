"""The vCPUs of a machine: calls, calls that are only begun, and who is where."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lpengine.errors import BusyError, FaultError, UsageError
from lpengine.machine.abi import Argument, Frame, build_frame
from lpengine.machine.base import StoppedCpu
from lpengine.machine.faults import FaultReporter
from lpengine.machine.layout import PAGE, STACK_RESERVED, Layout
from lpengine.machine.memory import GuestMemory
from lpengine.machine.stops import Stop, StopKind

if TYPE_CHECKING:  # cpu imports Unicorn, which many commands never need
    from lpengine.machine.cpu import Cpu, CpuState

_SLICE = 100
_SLICES = 10
BUDGET = 10_000_000


@dataclass
class PendingCall:
    """A call that was started and is carried on step by step.

    It lives in this process only: a machine that is opened again has idle CPUs.
    A fault ends it and, unlike that of a whole call, leaves memory as it is.
    """

    cpu: int
    function: int
    frame: Frame = field(repr=False)
    done: bool = False
    value: int | None = None
    fault: FaultError | None = None

    @property
    def result(self) -> int:
        """rax. UsageError while it still runs, its FaultError where it faulted."""
        if self.fault:
            raise self.fault
        if self.value is None:
            raise UsageError(f"the call on CPU {self.cpu} has not returned yet")
        return self.value


@dataclass(frozen=True)
class _PendingState:
    call: PendingCall
    done: bool
    value: int | None
    fault: FaultError | None
    registers: "CpuState"
    stack: bytes
    scratch: bytes


class Processors:
    """All vCPUs, stepped in one thread: locked instructions are not atomic
    between two engines that run at once."""

    def __init__(
        self,
        memory: GuestMemory,
        count: int,
        reporter: FaultReporter,
        make_cpu: Callable[[GuestMemory], "Cpu"],
    ) -> None:
        self._memory = memory
        self._layout: Layout = memory.layout
        self._reporter = reporter
        self._make_cpu = make_cpu
        self._cpus: dict[int, Cpu] = {}
        self._pending: dict[int, PendingCall] = {}
        self.count = count

    def name(self, index: int) -> str:
        return f"CPU {index}" if index < self.count else "the engine's CPU"

    def _cpu(self, index: int) -> "Cpu":
        if index not in self._cpus:
            self._cpus[index] = self._make_cpu(self._memory)
        return self._cpus[index]

    def forget(self, address: int, size: int) -> None:
        for cpu in self._cpus.values():
            cpu.forget(address, size)

    def forget_all(self) -> None:
        for cpu in self._cpus.values():
            cpu.forget_all()

    # Whole calls

    def idle(self) -> int:
        """An idle CPU; where all are inside a call, one of the engine's own."""
        free = (index for index in range(self.count) if index not in self._pending)
        return next(free, self.count)

    def call(
        self, index: int, function: int, arguments: Sequence[Argument], budget: int
    ) -> tuple[int, Frame]:
        """rax and the frame. FaultError, with memory as the call left it."""
        if budget <= 0:
            raise UsageError(f"a budget of {budget} instructions lets nothing run")
        frame = self._begin(index, function, arguments)
        cpu = self._cpu(index)
        stop = cpu.run(budget)
        self._share_code(index)
        if stop.kind is not StopKind.RETURNED:
            raise self._fault(index, stop, budget)
        return cpu.result, frame

    def copy_back(self, index: int, frame: Frame) -> None:
        """Put what the callee left in bytearray arguments into them."""
        scratch = self._layout.scratch(index).start
        for target, offset in frame.copied_back:
            target[:] = self._memory.read(scratch + offset, len(target))

    def _begin(self, index: int, function: int, arguments: Sequence[Argument]) -> Frame:
        if not 0 <= index <= self.count:
            raise UsageError(f"there is no CPU {index}; the machine has {self.count}")
        if index in self._pending:
            raise BusyError(f"CPU {index} is inside a call", cause="busy")
        stack, scratch = self._layout.stack(index), self._layout.scratch(index)
        top = stack.end - STACK_RESERVED
        frame = build_frame(arguments, self._layout.return_address, top, scratch)
        content = frame.stack.ljust(stack.end - frame.stack_pointer, b"\0")
        self._memory.write(frame.stack_pointer, content)
        if frame.scratch:
            self._memory.write(scratch.start, frame.scratch)
        self._cpu(index).begin(function, frame.registers, frame.stack_pointer)
        return frame

    def _fault(self, index: int, stop: Stop, budget: int = 0) -> FaultError:
        if stop.kind is StopKind.COUNTED:
            what = f"still running after {budget} instructions"
            stop = Stop(StopKind.FAULTED, stop.address, what)
        registers = self._cpu(index).registers()
        stack = self._layout.stack(index)
        return self._reporter.error(stop, registers, stack, self.name(index))

    def _share_code(self, writer: int) -> None:
        """What one CPU wrote over code, the others must translate again."""
        if len(self._cpus) > 1:
            for page in self._memory.written_code:
                for index, cpu in self._cpus.items():
                    if index != writer:
                        cpu.forget(page, PAGE)

    # Calls that are only begun

    def start(
        self, index: int, function: int, arguments: Sequence[Argument]
    ) -> PendingCall:
        frame = self._begin(index, function, arguments)
        self._pending[index] = PendingCall(index, function, frame)
        return self._pending[index]

    def pending(self, index: int) -> PendingCall:
        """UsageError where that CPU is idle."""
        if index not in self._pending:
            raise UsageError(f"CPU {index} is idle: start a call on it first")
        return self._pending[index]

    def run(self, index: int, count: int, until: int | None = None) -> PendingCall:
        """Carry a pending call on by about `count` instructions, exactly for 1, or
        up to the address `until`; its fault is kept in it."""
        call, cpu = self.pending(index), self._cpu(index)
        stop = cpu.run(count) if until is None else cpu.run_until(until, count)
        self._share_code(index)
        if stop.kind is StopKind.RETURNED:
            call.done, call.value = True, cpu.result
            self.copy_back(index, call.frame)
        elif stop.kind is StopKind.FAULTED:
            call.done, call.fault = True, self._fault(index, stop)
        if call.done:
            del self._pending[index]
        return call

    def let_run(self) -> tuple[PendingCall, ...]:
        """Some instructions for every pending call, in turn; those that ended."""
        ended = []
        for _ in range(_SLICES):
            for index in sorted(self._pending):
                if (call := self.run(index, _SLICE)).done:
                    ended.append(call)
        return tuple(ended)

    def instruction_pointer(self, index: int) -> int:
        self.pending(index)
        return self._cpu(index).instruction_pointer

    def registers(self, index: int) -> dict[str, int]:
        self.pending(index)
        return self._cpu(index).registers()

    def stopped(self) -> tuple[StoppedCpu, ...]:
        return tuple(self._stopped(index) for index in sorted(self._pending))

    def _stopped(self, index: int) -> StoppedCpu:
        """With its whole stack where the stack pointer points elsewhere."""
        cpu, stack = self._cpu(index), self._layout.stack(index)
        pointer = cpu.stack_pointer
        start = pointer if pointer in stack else stack.start
        content = self._memory.read(start, stack.end - start)
        here = cpu.instruction_pointer
        return StoppedCpu(self.name(index), here, pointer, content)

    # Transactions

    def save(self) -> tuple[_PendingState, ...]:
        """The state of all pending calls, for `restore`."""
        return tuple(self._saved(index, call) for index, call in self._pending.items())

    def _saved(self, index: int, call: PendingCall) -> _PendingState:
        stack, scratch = self._layout.stack(index), self._layout.scratch(index)
        used = len(call.frame.scratch)
        return _PendingState(
            call,
            call.done,
            call.value,
            call.fault,
            self._cpu(index).save(),
            self._memory.read(stack.start, stack.size),
            self._memory.read(scratch.start, used),
        )

    def restore(self, states: Sequence[_PendingState]) -> None:
        self._pending = {state.call.cpu: state.call for state in states}
        for state in states:
            index = state.call.cpu
            state.call.done, state.call.value = state.done, state.value
            state.call.fault = state.fault
            self._cpu(index).restore(state.registers)
            self._memory.write(self._layout.stack(index).start, state.stack)
            self._memory.write(self._layout.scratch(index).start, state.scratch)
