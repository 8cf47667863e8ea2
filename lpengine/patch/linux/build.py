"""Builds Linux live patch modules from C and from assembly, for one kernel.

Everything that the kernel would refuse, or take and suffer from, is refused here
already, with the way out. The same input gives the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lpengine.compile import DEFAULT_COMPILER, compile_kernel_c
from lpengine.elf import parse_image
from lpengine.elf.constants import SHF_WRITE
from lpengine.elf.kernel import KernelImage
from lpengine.errors import BuildError, UsageError
from lpengine.patch.built import Built
from lpengine.patch.linux import layout
from lpengine.patch.linux.abi import LONGEST_MODULE_NAME, ModuleAbi, module_abi
from lpengine.patch.linux.build_assembly import assemble_material
from lpengine.patch.linux.linking import Linked, link
from lpengine.patch.linux.module_file import ModuleFile
from lpengine.patch.linux.object import Material, read_object
from lpengine.patch.linux.spec import (
    CallbackSpec,
    FunctionSpec,
    ModuleSpec,
    ObjectSpec,
    Place,
    SymbolSpec,
)
from lpengine.patch.linux.target import LiveTarget, OldFunction
from lpengine.patch.linux.writer import write_module
from lpengine.patch.model import KlpSymbol

Modinfo = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class _Redirect:
    old: OldFunction
    new: SymbolSpec


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
        _Redirect(target.old_function(old), _new_function(material, old, new, source))
        for old, new in sorted(replace.items())
    )
    builder = _Builder(target, abi, name or source.stem, modinfo, atomic_replace)
    return builder.build(material, redirects)


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
    builder = _Builder(target, abi, name or old.name, modinfo, atomic_replace)
    return builder.build(material, (_Redirect(old, material.symbols[0]),))


class _Builder:
    """Puts material and redirections together into one module."""

    def __init__(
        self,
        target: LiveTarget,
        abi: ModuleAbi,
        name: str,
        modinfo: Modinfo,
        atomic_replace: bool,
    ) -> None:
        self._target = target
        self._abi = abi
        self._name = checked_name(name)
        self._modinfo = tuple(modinfo)
        self._replace = atomic_replace

    def build(self, material: Material, redirects: Sequence[_Redirect]) -> Built:
        _require_distinct(redirects)
        linked = link(material, self._target.bind, _originals(redirects))
        spec = self._spec(material, redirects, linked)
        module = write_module(spec, self._abi)
        return Built(
            payload=module,
            name=self._name,
            build_id=parse_image(module, self._name).build_id,
            functions=tuple(each.old.title for each in redirects),
            notes=tuple(_notes(linked)),
        )

    def _spec(
        self, material: Material, redirects: Sequence[_Redirect], linked: Linked
    ) -> ModuleSpec:
        return ModuleSpec(
            name=self._name,
            objects=(self._object(material, redirects),),
            sections=tuple(linked.sections),
            symbols=_unique_symbols(material.symbols),
            replace=self._replace,
            states=material.states,
            modinfo=(*material.modinfo, *self._modinfo, *self._target_ids()),
            orc=tuple(linked.orc),
            return_sites=tuple(linked.return_sites),
            retpoline_sites=tuple(linked.retpoline_sites),
        )

    def _object(self, material: Material, redirects: Sequence[_Redirect]) -> ObjectSpec:
        functions = tuple(
            FunctionSpec(each.old.name, each.new.place, each.old.occurrence)
            for each in redirects
        )
        callbacks = tuple(CallbackSpec(*each) for each in material.callbacks)
        if not functions and not callbacks:
            raise BuildError(
                "there is nothing to patch: no function is replaced, no callback there",
                codes=("LP-MOD-006",),
                hint="name a function with --replace",
            )
        return ObjectSpec(self._target.object, functions, callbacks)

    def _target_ids(self) -> Modinfo:
        pairs = [(layout.TARGET_KEY + layout.KERNEL, self._abi.build_id)]
        if self._target.module is not None:
            module = self._target.module
            pairs.append((layout.TARGET_KEY + module.name, module.build_id))
        return [(key, value) for key, value in pairs if value]


def _originals(redirects: Sequence[_Redirect]) -> dict[Place, KlpSymbol]:
    return {each.new.place: each.old.symbol for each in redirects}


def _unique_symbols(symbols: Sequence[SymbolSpec]) -> tuple[SymbolSpec, ...]:
    """One for each place and name, in order."""
    return tuple(dict.fromkeys(symbols))


def _notes(linked: Linked) -> list[str]:
    looked_up = sum(
        isinstance(each.target, KlpSymbol)
        for section in linked.sections
        for each in section.relocations
    )
    data = [each.name for each in linked.sections if each.flags & SHF_WRITE]
    notes = []
    if looked_up > 32:
        notes.append(
            f"{looked_up} symbols are looked up by name as it is loaded, which takes "
            "milliseconds each before Linux 6.2"
        )
    if data:
        notes.append(
            f"brings writable data ({', '.join(data)}), which starts afresh with each "
            "load; declare the kernel's own as extern to use that"
        )
    return notes


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


def _require_distinct(redirects: Sequence[_Redirect]) -> None:
    seen: dict[OldFunction, str] = {}
    for redirect in redirects:
        if redirect.old in seen:
            raise BuildError(
                f"{redirect.old.title}: can be redirected only once",
                codes=("LP-SHP-180",),
                hint="name it once",
            )
        seen[redirect.old] = redirect.old.title


def checked_name(name: str) -> str:
    """A module's name, as kbuild makes it of a file's: with underscores."""
    name = name.replace("-", "_")
    if not 1 <= len(name) <= LONGEST_MODULE_NAME or not name.isidentifier():
        raise UsageError(
            f"{name!a} cannot be a module's name",
            hint=f"letters, digits and underscores, at most {LONGEST_MODULE_NAME}",
        )
    return name
