"""Builds Xen payloads from C and from assembly, for one image.

Everything that the real hypervisor would refuse, or take and die of, is refused
here already, with the way out. The same input gives the same bytes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from lpengine.compile import DEFAULT_COMPILER, compile_c
from lpengine.elf import Image
from lpengine.errors import BuildError
from lpengine.patch.built import Built
from lpengine.patch.xen.build_assembly import assemble_material
from lpengine.patch.xen.build_image import TargetImage
from lpengine.patch.xen.build_material import Material
from lpengine.patch.xen.build_object import read_object
from lpengine.patch.xen.compose import Composer, Modinfo, Redirect
from lpengine.patch.xen.spec import SymbolSpec

__all__ = ["Built", "build_asm", "build_c"]


def build_c(
    source: Path,
    replace: Mapping[str, str],
    image: Image,
    *,
    name: str = "",
    depends: str = "",
    modinfo: Modinfo = (),
    compiler: str = DEFAULT_COMPILER,
    flags: Sequence[str] = (),
) -> Built:
    """Compile a C source into a payload for `image`.

    `replace` maps functions of the image ("f", or "dir/file.c#f" for a static) to
    those of the source that take their place, "" for one of the same name. Without
    any, the source must have hooks. `depends` is the build id of the payload below
    in the stack; by default there is none, and the image's is used.

    Raises BuildError with the codes of what cannot be live patched, InputError for
    a source that does not compile.
    """
    target = TargetImage(image)
    all_flags = (*target.compiler_flags, *flags)
    raw = compile_c(source, compiler=compiler, flags=all_flags)
    material = read_object(raw, str(source))
    redirects = tuple(
        Redirect(target.old_function(old), _new_function(material, old, new, source))
        for old, new in sorted(replace.items())
    )
    composer = Composer(target, name or source.stem, depends, modinfo)
    composer.note_hidden(material, redirects)
    return composer.compose(material, redirects)


def build_asm(
    function: str,
    code: str,
    image: Image,
    *,
    name: str = "",
    depends: str = "",
    modinfo: Modinfo = (),
) -> Built:
    """Assemble Intel-syntax `code` into a payload that runs in place of `function`.

    The image's symbols can be called, jumped to, and used as `[rip + symbol]` and,
    by movabs, as addresses. Raises UsageError for code that cannot be assembled or
    does not end, BuildError as `build_c`.
    """
    target = TargetImage(image)
    old = target.old_function(function)
    material, notes = assemble_material(old, code, target)
    plain = old.name.rpartition("#")[2]
    composer = Composer(target, name or plain, depends, modinfo)
    built = composer.compose(material, (Redirect(old, material.symbols[0]),))
    return dataclasses.replace(built, notes=(*built.notes, *notes))


def _new_function(
    material: Material, old: str, wanted: str, source: Path
) -> SymbolSpec:
    name = wanted.rpartition("#")[2] or old.rpartition("#")[2]
    functions = {each.name: each for each in material.symbols if each.function}
    if name not in functions:
        defined = ", ".join(sorted(functions)) or "no function"
        raise BuildError(
            f"{source}: defines no function {name!r} to replace {old!r}",
            codes=("LP-SYM-151",),
            hint=f"it defines {defined}; choose one with --replace {old}=NEW",
        )
    return functions[name]
