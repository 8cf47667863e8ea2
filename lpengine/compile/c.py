"""Compiles C the way a hypervisor's loader can take it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from lpengine.command import CommandError, run
from lpengine.errors import InputError, NotFoundError

DEFAULT_COMPILER = "gcc"

# Included before the source: hidden visibility for externs, the hook macros.
_PRELUDE = Path(__file__).with_name("livepatch.h")

# What __DATE__ and __TIME__ say.
_FIXED_TIME = {"SOURCE_DATE_EPOCH": "0"}

# Xen's loader knows R_X86_64_64, PC32 and PLT32, no common symbols, no FPU and
# no red zone (its interrupt handlers run on the same stack).
_FLAGS = (
    "-std=gnu11",
    "-O2",
    "-ffreestanding",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-common",
    "-fno-jump-tables",
    "-fno-strict-aliasing",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none",
    "-ffunction-sections",
    "-fdata-sections",
    "-mno-red-zone",
    "-mno-sse",
    "-mno-mmx",
)


def compile_c(
    source: Path, *, compiler: str = DEFAULT_COMPILER, flags: Sequence[str] = ()
) -> bytes:
    """The relocatable object of one C source, as bytes.

    The same source gives the same object, wherever it lies. `flags` come last
    and win over the fixed ones.

    Raises NotFoundError without the source or the compiler, InputError with the
    compiler's first complaint.
    """
    return compile_alone(source, compiler, (*_FLAGS, *flags), _PRELUDE)


def compile_alone(
    source: Path, compiler: str, flags: Sequence[str], prelude: Path
) -> bytes:
    """As `compile_c`, with all flags given; `prelude` is included first."""
    if not source.is_file():
        raise NotFoundError(f"{source}: no such source file")
    directory = source.resolve().parent
    with tempfile.TemporaryDirectory(prefix="lpengine-") as scratch:
        output = Path(scratch, "object.o")
        argv = [
            *(compiler, "-nostdinc", "-isystem", _own_headers(compiler)),
            # The directory would otherwise end up in __FILE__.
            f"-ffile-prefix-map={directory}=.",
            *("-include", str(prelude), *flags),
            *("-c", str(directory / source.name), "-o", str(output)),
        ]
        try:
            run(argv, environment=_FIXED_TIME)
        except CommandError as error:
            raise _complaint(source, error) from error
        return output.read_bytes()


def _own_headers(compiler: str) -> str:
    """Where the compiler keeps stdint.h, stddef.h and their like."""
    said = run([compiler, "-print-file-name=include"])
    return said.stdout.decode(errors="replace").strip()


def _complaint(source: Path, error: CommandError) -> InputError:
    lines = error.stderr.decode(errors="replace").splitlines()
    worst = [line for line in lines if "error:" in line] or lines[-1:]
    what = worst[0].strip() if worst else error.message
    if str(source) not in what and source.name not in what:
        what = f"{source}: {what}"
    return InputError(
        what,
        hint="the source is compiled alone, without the target's headers; "
        "declare what it uses",
    )
