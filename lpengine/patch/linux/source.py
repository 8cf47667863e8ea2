"""What becomes of a source fix for Linux: proved, judged and made into a module."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lpengine.compile.source import SourceBuild
from lpengine.compile.tree import ObjectPair, Settings
from lpengine.diff.changes import Changes, Refusal, Status, Verdict
from lpengine.diff.differ import diff_images
from lpengine.elf import open_image
from lpengine.elf.kernel import KernelImage
from lpengine.errors import BuildError, NotFoundError
from lpengine.patch.boot_only import refusals
from lpengine.patch.built import Built
from lpengine.patch.linux.binding import Binder, Bound, Owner
from lpengine.patch.linux.build_changes import build_changes
from lpengine.patch.linux.callers import call_graph
from lpengine.patch.linux.layouts import layout_differences
from lpengine.patch.linux.modules import Modules
from lpengine.patch.linux.running import RunningKernel, RunningModule, disproved
from lpengine.patch.linux.unlike import cause
from lpengine.patch.proof import Difference, Proof, prove
from lpengine.patch.source import SourceOptions
from lpengine.patch.unproved import NotProvedError


class LinuxMaker:
    """Live patch modules for one kernel; see lpengine.patch.source.Maker."""

    def __init__(
        self,
        kernel: KernelImage,
        modules: Modules,
        options: SourceOptions,
        *,
        atomic_replace: bool = False,
    ) -> None:
        self._kernel = kernel
        self._modules = modules
        self._options = options
        self._atomic_replace = atomic_replace
        self._owners: dict[str, Owner] = {}

    def configuration(self) -> tuple[bytes, str]:
        own = self._kernel.configuration
        if own:
            return own, f"{self._kernel.path}'s own"
        beside = Path(self._kernel.path).parent / f"config-{self._kernel.release}"
        return (beside.read_bytes(), str(beside)) if beside.is_file() else (b"", "")

    def prove(self, source: SourceBuild, settings: Settings) -> Mapping[str, Proof]:
        proofs: dict[str, Proof] = {}
        differences: list[Difference] = []
        for pair in source.pairs:
            owner = self._owner(pair)
            if pair.original is not None and owner is not None:
                proof = prove(pair.name, open_image(pair.original), owner)
                proofs[pair.name] = proof
                differences += disproved(proof)
                if pair.differs:
                    differences += layout_differences(pair.name, proof, self._kernel)
        if differences:
            why = cause(self._kernel, differences, source, settings)
            raise NotProvedError(self._kernel.path, differences, why)
        return proofs

    def judge(
        self, source: SourceBuild, changes: Changes, proofs: Mapping[str, Proof]
    ) -> Sequence[Refusal]:
        bounds = _bound(changes, proofs)
        return (
            *(each for bound in bounds for each in self._not_redirected(bound)),
            *self._boot_only(changes, proofs, bounds),
        )

    def make(
        self,
        changes: Changes,
        proofs: Mapping[str, Proof],
        modinfo: Sequence[tuple[str, str]],
    ) -> Built:
        bounds = _bound(changes, proofs)
        patched = [bound.module for bound in bounds if bound.module is not None]
        return build_changes(
            bounds,
            self._kernel,
            self._modules.with_needed(patched),
            name=self._options.name,
            modinfo=modinfo,
            atomic_replace=self._atomic_replace,
        )

    def _owner(self, pair: ObjectPair) -> Owner | None:
        """The code that an object is part of. None for an object of a module that is
        not there and need not be, since nothing in it changes."""
        if pair.module not in self._owners:
            module = self._modules.named(pair.module) if pair.module else None
            if pair.module and module is None:
                if _changes(pair):
                    raise NotFoundError(
                        f"{pair.name}: is part of the module {pair.module}, which is "
                        f"not among those of {self._kernel.path}",
                        hint="give it, or the directory it is in, with --module",
                    )
                return None
            self._owners[pair.module] = (
                RunningModule(module) if module else RunningKernel(self._kernel)
            )
        return self._owners[pair.module]

    def _boot_only(
        self, changes: Changes, proofs: Mapping[str, Proof], bounds: Sequence[Bound]
    ) -> Iterator[Refusal]:
        """Where all that changes has done its work. A copy that boot code has of what
        is inlined elsewhere is no reason."""
        own = [each.changes for each in bounds if each.module is None]
        changed = [name for each in bounds for name in each.changes.changed_functions]
        if own and changed:
            graph = call_graph(self._kernel)
            of_kernel = {each.name: proofs[each.name] for each in own}
            found = tuple(
                refusals(graph, changes, of_kernel, self._name_at, self._is_init_at)
            )
            if len(found) == len(changed):
                yield from found

    def _name_at(self, address: int) -> str:
        entry = self._kernel.nearest(address)
        return entry.name if entry else f"{address:#x}"

    def _is_init_at(self, address: int) -> bool:
        entry = self._kernel.nearest(address)
        return entry is not None and self._kernel.is_init(entry)

    def _not_redirected(self, bound: Bound) -> Iterator[Refusal]:
        binder = Binder(self._kernel, ())
        for function in bound.changes.functions:
            if function.status is Status.CHANGED and function.original is not None:
                try:
                    binder.old_function(bound, function.original)
                except BuildError as error:
                    yield Refusal(
                        error.codes[0],
                        "not-redirected",
                        function.name,
                        error.message,
                        error.hint,
                        bound.changes.name,
                    )


def _changes(pair: ObjectPair) -> bool:
    if pair.original is None or pair.patched is None:
        return True
    images = open_image(pair.original), open_image(pair.patched)
    return diff_images(pair.name, *images).verdict is not Verdict.UNCHANGED


def _bound(changes: Changes, proofs: Mapping[str, Proof]) -> list[Bound]:
    return [Bound(each, proofs[each.name]) for each in changes.changed]
