"""From pairs of objects to a module for the image that runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lpengine.diff import codes
from lpengine.diff.changes import Changes, Refusal, Verdict
from lpengine.elf import Image, open_image
from lpengine.elf.kernel import is_kernel, open_kernel
from lpengine.errors import UsageError
from lpengine.patch.built import Built
from lpengine.patch.linux.modules import Modules
from lpengine.patch.linux.objects import make_module
from lpengine.patch.proof import LinkedFile, Proof, prove
from lpengine.patch.unproved import NotProvedError
from lpengine.patch.xen.build_changes import Bound, build_changes


@dataclass(frozen=True)
class ObjectsResult:
    """What became of pairs of objects. `built` is the module, where the verdict is
    CHANGED and an image was given; `proved` says how many functions of the original
    objects were found in it."""

    changes: Changes
    built: Built | None = None
    proved: int = 0

    @property
    def verdict(self) -> Verdict:
        return self.changes.verdict

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        return self.changes.all_refusals


def build_objects(
    changes: Changes,
    originals: Mapping[str, Image],
    image: Path,
    *,
    name: str,
    depends: str = "",
    modinfo: Sequence[tuple[str, str]] = (),
    modules: Sequence[Path] = (),
    atomic_replace: bool = False,
) -> ObjectsResult:
    """A module for the image of all objects that changed, whose originals are given
    by name. Where there is nothing to patch, or something to refuse, there is no
    module. `modules` are files and directories of a Linux kernel's modules, by
    default those beside it.

    Raises NotProvedError where the image was linked from other objects, BuildError
    for what changed but cannot be put into a module.
    """
    if is_kernel(image):
        if depends:
            raise UsageError("Linux patches do not name what lies below them")
        if changes.verdict is not Verdict.CHANGED:
            return ObjectsResult(changes)
        kernel = open_kernel(image)
        built, proved = make_module(
            changes,
            originals,
            kernel,
            Modules(kernel, modules),
            name=name,
            modinfo=modinfo,
            atomic_replace=atomic_replace,
        )
        return ObjectsResult(changes, built, proved)
    if modules or atomic_replace:
        raise UsageError("only Linux has modules to patch, and atomic replace")
    # Whether a short function has padding behind it, the image tells.
    changes = changes.without(codes.TOO_SHORT)
    if changes.verdict is not Verdict.CHANGED:
        return ObjectsResult(changes)
    opened = open_image(image)
    running = LinkedFile(opened)
    proofs = {
        each.name: prove(each.name, originals[each.name], running)
        for each in changes.changed
        if each.name in originals
    }
    _require_proofs(opened, list(proofs.values()))
    bound = [Bound(each, proofs.get(each.name)) for each in changes.changed]
    built = build_changes(bound, opened, name=name, depends=depends, modinfo=modinfo)
    proved = sum(len(proof.functions) for proof in proofs.values())
    return ObjectsResult(changes, built, proved)


def _require_proofs(image: Image, proofs: Sequence[Proof]) -> None:
    differences = [each for proof in proofs for each in proof.disproved]
    if differences or not any(proof.is_linked for proof in proofs):
        cause = "the original objects have to be those that the image was linked from"
        raise NotProvedError(image.path, differences, cause)
