"""Compiles C the way a Linux kernel's module loader and unwinder can take it."""

from collections.abc import Sequence
from pathlib import Path

from lpengine.compile.c import DEFAULT_COMPILER, compile_alone

# Included before the source: types, macros for symbols and callbacks.
_PRELUDE = Path(__file__).with_name("kernel.h")

_FLAGS = (
    "-std=gnu11",
    "-O2",
    "-ffreestanding",
    # Modules lie in the upper 2 GiB, beside the kernel.
    "-fno-pic",
    "-fno-pie",
    "-mcmodel=kernel",
    # The kernel's data through pointers: each of them is looked up only once.
    "-mno-direct-extern-access",
    "-mno-red-zone",
    "-mgeneral-regs-only",
    "-mpreferred-stack-boundary=3",
    "-mskip-rax-setup",
    "-fno-common",
    "-fno-jump-tables",
    "-fno-strict-aliasing",
    "-fno-strict-overflow",
    "-fno-delete-null-pointer-checks",
    "-fno-stack-protector",
    # The live patch core looks for new functions on stacks before their module
    # may go: none may run on behind a jump, or in a part split off.
    "-fno-optimize-sibling-calls",
    "-fno-reorder-blocks-and-partition",
    "-ffunction-sections",
    "-fdata-sections",
    "-fasynchronous-unwind-tables",
)
_RETURN_THUNKS = ("-mfunction-return=thunk-extern",)
_RETPOLINES = ("-mindirect-branch=thunk-extern", "-mindirect-branch-register")


def compile_kernel_c(
    source: Path,
    *,
    compiler: str = DEFAULT_COMPILER,
    flags: Sequence[str] = (),
    return_thunks: bool = False,
    retpolines: bool = False,
    landing_pads: bool = False,
) -> bytes:
    """The relocatable object of one C source for a kernel hardened that way.

    The same source gives the same object, wherever it lies. `flags` come last and
    win over the fixed ones. Raises NotFoundError without the source or the compiler,
    InputError with the compiler's first complaint.
    """
    hardening = (
        *(_RETURN_THUNKS if return_thunks else ()),
        *(_RETPOLINES if retpolines else ()),
        f"-fcf-protection={'branch' if landing_pads else 'none'}",
    )
    return compile_alone(source, compiler, (*_FLAGS, *hardening, *flags), _PRELUDE)
