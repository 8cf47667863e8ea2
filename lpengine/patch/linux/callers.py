"""Who calls whom in a kernel, told from its bytes: the objects that it was linked from
are not there.

Bytes that only look like a call make something look called that is not. So more counts
as running than does, and never less.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator

from lpengine.elf import Section
from lpengine.elf.constants import SHT_NOBITS
from lpengine.elf.kernel import KernelImage
from lpengine.patch.boot_only import CallGraph

# Where a secondary processor starts (arch/x86/kernel/smpboot.c, arch/x86/xen/smp_pv.c),
# and what it does from then on (kernel/sched/idle.c).
_BRING_UP = frozenset({"start_secondary", "cpu_bringup"})
_LASTING = "cpu_startup_entry"
# What to do with a new one (arch/x86/kernel/cpu/cpu.h, struct cpu_dev).
_BRING_UP_TABLE = re.compile(r"[a-z]+_cpu_dev|default_cpu")
# Tables whose pointers are followed while booting, or by ftrace alone.
_QUIET = (
    ("__start_mcount_loc", "__stop_mcount_loc"),
    ("__initcall_start", "__initcall_end"),
)
# Tables that keep distances to functions (HAVE_ARCH_PREL32_RELOCATIONS).
_DISTANCES = ("__ksymtab", ".pci_fixup")
# The rest of the code are replacements and parts for alternatives.
_FUNCTIONS = (".text", ".init.text", ".exit.text")
_BOOT = ".init.text"

# call, jmp, and jcc; lea from the instruction pointer.
_BRANCH = re.compile(rb"[\xe8\xe9]|\x0f[\x80-\x8f]")
_ADDRESS = re.compile(rb"\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]")
_HIGH = 0xFFFF_FFFF_0000_0000


def call_graph(kernel: KernelImage) -> CallGraph:
    """Of the kernel itself, without modules: what is exported to them is live."""
    scan = _Scan(kernel)
    for section in kernel.image.sections:
        if not section.allocated or section.type == SHT_NOBITS:
            continue
        if section.executable:
            scan.read_code(section)
        else:
            scan.read_data(section)
    return scan.graph


class _Scan:
    def __init__(self, kernel: KernelImage) -> None:
        self._kernel = kernel
        code = [s for s in kernel.image.sections if s.allocated and s.executable]
        self._ranges = [(s.address, s.address + s.size) for s in code]
        self._ends = {s.address + s.size for s in code}
        entries = [e for e in kernel.symbols if self._is_code(e.address)]
        self._starts = frozenset(entry.address for entry in entries)
        self._sorted = sorted(self._starts | self._ends)
        self._bring_up = {e.address for e in entries if e.name in _BRING_UP}
        lasting = {e.address for e in entries if e.name == _LASTING}
        self._tables = [
            (entry.address, entry.address + kernel.size_of(entry))
            for entry in kernel.symbols
            if _BRING_UP_TABLE.fullmatch(entry.name)
        ]
        self.graph = CallGraph(boot=set(self._bring_up), live=lasting)

    def read_code(self, section: Section) -> None:
        data = bytes(self._kernel.image.section_data(section))
        is_plain = section.name in _FUNCTIONS
        if section.name == _BOOT:
            end = section.address + section.size
            self.graph.boot |= {
                each for each in self._starts if section.address <= each < end
            }
        for at, target in _relative(_BRANCH, data, section.address):
            if target in self._starts or (is_plain and self._is_code(target)):
                self._note_branch(at if is_plain else None, target)
        for _, target in _relative(_ADDRESS, data, section.address):
            self._note_live(target)
        for target in self._absolute(data):
            self._note_live(target)

    def read_data(self, section: Section) -> None:
        data = bytearray(self._kernel.image.section_data(section))
        for begin, end in self._tables:
            place = slice(*(_within(each, section) for each in (begin, end)))
            self.graph.bring_up |= self._pointers(data[place])
            data[place] = bytes(place.stop - place.start)
        for names in _QUIET:
            found = [self._kernel.named(name) for name in names]
            if all(found):
                place = slice(*(_within(each[0].address, section) for each in found))
                data[place] = bytes(place.stop - place.start)
        for target in self._pointers(data):
            self._note_live(target)
        if section.name.startswith(_DISTANCES):
            words = memoryview(data[: len(data) // 4 * 4]).cast("i")
            for index, word in enumerate(words):
                self._note_live(section.address + 4 * index + word)

    def _note_branch(self, at: int | None, target: int) -> None:
        called = self._holder(target)
        if at is None:
            self._note_live(called)
        elif self._holder(at) != called:
            self.graph.calls[self._holder(at)].add(called)

    def _note_live(self, target: int) -> None:
        if target in self._starts and target not in self._bring_up:
            self.graph.live.add(target)

    def _holder(self, address: int) -> int:
        """The start of the function that holds a place."""
        return self._sorted[max(bisect_right(self._sorted, address) - 1, 0)]

    def _is_code(self, address: int) -> bool:
        return any(start <= address < end for start, end in self._ranges)

    def _pointers(self, data: bytearray) -> frozenset[int]:
        return self._starts.intersection(
            memoryview(data[: len(data) // 8 * 8]).cast("Q")
        )

    def _absolute(self, data: bytes) -> Iterator[int]:
        """Addresses of functions that instructions hold in 32 bits."""
        first, last = (
            each[0] >> 24 & 0xFF for each in (self._sorted, self._sorted[-1:])
        )
        highest = re.compile(b"[%s-%s]" % (_escaped(first), _escaped(last)))
        for found in highest.finditer(data, 3):
            field = data[found.start() - 3 : found.end()]
            yield _HIGH | int.from_bytes(field, "little")


def _relative(
    pattern: re.Pattern[bytes], data: bytes, address: int
) -> Iterator[tuple[int, int]]:
    """Where instructions with a distance of 32 bits may be, and where they lead."""
    for found in pattern.finditer(data, 0, max(len(data) - 4, 0)):
        end = found.end() + 4
        distance = int.from_bytes(data[end - 4 : end], "little", signed=True)
        yield address + found.start(), address + end + distance


def _within(address: int, section: Section) -> int:
    return min(max(address - section.address, 0), section.size)


def _escaped(byte: int) -> bytes:
    return b"\\x%02x" % byte
