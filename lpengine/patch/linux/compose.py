"""Puts material and redirections together into one module."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lpengine.elf import parse_image
from lpengine.elf.constants import SHF_WRITE
from lpengine.errors import BuildError, UsageError
from lpengine.patch.built import Built
from lpengine.patch.linux import layout
from lpengine.patch.linux.abi import LONGEST_MODULE_NAME, ModuleAbi
from lpengine.patch.linux.linking import Linked, link
from lpengine.patch.linux.module_file import ModuleFile
from lpengine.patch.linux.object import Material
from lpengine.patch.linux.spec import (
    CallbackSpec,
    FunctionSpec,
    ModuleSpec,
    ObjectSpec,
    Place,
    Reference,
    SymbolSpec,
)
from lpengine.patch.linux.target import OldFunction
from lpengine.patch.linux.writer import write_module
from lpengine.patch.model import KlpSymbol

Modinfo = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Redirect:
    old: OldFunction
    new: SymbolSpec


@dataclass(frozen=True)
class Composer:
    """What a module is besides its code. `modules` are those whose code it patches,
    besides the kernel's."""

    abi: ModuleAbi
    name: str
    modules: Sequence[ModuleFile] = ()
    modinfo: Modinfo = ()
    atomic_replace: bool = False

    def compose(
        self,
        material: Material,
        redirects: Sequence[Redirect],
        bind: Callable[[str], Reference],
        originals: Mapping[Place, KlpSymbol],
        callbacks: Mapping[str, Sequence[CallbackSpec]],
    ) -> Built:
        """The finished module. `bind` and `originals` are as `link` has them;
        `callbacks` are by object, "" is the kernel."""
        name = checked_name(self.name)
        _require_distinct(redirects)
        linked = link(material, bind, originals)
        objects = tuple(_objects(redirects, callbacks))
        if not objects:
            raise BuildError(
                "there is nothing to patch: no function is replaced, no callback there",
                codes=("LP-MOD-006",),
                hint="name a function with --replace",
            )
        spec = ModuleSpec(
            name=name,
            objects=objects,
            sections=tuple(linked.sections),
            symbols=tuple(dict.fromkeys(material.symbols)),
            replace=self.atomic_replace,
            states=material.states,
            modinfo=(*material.modinfo, *self.modinfo, *self._target_ids()),
            orc=tuple(linked.orc),
            return_sites=tuple(linked.return_sites),
            retpoline_sites=tuple(linked.retpoline_sites),
        )
        module = write_module(spec, self.abi)
        return Built(
            payload=module,
            name=name,
            build_id=parse_image(module, name).build_id,
            functions=tuple(each.old.title for each in redirects),
            notes=tuple(_notes(linked)),
        )

    def _target_ids(self) -> Modinfo:
        pairs = [(layout.KERNEL, self.abi.build_id)]
        pairs += [(module.name, module.build_id) for module in self.modules]
        return [(layout.TARGET_KEY + name, value) for name, value in pairs if value]


def _objects(
    redirects: Sequence[Redirect], callbacks: Mapping[str, Sequence[CallbackSpec]]
) -> Iterator[ObjectSpec]:
    """One for each object that anything is done to, the kernel first."""
    functions: dict[str, list[FunctionSpec]] = defaultdict(list)
    for each in redirects:
        spec = FunctionSpec(each.old.name, each.new.place, each.old.occurrence)
        functions[each.old.object].append(spec)
    for name in sorted({*functions, *(n for n, own in callbacks.items() if own)}):
        own = tuple(callbacks.get(name, ()))
        yield ObjectSpec(name, tuple(functions.get(name, ())), own)


def _notes(linked: Linked) -> list[str]:
    looked_up = sum(
        isinstance(each.target, KlpSymbol)
        for section in linked.sections
        for each in section.relocations
    )
    data = [
        each.name
        for each in linked.sections
        if each.flags & SHF_WRITE and each.name.startswith((".data", ".bss"))
    ]
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


def _require_distinct(redirects: Sequence[Redirect]) -> None:
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
