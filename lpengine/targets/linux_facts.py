"""What is so on the running kernel, as facts for the planner."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from lpengine.patch.model import Patch
from lpengine.planner.facts import (
    Capabilities,
    ExportFact,
    Facts,
    ImageFacts,
    KernelFacts,
    LoadedPatch,
    ModuleFact,
    PatchedFunction,
    PatchState,
    Span,
    SymbolFact,
)
from lpengine.targets.linux_image import KernelFile, KernelFiles
from lpengine.targets.linux_modules import look_at_files
from lpengine.targets.linux_store import Kept
from lpengine.targets.linux_symbols import (
    Symbols,
    SymbolTables,
    annotated,
    busy_with,
    read_hooked,
)
from lpengine.targets.linux_tree import (
    LoadedModule,
    RunningPatch,
    Tree,
    are_modules_disabled,
    compiled,
    cpus,
    image_build_id,
    is_tracing,
    loaded_modules,
    module_build_id,
    release,
    running_patches,
    text,
)

# MODULES_LEN on x86-64: what the kernel keeps for modules, 1 GiB at least.
_MODULE_SPACE = 1 << 30
# MODULE_NAME_LEN is 56 with the closing NUL.
_NAME_MAX = 55
_MODULE_MAX = 64 << 20
# The kernel wakes those that hold a transition up after 15 seconds, by a signal.
_PATIENCE = 30.0
# What a module's own relocations may be (arch/x86/kernel/module.c).
_RELOCATIONS = (0, 1, 2, 4, 10, 11, 24)


@dataclass(frozen=True)
class Shown:
    """One look at the kernel, without its symbols. `patches` has each patch that it
    has or that waits to be brought in, bottom of the stack first."""

    running: Mapping[str, RunningPatch]
    modules: tuple[LoadedModule, ...]
    kept: tuple[Kept, ...]

    @property
    def applied(self) -> tuple[str, ...]:
        """Lowest first: in the kernel's own order where it tells, else in that of
        the modules, since each is enabled as it comes in. One on its way off counts
        until it is gone: there are tasks that run its code."""
        age = {module.name: at for at, module in enumerate(self.modules)}
        on = list(self.running.values())
        on.sort(key=lambda patch: (patch.order or 0, age.get(patch.name, -1)))
        return tuple(patch.name for patch in on)

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that counts as loaded, in load order."""
        there = [m.name for m in self.modules if m.livepatch or m.name in self.running]
        names = [*self.running, *there, *(one.name for one in self.kept)]
        wanted = set(names)
        ordered = [module.name for module in self.modules if module.name in wanted]
        return tuple(dict.fromkeys([*ordered, *names]))

    def module(self, name: str) -> LoadedModule | None:
        return next((one for one in self.modules if one.name == name), None)

    def keeping(self, name: str) -> Kept | None:
        return next((one for one in self.kept if one.name == name), None)

    @property
    def in_transition(self) -> str:
        return next((p.name for p in self.running.values() if p.transition), "")


def look(tree: Tree, kept: tuple[Kept, ...]) -> Shown:
    running = {patch.name: patch for patch in running_patches(tree)}
    return Shown(running, loaded_modules(tree), kept)


@dataclass
class Observer:
    """Makes facts. `files` is asked once, and only where there are patches."""

    tree: Tree
    target: str
    boot: str
    files: KernelFiles
    tables: SymbolTables

    def facts(
        self, shown: Shown, patches: Sequence[Patch], *, privileged: bool
    ) -> Facts:
        functions = {function.name for patch in patches for function in patch.functions}
        new = {f.new_symbol for p in patches for f in p.functions if f.new_symbol}
        # What is on already need not be judged any more.
        coming = tuple(p for p in patches if p.name not in shown.running)
        names = wanted_names(coming)
        others = tuple(m.identity for m in shown.modules if not m.livepatch)
        symbols = self.tables.symbols(names, others) if names else Symbols()
        found = self.annotate(symbols, coming, patched_names(shown), others)
        absent = look_at_files(self.tree, coming, [m.name for m in shown.modules])
        for symbol in absent.symbols:
            found[symbol.name] = (*found.get(symbol.name, ()), symbol)
        return Facts(
            target=self.target,
            image=self.image,
            capabilities=self.capabilities(privileged),
            loaded=tuple(self.loaded(shown, name) for name in shown.names),
            applied=shown.applied,
            symbols=found,
            busy=busy_with(self.tree, functions | new) if functions else (),
            in_progress=shown.in_transition,
            kernel=replace(self.kernel(shown, coming, symbols), on_disk=absent.modules),
        )

    def annotate(
        self,
        symbols: Symbols,
        coming: Sequence[Patch],
        ours: Collection[str],
        modules: tuple[str, ...],
    ) -> dict[str, tuple[SymbolFact, ...]]:
        functions = {function.name for patch in coming for function in patch.functions}
        if not functions:
            return dict(symbols.found)
        traced = self.tables.traced(functions, modules)
        return annotated(symbols, traced, read_hooked(self.tree, functions), ours)

    @cached_property
    def image(self) -> ImageFacts:
        """Does not change while it runs."""
        return ImageFacts(
            build_id=image_build_id(self.tree),
            version=release(self.tree),
            text=Span(0, 0),
            init=(),
            patch_area=Span(0, 0),
            patch_area_free=_MODULE_SPACE,
            boot=self.boot,
            compiled=compiled(self.tree),
            cpus=cpus(self.tree),
        )

    def capabilities(self, privileged: bool) -> Capabilities:
        return Capabilities(
            live_patching=self.tree.livepatch.is_dir(),
            privileged=privileged,
            stacking=False,
            consistency="task",
            relocations=_RELOCATIONS,
            largest_module=_MODULE_MAX,
            largest_name=_NAME_MAX,
            format="linux",
            ordered=False,
            replaces_by_module=True,
            patience=_PATIENCE,
            force=True,
        )

    def loaded(self, shown: Shown, name: str) -> LoadedPatch:
        kept, running = shown.keeping(name), shown.running.get(name)
        mine = kept if kept and self.is_mine(kept, shown) else None
        on = running is not None
        present = shown.module(name) is not None
        return LoadedPatch(
            name=name,
            build_id=mine.build_id if mine else self.foreign_build_id(name, on),
            depends="",
            state=PatchState.APPLIED if on else PatchState.CHECKED,
            sha256=mine.sha256 if mine else "",
            reverted=not on and (bool(mine and mine.reverted) or present),
            patched=patched_functions(running),
            states=mine.states if mine else None,
            pinned=bool(mine and mine.pinned),
        )

    def foreign_build_id(self, name: str, on: bool) -> str:
        """A patch that somebody else has brought in is the same as ours where it is
        on and its build id says so. One that is off cannot be put on again without
        its file, and is no use to anybody."""
        return module_build_id(self.tree, name) if on else ""

    def is_mine(self, kept: Kept, shown: Shown) -> bool:
        """Not where another module of the same name has come in since."""
        there = shown.module(kept.name) is not None
        other = module_build_id(self.tree, kept.name) if there else ""
        return not (other and kept.build_id and other != kept.build_id)

    def kernel(
        self, shown: Shown, patches: Sequence[Patch], symbols: Symbols
    ) -> KernelFacts:
        found = self.file if patches else None
        crcs = found.crcs if found else {}
        undefined = {name for patch in patches for name in patch.undefined}
        versions = {each.name for patch in patches for each in patch.versions}
        return KernelFacts(
            release=self.image.version,
            vermagic=found.vermagic if found else "",
            signature_required=signature_required(self.tree),
            lockdown=lockdown(self.tree),
            modules_disabled=are_modules_disabled(self.tree),
            tracing=is_tracing(self.tree),
            modules=tuple(
                ModuleFact(
                    module.name,
                    module_build_id(self.tree, module.name) if patches else "",
                )
                for module in shown.modules
                if not module.livepatch
            ),
            exports=exports(undefined | versions, crcs, symbols),
            exports_known=bool(found) or bool(symbols.exporters),
            symbols_known=symbols.known,
            image=found.path if found else "",
            unwinder=unwinder(symbols),
            built_in=tuple(
                patch.name
                for patch in patches
                if shown.module(patch.name) is None
                and (self.tree.sys / "module" / patch.name).is_dir()
            ),
        )

    @cached_property
    def file(self) -> KernelFile | None:
        return self.files.find(self.image.build_id)


def wanted_names(patches: Sequence[Patch]) -> set[str]:
    names = {name for patch in patches for name in patch.undefined}
    names |= {function.name for patch in patches for function in patch.functions}
    names |= {symbol.name for patch in patches for symbol in patch.klp_symbols}
    return names | ({"orc_sort_cmp", "__start_orc_unwind"} if patches else set())


def patched_names(shown: Shown) -> set[str]:
    return {
        function.name
        for patch in shown.running.values()
        for each in patch.objects
        for function in each.functions
    }


def patched_functions(running: RunningPatch | None) -> tuple[PatchedFunction, ...]:
    if running is None:
        return ()
    return tuple(
        PatchedFunction(each.name, function.name, function.occurrence)
        for each in running.objects
        for function in each.functions
    )


def exports(
    names: Collection[str], crcs: Mapping[str, int], symbols: Symbols
) -> dict[str, ExportFact]:
    """Those of the kernel come with their CRC out of its file, those of modules
    without."""
    found = {
        name: ExportFact(owner, crcs.get(name) if not owner else None)
        for name, owner in symbols.exporters.items()
        if name in names
    }
    found.update({n: ExportFact("", crcs[n]) for n in names if n in crcs})
    return found


def unwinder(symbols: Symbols) -> str:
    """CONFIG_UNWINDER_ORC leaves tables behind; "" where symbols are not shown."""
    if not symbols.known:
        return ""
    tables = ("orc_sort_cmp", "__start_orc_unwind")
    return "orc" if any(name in symbols.found for name in tables) else "frame-pointer"


def signature_required(tree: Tree) -> bool:
    """module.sig_enforce, as Y or N; the parameter is absent where modules are never
    signed, and the kernel built to insist shows Y."""
    return text(tree.sys / "module/module/parameters/sig_enforce") == "Y"


def lockdown(tree: Tree) -> str:
    """The bracketed word of "none [integrity] confidentiality"."""
    levels = text(tree.sys / "kernel/security/lockdown") or ""
    chosen = [word for word in levels.split() if word.startswith("[")]
    return chosen[0].strip("[]") if chosen else "none"
