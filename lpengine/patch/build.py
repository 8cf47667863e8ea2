"""Builds a patch module for whatever the image is: Xen, or a Linux kernel."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from lpengine.compile import DEFAULT_COMPILER
from lpengine.elf import open_image
from lpengine.elf.kernel import is_kernel, open_kernel
from lpengine.errors import UsageError
from lpengine.patch.built import Built
from lpengine.patch.linux import build as linux
from lpengine.patch.linux.module_file import ModuleFile, open_module
from lpengine.patch.xen import build as xen

FORMATS = ("xen", "linux")


class More(TypedDict, total=False):
    """Options as keyword arguments, but for what a caller may say otherwise."""

    format: str
    name: str
    modinfo: Sequence[tuple[str, str]]
    module: Path | None
    atomic_replace: bool


@dataclass(frozen=True)
class Options:
    """What a module is to be besides its code.

    `format` is "xen" or "linux", "" to tell from the image. `depends`, the build id
    of the module below in the stack, is for Xen; `module`, the .ko file whose code
    is patched, and `atomic_replace` are for Linux.
    """

    format: str = ""
    name: str = ""
    modinfo: Sequence[tuple[str, str]] = ()
    depends: str = ""
    module: Path | None = None
    atomic_replace: bool = False

    def named(self, name: str) -> "Options":
        """With that name, if there is none yet."""
        return self if self.name else dataclasses.replace(self, name=name)


def build_c(
    source: Path,
    replace: Mapping[str, str],
    image: Path,
    options: Options,
    *,
    compiler: str = DEFAULT_COMPILER,
) -> Built:
    """Compile a C source into a module for `image`. Raises what the builder of
    that format does, and UsageError for an option of the other."""
    if chosen_format(image, options) == "xen":
        return xen.build_c(
            source,
            replace,
            open_image(image),
            name=options.name,
            depends=options.depends,
            modinfo=options.modinfo,
            compiler=compiler,
        )
    return linux.build_c(
        source,
        replace,
        open_kernel(image),
        module=_module(options),
        name=options.name,
        modinfo=options.modinfo,
        atomic_replace=options.atomic_replace,
        compiler=compiler,
    )


def build_asm(function: str, code: str, image: Path, options: Options) -> Built:
    """Assemble Intel-syntax code into a module that runs in place of `function`."""
    if chosen_format(image, options) == "xen":
        return xen.build_asm(
            function,
            code,
            open_image(image),
            name=options.name,
            depends=options.depends,
            modinfo=options.modinfo,
        )
    return linux.build_asm(
        function,
        code,
        open_kernel(image),
        module=_module(options),
        name=options.name,
        modinfo=options.modinfo,
        atomic_replace=options.atomic_replace,
    )


def chosen_format(image: Path, options: Options) -> str:
    format_ = options.format or ("linux" if is_kernel(image) else "xen")
    if format_ not in FORMATS:
        raise UsageError(f"no module format {format_!r}", hint=" or ".join(FORMATS))
    if format_ == "linux" and options.depends:
        raise UsageError("Linux patches do not name what lies below them")
    if format_ == "xen" and (options.module or options.atomic_replace):
        raise UsageError("only Linux has modules to patch, and atomic replace")
    return format_


def _module(options: Options) -> ModuleFile | None:
    return open_module(options.module) if options.module else None
