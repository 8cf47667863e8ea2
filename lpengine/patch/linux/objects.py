"""From pairs of objects, however they were built, to a live patch module."""

from collections.abc import Iterable, Mapping, Sequence

from lpengine.diff.changes import Changes
from lpengine.elf import Image
from lpengine.elf.kernel import KernelImage
from lpengine.patch.built import Built
from lpengine.patch.linux.binding import Bound
from lpengine.patch.linux.build_changes import build_changes
from lpengine.patch.linux.layouts import layout_differences
from lpengine.patch.linux.modules import Modules
from lpengine.patch.linux.running import RunningKernel, RunningModule, disproved
from lpengine.patch.proof import Difference, Proof, Running, prove
from lpengine.patch.unproved import NotProvedError

_CAUSE = (
    "the original objects have to be those that the kernel and its modules were linked "
    "from: built from its source, with its configuration and compiler"
)


def make_module(
    changes: Changes,
    originals: Mapping[str, Image],
    kernel: KernelImage,
    modules: Modules,
    *,
    name: str,
    modinfo: Sequence[tuple[str, str]] = (),
    atomic_replace: bool = False,
) -> tuple[Built, int]:
    """The module, and how many functions of the originals were proved. Each original
    is held against the kernel, then against the modules that it may be part of.

    Raises NotProvedError where it is in none of them, BuildError as `build_changes`.
    """
    bounds: list[Bound] = []
    differences: list[Difference] = []
    for each in changes.changed:
        proof = _proof(each.name, originals[each.name], kernel, modules)
        differences += disproved(proof)
        differences += layout_differences(each.name, proof, kernel)
        bounds.append(Bound(each, proof))
    if differences:
        raise NotProvedError(kernel.path, differences, _CAUSE)
    patched = [bound.module for bound in bounds if bound.module is not None]
    built = build_changes(
        bounds,
        kernel,
        modules.with_needed(patched),
        name=name,
        modinfo=modinfo,
        atomic_replace=atomic_replace,
    )
    return built, sum(len(bound.proof.functions) for bound in bounds)


def _proof(name: str, image: Image, kernel: KernelImage, modules: Modules) -> Proof:
    best = prove(name, image, RunningKernel(kernel))
    if not disproved(best):
        return best
    for running in _candidates(name, modules):
        proof = prove(name, image, running)
        if len(proof.functions) > len(best.functions):
            best = proof
    return best


def _candidates(name: str, modules: Modules) -> Iterable[Running]:
    return map(RunningModule, modules.near(name))
