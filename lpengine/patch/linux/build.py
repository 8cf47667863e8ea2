"""Builds Linux live patch modules from C and from assembly, for one kernel.

Everything that the kernel would refuse, or take and suffer from, is refused here
already, with the way out. The same input gives the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lpengine.compile import DEFAULT_COMPILER, compile_kernel_c
from lpengine.elf.kernel import KernelImage
from lpengine.errors import BuildError
from lpengine.patch.built import Built
from lpengine.patch.linux.abi import ModuleAbi, module_abi
from lpengine.patch.linux.build_assembly import assemble_material
from lpengine.patch.linux.compose import Composer, Modinfo, Redirect
from lpengine.patch.linux.module_file import ModuleFile
from lpengine.patch.linux.object import Material, read_object
from lpengine.patch.linux.spec import Place, SymbolSpec
from lpengine.patch.linux.target import LiveTarget
from lpengine.patch.model import KlpSymbol


def build_c(
    source: Path,
    replace: Mapping[str, str],
    kernel: KernelImage,
    *,
    module: ModuleFile | None = None,
    name: str = "",
    modinfo: Modinfo = (),
    atomic_replace: bool = False,
    compiler: str = DEFAULT_COMPILER,
    flags: Sequence[str] = (),
) -> Built:
    """Compile a C source into a live patch module for `kernel`, without its headers.

    `replace` maps functions of the kernel, or of `module`, to those of the source
    that take their place, "" for one of the same name. An old function is "name",
    "name,POSITION" where several have the name, or "dir/file.c#name" for an image
    with symbols. With `atomic_replace` the module takes the place of all older
    ones.

    Raises BuildError with the codes of what cannot be live patched, InputError for
    a source that does not compile.
    """
    target, abi = LiveTarget(kernel, module), module_abi(kernel)
    raw = compile_kernel_c(
        source,
        compiler=compiler,
        flags=flags,
        return_thunks=abi.return_thunks,
        retpolines=abi.retpolines,
        landing_pads=abi.landing_pads,
    )
    material = read_object(raw, str(source))
    redirects = tuple(
        Redirect(target.old_function(old), _new_function(material, old, new, source))
        for old, new in sorted(replace.items())
    )
    composer = _composer(target, abi, name or source.stem, modinfo, atomic_replace)
    return _compose(composer, target, material, redirects)


def build_asm(
    function: str,
    code: str,
    kernel: KernelImage,
    *,
    module: ModuleFile | None = None,
    name: str = "",
    modinfo: Modinfo = (),
    atomic_replace: bool = False,
) -> Built:
    """Assemble Intel-syntax `code` into a module that runs in place of `function`.

    The kernel's symbols can be called, jumped to, and used as `[rip + symbol]`.
    Raises UsageError for code that cannot be assembled or does not end, BuildError
    as `build_c`.
    """
    target, abi = LiveTarget(kernel, module), module_abi(kernel)
    old = target.old_function(function)
    material = assemble_material(
        old.name, code, kernel, return_thunks=abi.return_thunks
    )
    redirects = (Redirect(old, material.symbols[0]),)
    composer = _composer(target, abi, name or old.name, modinfo, atomic_replace)
    return _compose(composer, target, material, redirects)


def _composer(
    target: LiveTarget,
    abi: ModuleAbi,
    name: str,
    modinfo: Modinfo,
    atomic_replace: bool,
) -> Composer:
    modules = (target.module,) if target.module else ()
    return Composer(abi, name, modules, modinfo, atomic_replace)


def _compose(
    composer: Composer,
    target: LiveTarget,
    material: Material,
    redirects: Sequence[Redirect],
) -> Built:
    callbacks = {target.object: material.callbacks}
    return composer.compose(
        material, redirects, target.bind, _originals(redirects), callbacks
    )


def _originals(redirects: Sequence[Redirect]) -> dict[Place, KlpSymbol]:
    return {each.new.place: each.old.symbol for each in redirects}


def _new_function(
    material: Material, old: str, wanted: str, source: Path
) -> SymbolSpec:
    plain = old.rpartition("#")[2].partition(",")[0]
    name = wanted.rpartition("#")[2].partition(",")[0] or plain
    found = material.function(name)
    if found is None:
        functions = [each.name for each in material.symbols if each.function]
        raise BuildError(
            f"{source}: defines no function {name!r} to replace {old!r}",
            codes=("LP-SYM-151",),
            hint=f"it defines {', '.join(sorted(functions)) or 'no function'}; choose "
            f"one with --replace {old}=NEW",
        )
    return found
