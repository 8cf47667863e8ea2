"""Says how a live patch module refers to what the running code holds already: by
address where that is proved, by name what the object only declares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lpengine.diff.changes import External, ObjectChanges, Original
from lpengine.elf.kernel import Entry, KernelImage
from lpengine.errors import BuildError
from lpengine.patch.linux import layout
from lpengine.patch.linux.abi import LONGEST_VERSION_NAME
from lpengine.patch.linux.module_file import ModuleFile
from lpengine.patch.linux.running import RunningKernel, RunningModule
from lpengine.patch.linux.spec import Import, Reference
from lpengine.patch.linux.target import LiveTarget, OldFunction
from lpengine.patch.model import KlpSymbol
from lpengine.patch.proof import Proof

Owner: TypeAlias = RunningKernel | RunningModule


@dataclass(frozen=True)
class Bound:
    """What changed in one object, and where its original is in the running code."""

    changes: ObjectChanges
    proof: Proof

    @property
    def owner(self) -> Owner:
        """The kernel or module that the object is part of."""
        owner = self.proof.running
        assert isinstance(owner, RunningKernel | RunningModule)
        return owner

    @property
    def module(self) -> ModuleFile | None:
        return self.owner.module if isinstance(self.owner, RunningModule) else None

    @property
    def object(self) -> str:
        """What a klp_object calls the owner: "" is the kernel."""
        return self.module.name if self.module else ""

    def address_of(self, original: Original) -> int:
        """Where something of the original object is. BuildError where that is not
        certain."""
        address = self.proof.locate(
            original.section, original.offset, original.symbol_index
        )
        if address is None:
            raise BuildError(
                f"{self.changes.name}: where {original.name} is in {self.owner.path} "
                "is not certain",
                codes=("LP-SYM-152",),
                hint="no function of it that was proved refers to it",
            )
        return address


@dataclass(frozen=True, slots=True)
class Target:
    """Where a reference leads: `offset` bytes from what can be named."""

    reference: Reference
    offset: int = 0


class Binder:
    """`modules` are all whose exports the new code may use, besides the kernel's."""

    def __init__(self, kernel: KernelImage, modules: Sequence[ModuleFile]) -> None:
        self._kernel = kernel
        self._modules = tuple(modules)

    def old_function(self, bound: Bound, original: Original) -> OldFunction:
        """The function to redirect. BuildError where ftrace cannot, or where it is
        not the one that runs: a weak one of which another object has a better."""
        if original.symbol_index not in bound.proof.functions:
            raise BuildError(
                f"{bound.changes.name}: {original.name} is not what {bound.owner.path} "
                "has under that name",
                codes=("LP-SYM-152",),
                hint="it is weak, and another object's is used, or several are alike; "
                "leave it out of the fix",
            )
        symbol = self._symbol_at(bound, original)
        if symbol.offset or not isinstance(symbol.reference, KlpSymbol):
            raise _nameless(bound, original)
        name, position = symbol.reference.name, symbol.reference.occurrence
        target = LiveTarget(self._kernel, bound.module)
        return target.old_function(f"{name},{position}" if position else name)

    def original(self, bound: Bound, original: Original) -> Target:
        """Something that the original object defines."""
        if bound.module is None:
            export = self._kernel.exports.get(original.name)
            if export is not None and export.address == bound.address_of(original):
                found = self._of_kernel(original.name)
                if found is not None:
                    return Target(found)
        return self._symbol_at(bound, original)

    def external(self, bound: Bound, external: External) -> Target | None:
        """Something that the object declares and another one defines. None for a
        weak symbol that nothing does. BuildError where it cannot be found."""
        name = external.name
        if bound.module is not None:
            position = bound.module.global_position(name)
            if position is not None:
                return Target(KlpSymbol(bound.module.name, name, position))
        found = self._of_kernel(name) or self._of_modules(name)
        if found is not None:
            return Target(found)
        if external.weak and not self._kernel.named(name):
            return None
        return Target(LiveTarget(self._kernel, bound.module).bind(name))

    def _symbol_at(self, bound: Bound, original: Original) -> Target:
        landmark = bound.owner.landmark(bound.address_of(original), original.name)
        if landmark is None:
            raise _nameless(bound, original)
        return Target(landmark.symbol, landmark.offset)

    def _of_kernel(self, name: str) -> Reference | None:
        """What the kernel exports, or else has under that name for all its files."""
        if name in self._kernel.exports and len(name) <= LONGEST_VERSION_NAME:
            return Import(name)
        found = self._kernel.named(name)
        shared = [n for n, entry in enumerate(found, 1) if entry.is_global]
        if len(shared) != 1:
            return None
        self._require_kept(found[shared[0] - 1])
        position = shared[0] if len(found) > 1 else 0
        return KlpSymbol(layout.KERNEL, name, position)

    def _of_modules(self, name: str) -> Reference | None:
        """What one of the modules exports to others."""
        for module in self._modules:
            position = module.global_position(name) if module.exports(name) else None
            if position is not None:
                return KlpSymbol(module.name, name, position)
        return None

    def _require_kept(self, entry: Entry) -> None:
        if self._kernel.is_init(entry):
            raise BuildError(
                f"{entry.name}: is freed once the kernel has booted",
                codes=("LP-SYM-155",),
                hint="use nothing that is marked __init or __exit",
            )


def _nameless(bound: Bound, original: Original) -> BuildError:
    return BuildError(
        f"{bound.changes.name}: {bound.owner.path} has no symbol by which "
        f"{original.name} could be found",
        codes=("LP-SYM-151",),
        hint="it is in a part that is freed, or that has no symbols",
    )
