"""Modules that are not loaded, as their files in /lib/modules show them: a live patch
that does not fit one of them is taken, and it is the module that is refused later."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lpengine.errors import LpengineError
from lpengine.patch.model import Patch
from lpengine.planner.facts import ModuleFact, SymbolFact
from lpengine.targets.linux_tree import Tree, release, text

if TYPE_CHECKING:
    from lpengine.patch.linux.module_file import ModuleFile

_SUFFIX = ".ko"


@dataclass(frozen=True)
class Absent:
    """`symbols` has those asked for in the order in which the kernel will count them;
    they have no addresses yet."""

    modules: tuple[ModuleFact, ...] = ()
    symbols: tuple[SymbolFact, ...] = ()


def look_at_files(
    tree: Tree, patches: Sequence[Patch], loaded: Collection[str]
) -> Absent:
    """What the patches want of modules that are not there, as far as there are files
    of them."""
    wanted = {name for patch in patches for name in objects_of(patch)} - set(loaded)
    if not wanted:
        return Absent()
    places = dict(files(tree))
    found = {
        name: module
        for name in sorted(wanted)
        if name in places and (module := opened(places[name])) is not None
    }
    return Absent(
        tuple(ModuleFact(name, module.build_id) for name, module in found.items()),
        tuple(
            SymbolFact(
                name=asked,
                address=0,
                size=each.size,
                is_function=each.is_function,
                owner=name,
                traced=module.is_traced(each),
            )
            for name, module in found.items()
            for asked in sorted(asked_of(patches, name))
            for each in module.named(asked)
        ),
    )


def objects_of(patch: Patch) -> Iterator[str]:
    """The modules that it is about."""
    yield from (name for name in patch.objects if name)
    yield from (each.object for each in patch.klp_symbols if each.object != "vmlinux")


def asked_of(patches: Sequence[Patch], module: str) -> set[str]:
    functions = (each for patch in patches for each in patch.functions)
    symbols = (each for patch in patches for each in patch.klp_symbols)
    return {
        *(each.name for each in functions if each.object == module),
        *(each.name for each in symbols if each.object == module),
    }


def files(tree: Tree) -> Iterator[tuple[str, Path]]:
    """Name and file of each module, from what depmod has written: lines like
    "kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz"."""
    directory = tree.modules / release(tree)
    for line in (text(directory / "modules.dep") or "").splitlines():
        path = line.partition(":")[0]
        name, dot, _ = path.rpartition("/")[2].partition(_SUFFIX)
        if dot:
            yield name.replace("-", "_"), directory / path


def opened(path: Path) -> "ModuleFile | None":
    """None where it cannot be read: then the kernel will have to."""
    # Most patches are about the kernel alone, and need no more ELF files.
    from lpengine.patch.linux.module_file import open_module

    try:
        return open_module(path)
    except LpengineError:
        return None
