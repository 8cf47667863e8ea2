"""Linux kernels as values: from a vmlinuz alone, what modules must know of it."""

from lpengine.elf.kernel.exports import Export
from lpengine.elf.kernel.image import KernelImage, is_kernel, open_kernel
from lpengine.elf.kernel.kallsyms import Entry
from lpengine.elf.kernel.unpack import unpack_kernel, unpack_module

__all__ = [
    "Entry",
    "Export",
    "KernelImage",
    "is_kernel",
    "open_kernel",
    "unpack_kernel",
    "unpack_module",
]
