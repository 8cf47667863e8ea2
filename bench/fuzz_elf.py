"""Throws damaged ELF files at the reader, and at the payload reader behind it.

    python -m bench.fuzz_elf --seconds 120 --seed 1 --reader elf

Takes well-formed files, damages them with a random source that `--seed` fixes, and
reads everything there is to read. Exits with 1, and saves the file, where anything
but one ElfError comes out, memory exceeds ten times the file or a file takes longer
than five seconds.
"""

import argparse
import contextlib
import importlib
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from lpengine.command import run
from lpengine.elf import Image, ObjectWriter, parse_image
from lpengine.elf.constants import (
    R_X86_64_64,
    R_X86_64_PC32,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHN_ABS,
    SHT_NOBITS,
    STB_LOCAL,
    STT_FILE,
    STT_FUNC,
    STT_OBJECT,
)
from lpengine.errors import ElfError

SECONDS_MAX = 5
MEMORY_FACTOR = 10
# What an interpreter needs for exceptions, caches and the like, whatever the file.
MEMORY_SLACK = 256 << 10
ADDRESS_SPACE = 4 << 30
MEASURED_EVERY = 16
_STRUCTURE = 64
_INTERESTING = (0, 1, 2, 3, 8, 0x7F, 0xFF, 0xFF00, 0xFFF1, 0xFFFF, 0x10000)
_HUGE = (1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63, (1 << 64) - 1, (1 << 64) - 64)


class Failure(Exception):
    """The reader did what it must never do."""


def exercise(data: bytes) -> list[ElfError]:
    """Reads all that a file holds; returns the ElfErrors that ended a part of it.
    Anything else that is raised is a defect."""
    try:
        image = parse_image(data, "fuzzed")
    except ElfError as error:
        return [error]
    errors = []
    for step in _STEPS:
        try:
            step(image)
        except ElfError as error:
            errors.append(error)
    return errors


def _read_sections(image: Image) -> None:
    for section in image.sections:
        if not section.zero_filled:
            image.section_data(section)


def _read_symbols(image: Image) -> None:
    for number, symbol in enumerate(image.symbols):
        if number < 8:
            image.symbols.named(symbol.qualified_name)
            image.symbols.xen_named(symbol.name)
            image.symbols.at(symbol.value)
            image.symbols.next_after(symbol.value)
            image.symbols[number].qualified_name  # noqa: B018


def _read_tables(image: Image) -> None:
    for section in image.sections[:8]:
        with contextlib.suppress(ElfError):
            len(image.symbol_table(section))


def _read_relocations(image: Image) -> None:
    for section in image.sections:
        with contextlib.suppress(ElfError):
            image.relocations(section)


def _read_notes(image: Image) -> None:
    len(image.notes)


def _read_build_id(image: Image) -> None:
    len(image.build_id)


def _read_memory(image: Image) -> None:
    for segment in image.segments[:8]:
        with contextlib.suppress(ElfError):
            image.read(segment.virtual_address, min(segment.memory_size, 64))
            image.read(segment.end - 1, 1)
    image.read(image.header.entry, 1)
    image.size_in_memory  # noqa: B018


_STEPS: tuple[Callable[[Image], None], ...] = (
    _read_sections,
    _read_symbols,
    _read_tables,
    _read_relocations,
    _read_notes,
    _read_build_id,
    _read_memory,
)


def payload_reader() -> Callable[[bytes], object]:
    """Xen's rules on top: reports violations and raises nothing."""
    # Imported late, so that the ELF room can be fuzzed without the rooms above it.
    reader = importlib.import_module("lpengine.patch.xen.reader")
    return lambda data: reader.read_payload(data, "fuzzed")


def payload_seed() -> bytes:
    """A Xen payload with one of everything that has a format of its own."""
    spec = importlib.import_module("lpengine.patch.xen.spec")
    model = importlib.import_module("lpengine.patch.model")
    writer = importlib.import_module("lpengine.patch.xen.writer")
    code = b"\xf3\x0f\x1e\xfa\xe8" + bytes(4) + b"\xc3"
    call = spec.RelocationSpec(5, R_X86_64_PC32, "callee", -4)
    function = spec.FunctionSpec(
        "one", 64, code, (call,), old_symbol="one", expectation=code[:4]
    )
    place = spec.Place(".text")
    payload = spec.PayloadSpec(
        "11" * 20,
        "22" * 20,
        functions=(function, spec.FunctionSpec("two", 32, new_size=9, old_address=64)),
        hooks=tuple(spec.HookSpec(kind, b"\xc3") for kind in model.HookKind),
        metadata=(("key", "value"),),
        alternatives=(spec.AlternativeSpec(place, 4, b"\x90", 3),),
        exceptions=(spec.ExceptionSpec(place, place),),
        bug_frames=(spec.BugFrameSpec(1, bytes(8)),),
        symbols=(spec.SymbolSpec("new_one", place, 8),),
    )
    data: bytes = writer.write_payload(payload)
    return data


def seed_object() -> bytes:
    """A relocatable file with one of everything."""
    writer = ObjectWriter()
    text = writer.add_section(
        ".text", flags=SHF_ALLOC | SHF_EXECINSTR, data=b"\xc3" * 64, alignment=16
    )
    data = writer.add_section(
        ".data", flags=SHF_ALLOC | SHF_WRITE, data=bytes(64), alignment=8
    )
    bss = writer.add_section(
        ".bss", SHT_NOBITS, SHF_ALLOC | SHF_WRITE, size=4096, alignment=32
    )
    writer.add_note(".note.gnu.build-id", "GNU", 3, bytes(range(20)))
    writer.add_note(".note.other", "Other", 1, b"")
    writer.add_section(".note.GNU-stack")
    writer.add_symbol("a.c", binding=STB_LOCAL, type=STT_FILE, section=SHN_ABS)
    local = writer.add_symbol(
        "static_one", binding=STB_LOCAL, type=STT_OBJECT, section=bss, size=8
    )
    function = writer.add_symbol("_start", type=STT_FUNC, section=text, size=32)
    writer.add_relocation(text, 4, R_X86_64_PC32, local, -4)
    writer.add_relocation(data, 8, R_X86_64_64, function, 0)
    return writer.finish()


def seeds(directory: Path) -> list[bytes]:
    """The object, linked both ways, and without its section headers."""
    start = seed_object()
    source = directory / "seed.o"
    source.write_bytes(start)
    found = [start]
    for options in ([], ["-shared", "--hash-style=both"]):
        out = directory / "seed"
        run(["ld", "-z", "max-page-size=64", *options, "-o", str(out), str(source)])
        linked = out.read_bytes()
        found += [linked, without_sections(linked)]
    return found


def without_sections(data: bytes) -> bytes:
    """Only program headers are left, as in a stripped-down or dumped file."""
    header = bytearray(data)
    header[40:48] = bytes(8)
    header[60:64] = bytes(4)
    return bytes(header)


def damage(data: bytes, chance: random.Random) -> bytes:
    """One to eight damages to a file."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        chance.choice(_DAMAGES)(damaged, chance)
    return bytes(damaged)


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _put(data: bytearray, chance: random.Random) -> None:
    """A suspicious number into a field."""
    size = chance.choice((1, 2, 4, 8))
    place = _place(data, chance) & -size
    near = len(data) + chance.randrange(-64, 65)
    number = chance.choice((*_INTERESTING, *_HUGE, near, chance.randrange(1 << 16)))
    field = struct.pack("<Q", number % (1 << 64))[:size]
    data[place : place + size] = field[: max(0, len(data) - place)]


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _copy(data: bytearray, chance: random.Random) -> None:
    """One record over another one."""
    size = chance.choice((8, 24, 56, 64))
    source, place = _place(data, chance), _place(data, chance)
    block = data[source : source + size]
    data[place : place + len(block)] = block


def _grow(data: bytearray, chance: random.Random) -> None:
    data += bytes([chance.choice((0, 0xFF, 0x41))]) * chance.randrange(1, 4096)


_DAMAGES: Sequence[Callable[[bytearray, random.Random], None]] = (
    _flip,
    _flip,
    _put,
    _put,
    _put,
    _put,
    _cut,
    _copy,
    _grow,
)


def _place(data: bytearray, chance: random.Random) -> int:
    """Mostly where the structure is: the header and the header tables."""
    end = max(len(data), 1)
    kind = chance.randrange(4)
    if kind == 0:
        return chance.randrange(min(_STRUCTURE, end))
    if kind == 1 and len(data) >= _STRUCTURE:
        table = struct.unpack_from("<Q", data, chance.choice((32, 40)))[0]
        return int(min(table + chance.randrange(16 * _STRUCTURE), end - 1))
    return chance.randrange(end)


@contextlib.contextmanager
def deadline(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Failure(f"not read within {seconds} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def check(
    data: bytes,
    readers: Sequence[Callable[[bytes], object]],
    *,
    measured: bool,
    slack: int = MEMORY_SLACK,
) -> None:
    """Raises Failure, or whatever a reader lets escape."""
    for reader in readers:
        with deadline(SECONDS_MAX):
            if measured:
                _check_memory(data, reader, slack)
            else:
                reader(data)


def _check_memory(data: bytes, reader: Callable[[bytes], object], slack: int) -> None:
    tracemalloc.start()
    try:
        reader(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if peak > MEMORY_FACTOR * len(data) + slack:
        raise Failure(f"{peak} bytes of memory for a file of {len(data)}")


def fuzz(
    seconds: float,
    seed: int,
    save: Path,
    readers: Sequence[Callable[[bytes], object]],
    corpus: Sequence[bytes],
    slack: int = MEMORY_SLACK,
) -> int:
    """How many files were read; a failing one is saved before its error leaves."""
    chance = random.Random(seed)
    for reader in readers:  # once unmeasured: the first run imports and caches
        reader(corpus[0])
    end = time.process_time() + seconds
    count = 0
    while time.process_time() < end:
        data = damage(chance.choice(corpus), chance)
        try:
            check(data, readers, measured=count % MEASURED_EVERY == 0, slack=slack)
        except BaseException:
            save.write_bytes(data)
            raise
        count += 1
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description="fuzz the ELF and payload readers")
    parser.add_argument("--seconds", type=float, default=60, help="of CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", choices=("elf", "payload", "both"), default="both")
    parser.add_argument("--save", type=Path, default=Path("fuzz_elf.failed"))
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    with tempfile.TemporaryDirectory() as directory:
        corpus = seeds(Path(directory))
    readers: list[Callable[[bytes], object]] = []
    if arguments.reader != "payload":
        readers.append(exercise)
    if arguments.reader != "elf":
        readers.append(payload_reader())
        corpus += [payload_seed()] * len(corpus)
    try:
        count = fuzz(arguments.seconds, arguments.seed, arguments.save, readers, corpus)
    except Exception as error:
        print(f"{arguments.save}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"{count} files in {arguments.seconds:g} s of CPU, seed {arguments.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
