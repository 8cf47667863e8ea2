"""The modules of a kernel, found by name in files and directories."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from lpengine.elf.kernel import KernelImage
from lpengine.errors import NotFoundError
from lpengine.patch.linux.module_file import (
    PACKED,
    ModuleFile,
    module_name,
    open_module,
)


class Modules:
    """`paths` are modules, or directories in which they lie; where there is none, the
    places beside a kernel where distributions put them. Each is opened once, when
    it is asked for, and has to be for `kernel`.

    NotFoundError for a path that is not there.
    """

    def __init__(self, kernel: KernelImage, paths: Sequence[Path] = ()) -> None:
        self._kernel = kernel
        self._files: dict[str, Path] = {}
        self._open: dict[str, ModuleFile] = {}
        for path in paths or _beside(kernel):
            if not path.exists():
                raise NotFoundError(f"{path}: no such module or directory")
            for file in sorted(_files(path)):
                self._files.setdefault(module_name(file), file)

    def named(self, name: str) -> ModuleFile | None:
        """The module that the kernel calls so; None where there is none. BuildError
        for one that is for another kernel."""
        if name not in self._open and name in self._files:
            module = open_module(self._files[name])
            module.require_vermagic(self._kernel.vermagic)
            self._open[name] = module
        return self._open.get(name)

    def near(self, object_: str) -> Iterator[ModuleFile]:
        """The modules that an object of that path in the tree may be part of: they are
        installed in directories that are called like those of the tree. All of a name
        that says no directory."""
        directory = PurePosixPath(object_).parent
        names = [name for name, file in self._files.items() if _fits(file, directory)]
        for name in names:
            module = self.named(name)
            if module is not None:
                yield module

    def with_needed(self, modules: Sequence[ModuleFile]) -> tuple[ModuleFile, ...]:
        """The modules, and those that they depend on as far as they are there."""
        found: dict[str, ModuleFile] = {}
        waiting = list(modules)
        while waiting:
            module = waiting.pop(0)
            if module.name not in found:
                found[module.name] = module
                needed = (self.named(each) for each in module.needs)
                waiting += [each for each in needed if each is not None]
        return tuple(found.values())


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for suffix in ("", *PACKED):
            yield from path.rglob(f"*.ko{suffix}")
    else:
        yield path


def _fits(file: Path, directory: PurePosixPath) -> bool:
    """Whether a module's directory ends like that of an object, or of one above."""
    _, installed, below = file.parent.as_posix().rpartition("/kernel/")
    if not installed:
        return True
    return directory.as_posix() in (".", below) or PurePosixPath(below) in (
        directory.parents
    )


def _beside(kernel: KernelImage) -> list[Path]:
    """Where `make modules_install` puts the modules of /boot/vmlinuz."""
    root = Path(kernel.path).resolve().parent.parent
    places = (root / f"{usr}lib/modules/{kernel.release}" for usr in ("", "usr/"))
    return [each for each in places if each.is_dir()][:1]
