"""A machine the engine emulates: one image, some CPUs, and a place on disk."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lpengine import core
from lpengine.arch.x86 import ENDBR64
from lpengine.core import Redirection, Site
from lpengine.elf import Image
from lpengine.errors import FaultError, LpengineError, NotFoundError, UsageError
from lpengine.machine.abi import Argument
from lpengine.machine.base import MappedImage, Protection, StoppedCpu
from lpengine.machine.faults import FaultReporter
from lpengine.machine.layout import MAX_CPUS, PAGE, lay_out
from lpengine.machine.memory import GuestMemory
from lpengine.machine.processors import BUDGET, PendingCall, Processors
from lpengine.machine.store import (
    State,
    Store,
)

if TYPE_CHECKING:
    from lpengine.machine.cpu import Cpu

_EXTRA = re.compile(r"\.\d+")
# Above this many changed pages, dropping all translations is cheaper.
_FORGET_EACH = 16


def _make_cpu(memory: GuestMemory) -> "Cpu":
    # Imported here: Unicorn's start-up would be felt in commands that run nothing.
    from lpengine.machine.cpu import Cpu

    return Cpu(memory)


class EmulatedMachine:
    """Implements `machine.base.Machine`; see there for what its methods promise.

    Made by `create_machine`, `open_machine` or, to live in this process only, by
    `from_image`. Not for use by several threads at once.
    """

    def __init__(
        self,
        image: Image,
        memory: GuestMemory,
        *,
        features: Sequence[int] = (),
        version: str = "",
        store: Store | None = None,
        state: State | None = None,
    ) -> None:
        self._image = MappedImage(image, 0)
        self._memory = memory
        self._features = frozenset(features)
        self._version = version
        self._store = store
        self._sequence = state.sequence if state else 0
        self._record = state.record if state else b""
        self._in_transaction = False
        self._reporter = FaultReporter(image, memory)
        self._processors = Processors(
            memory, memory.layout.cpus, self._reporter, _make_cpu
        )

    @classmethod
    def from_image(
        cls, image: Image, *, cpus: int = 1, features: Sequence[int] = ()
    ) -> "EmulatedMachine":
        """A machine that is gone when this process is."""
        if not 1 <= cpus <= MAX_CPUS:
            raise UsageError(f"a machine has 1 to {MAX_CPUS} CPUs, not {cpus}")
        memory = GuestMemory(image, lay_out(image, cpus))
        machine = cls(image, memory, features=features)
        machine._version = machine._ask_version()
        return machine

    # What it is

    @property
    def name(self) -> str:
        return str(self._store.directory) if self._store else self._image.image.path

    @property
    def image(self) -> MappedImage:
        return self._image

    @property
    def version(self) -> str:
        return self._version

    @property
    def cpu_count(self) -> int:
        return self._processors.count

    @property
    def record(self) -> bytes:
        """TargetError where another process has changed the machine: whoever decides
        by what it holds must not decide by what it held."""
        if self._store and not self._in_transaction:
            self._store.check_unchanged()
        return self._record

    @record.setter
    def record(self, value: bytes) -> None:
        with self._durable():
            self._record = bytes(value)

    @property
    def symbolize(self) -> Callable[[int], str] | None:
        """Names addresses outside the image, for fault reports; "" = unknown."""
        return self._reporter.symbolize

    @symbolize.setter
    def symbolize(self, value: Callable[[int], str] | None) -> None:
        self._reporter.symbolize = value

    def has_cpu_feature(self, feature: int) -> bool:
        return feature in self._features

    def iterate_cpu_names(self) -> Iterator[str]:
        return (self._processors.name(index) for index in range(self.cpu_count))

    # Transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable at its end. LpengineError where nested."""
        if self._in_transaction:
            raise LpengineError("a transaction is already under way")
        with self._durable():
            self._in_transaction = True
            try:
                yield
            finally:
                self._in_transaction = False

    @contextmanager
    def _durable(self) -> Iterator[None]:
        """One change: undone by an exception, else written to disk at the end of
        the transaction around it, or here where there is none."""
        record, pending = self._record, self._processors.save()
        self._memory.begin()
        try:
            yield
            if not self._in_transaction:
                self._write_state(self._record != record)
        except BaseException:
            self._record = record
            self._forget_pages(self._memory.rollback())
            self._processors.restore(pending)
            raise
        self._memory.commit()

    def _write_state(self, record_changed: bool) -> None:
        if self._store and (record_changed or self._memory.dirty()):
            state = State(
                self._sequence + 1,
                self._record,
                self._memory.allocations,
                self._memory.patch_protections(),
                self._memory.changes(),
            )
            self._store.commit(state)
            self._sequence += 1

    def _forget_pages(self, pages: Sequence[int]) -> None:
        if len(pages) > _FORGET_EACH:
            self._processors.forget_all()
        else:
            for page in pages:
                self._processors.forget(page, PAGE)

    # Memory

    def read(self, address: int, size: int) -> bytes:
        return self._memory.read(address, size)

    def read_string(self, address: int, limit: int = 4096) -> str:
        """Up to the first NUL or `limit` bytes; undecodable bytes are replaced."""
        content = b""
        while len(content) < limit:
            here = address + len(content)
            piece = self.read(here, min(PAGE - here % PAGE, limit - len(content)))
            content += piece
            if b"\0" in piece:
                break
        return content.split(b"\0")[0].decode(errors="replace")

    def write(self, address: int, data: bytes) -> None:
        with self._durable():
            self._memory.write(address, data)
            self._processors.forget(address, len(data))

    def allocate(self, size: int) -> int:
        with self._durable():
            return self._memory.allocate(size)

    def free(self, address: int) -> None:
        with self._durable():
            self._memory.free(address)
            self._processors.forget_all()

    def protect(self, address: int, size: int, protection: Protection) -> None:
        with self._durable():
            self._memory.protect(address, size, protection)
            self._processors.forget_all()

    @property
    def patch_area(self) -> tuple[int, int, int]:
        area = self._memory.layout.patch_area
        return area.start, area.end, self._memory.largest_free

    def redirect(self, sites: Sequence[Site]) -> tuple[Redirection, ...]:
        with self._durable():
            for site in sites:
                self._about_to_patch(site.address, site.room)
            installed = core.redirect(self._memory.core, sites)
            self._forget_sites(installed)
            return installed

    def take_back(self, redirections: Sequence[Redirection]) -> None:
        with self._durable():
            for each in redirections:
                self._about_to_patch(each.site.address, each.site.room)
            core.take_back(self._memory.core, redirections)
            self._forget_sites(redirections)

    def _about_to_patch(self, address: int, room: int) -> None:
        """The C core checks ranges against whole regions, so check pages here."""
        size = min(max(room, 1), core.SAVED_MAX + len(ENDBR64))
        self._memory.require(address, size)
        self._memory.about_to_write(address, size)

    def _forget_sites(self, redirections: Sequence[Redirection]) -> None:
        if len(redirections) > _FORGET_EACH:
            self._processors.forget_all()
        for each in redirections[:_FORGET_EACH]:
            start = each.site.address + each.offset
            self._processors.forget(start, len(each.installed))

    # Calls

    def call(
        self,
        function: int,
        arguments: Sequence[Argument] = (),
        *,
        budget: int = BUDGET,
        cpu: int | None = None,
    ) -> int:
        """Call a function (System V ABI); rax as an unsigned integer.

        str arguments become NUL-terminated strings, bytes and bytearray buffers; a
        bytearray receives what the function left in it. `budget` is in
        instructions; `cpu` None takes an idle one. FaultError, with everything as
        before the call, where it faults or exceeds the budget. What it changed in
        memory is durable at once, or when the transaction around it ends.
        """
        index = self._processors.idle() if cpu is None else cpu
        with self._durable():
            result, frame = self._processors.call(index, function, arguments, budget)
        self._processors.copy_back(index, frame)
        return result

    def call_by_name(
        self,
        name: str,
        arguments: Sequence[Argument] = (),
        *,
        budget: int = BUDGET,
        cpu: int | None = None,
    ) -> int:
        """As `call`; NotFoundError where the image has no such function."""
        return self.call(self.address_of(name), arguments, budget=budget, cpu=cpu)

    def address_of(self, name: str) -> int:
        """A function of the image; statics are also known as "path/file.c#name".
        UsageError where there are several."""
        found = {s.value for s in self._image.image.symbols.named(name) if s.value}
        if not found:
            raise NotFoundError(f"{self._image.image.path}: no function {name!r}")
        if len(found) > 1:
            hint = f'say which one: "path/file.c#{name}"'
            raise UsageError(f"there are {len(found)} functions {name!r}", hint=hint)
        return found.pop()

    # Calls step by step, for test harnesses

    def start(
        self,
        function: int | str,
        arguments: Sequence[Argument] = (),
        *,
        cpu: int = 0,
    ) -> PendingCall:
        """Begin a call and stop before its first instruction. It is carried on by
        `step`, `run_until`, `let_run` and `finish`, and is lost with the process."""
        if isinstance(function, str):
            function = self.address_of(function)
        return self._processors.start(cpu, function, arguments)

    def step(self, cpu: int, count: int = 1) -> PendingCall:
        """Exactly `count` instructions of the call on a CPU, fewer where it ends.
        FaultError where one faults; the call is then over, memory stays."""
        call = self._processors.pending(cpu)
        for _ in range(count):
            if not call.done:
                self._carry_on(cpu, 1)
        return call

    def run_until(self, cpu: int, address: int, budget: int = BUDGET) -> PendingCall:
        """Up to the next time that `address` is reached, or the call's end."""
        call = self._processors.pending(cpu)
        if self._processors.instruction_pointer(cpu) == address:
            self._carry_on(cpu, 1)
        return call if call.done else self._carry_on(cpu, budget, address)

    def finish(self, cpu: int, budget: int = BUDGET) -> int:
        """Carry a call on to its end; rax. FaultError where the budget is not
        enough; the call is then still under way."""
        call = self._carry_on(cpu, budget)
        if not call.done:
            here = self._processors.instruction_pointer(cpu)
            message = f"{self._reporter.place(here)}: still running after {budget}"
            raise FaultError(f"{message} instructions", address=here)
        return call.result

    def registers(self, cpu: int) -> dict[str, int]:
        """Of a CPU inside a call, by lowercase name, rip and eflags among them."""
        return self._processors.registers(cpu)

    def _carry_on(self, cpu: int, count: int, until: int | None = None) -> PendingCall:
        call = self._processors.run(cpu, count, until)
        if call.fault:
            raise call.fault
        self._persist_ended((call,))
        return call

    def stopped(self) -> tuple[StoppedCpu, ...]:
        return self._processors.stopped()

    def let_run(self) -> None:
        """Some instructions for every CPU inside a call, in turn. A fault ends only
        the call it is in, and is kept there."""
        self._persist_ended(self._processors.let_run())

    def _persist_ended(self, calls: Sequence[PendingCall]) -> None:
        """The effects of a call are durable once it has returned."""
        if any(call.done for call in calls) and not self._in_transaction:
            self._write_state(True)

    # Versions

    def _ask_version(self) -> str:
        """What the image's own functions answer, "" where it has none; whatever
        they do to memory is undone."""
        self._memory.begin()
        try:
            major = self.call_by_name("xen_major_version")
            minor = self.call_by_name("xen_minor_version")
            extra = self.read_string(self.call_by_name("xen_extra_version"))
        except LpengineError:
            return ""
        finally:
            self._forget_pages(self._memory.rollback())
        known = _EXTRA.match(extra)
        return f"{major}.{minor}{known[0] if known else ''}"
