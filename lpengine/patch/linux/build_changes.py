"""Makes Linux live patch modules of what differs between two builds of a kernel's
objects."""

import dataclasses
from collections.abc import Sequence

from lpengine.diff.changes import PieceKind
from lpengine.elf.kernel import KernelImage
from lpengine.errors import BuildError
from lpengine.patch.built import Built
from lpengine.patch.linux import layout
from lpengine.patch.linux.abi import ModuleAbi, module_abi
from lpengine.patch.linux.binding import Binder, Bound
from lpengine.patch.linux.compose import Composer, Modinfo
from lpengine.patch.linux.gathering import gather
from lpengine.patch.linux.module_file import ModuleFile
from lpengine.patch.linux.target import LiveTarget


def build_changes(
    objects: Sequence[Bound],
    kernel: KernelImage,
    modules: Sequence[ModuleFile] = (),
    *,
    name: str,
    modinfo: Modinfo = (),
    atomic_replace: bool = False,
) -> Built:
    """A live patch module of all changed objects, in their order; it may use what
    `modules` export. Raises BuildError with the codes of what is not to be found in
    the running code, cannot be redirected there, or not be in a module."""
    abi = module_abi(kernel)
    for bound in objects:
        _require_unwinding(bound, abi)
    gathered = gather(objects, Binder(kernel, modules))
    patched = {each.name: each for bound in objects if (each := bound.module)}
    composer = Composer(abi, name, tuple(patched.values()), modinfo, atomic_replace)
    built = composer.compose(
        gathered.material,
        gathered.redirects,
        LiveTarget(kernel).bind,
        {},
        gathered.callbacks,
    )
    return dataclasses.replace(built, notes=(*built.notes, *gathered.notes))


def _require_unwinding(bound: Bound, abi: ModuleAbi) -> None:
    code = any(piece.kind is PieceKind.CODE for piece in bound.changes.pieces)
    told = any(table.section == layout.ORC for table in bound.changes.tables)
    if code and not told and abi.orc is not None:
        raise BuildError(
            f"{bound.changes.name}: does not say how its stack is unwound (no "
            f"{layout.ORC})",
            codes=("LP-QUI-206",),
            hint="build it with the kernel's own makefiles, which run objtool on it",
        )
