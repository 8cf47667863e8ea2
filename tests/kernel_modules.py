"""Live patch modules for Debian's kernel, from C in a test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lpengine.elf.kernel import KernelImage
from lpengine.patch.linux.build import build_c

Build = Callable[..., Path]


def builder(kernel: KernelImage, directory: Path) -> Build:
    """`build("name", "int f(void) ...", "f", **more)`: a module in which the source's
    functions take the place of the kernel's of the same name."""

    def build(name: str, source: str, *functions: str, **more: Any) -> Path:
        path = directory / f"{name}.c"
        path.write_text(source)
        built = build_c(path, dict.fromkeys(functions, ""), kernel, name=name, **more)
        module = directory / f"{name}.ko"
        module.write_bytes(built.payload)
        return module

    return build
