"""Kernel modules: which a guest needs, and the order they are inserted in."""

import lzma
import re
from collections.abc import Sequence
from pathlib import Path

from lpengine.errors import InputError, NotFoundError

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


class Modules:
    """The modules of one kernel. `directory` is its lib/modules/RELEASE."""

    def __init__(self, directory: Path) -> None:
        self._files = {
            _canonical(path.name.split(".")[0]): path
            for path in directory.rglob("*.ko*")
        }
        lines = (directory / "modules.builtin").read_text().split()
        self._builtin = {_canonical(Path(line).stem) for line in lines}

    def has(self, name: str) -> bool:
        return _canonical(name) in self._files or _canonical(name) in self._builtin

    def ordered(self, names: Sequence[str]) -> tuple[tuple[str, bytes], ...]:
        """(file name, content) of the modules and all they depend on, in the order
        to insert them; what is built in is left out. `NotFoundError` for a module
        that the kernel lacks."""
        found: dict[str, bytes] = {}
        for name in names:
            self._add(_canonical(name), found)
        return tuple((f"{name}.ko", content) for name, content in found.items())

    def _add(self, name: str, found: dict[str, bytes]) -> None:
        if name in found or name in self._builtin:
            return
        if name not in self._files:
            raise NotFoundError(f"this kernel has no module {name}")
        content = read_module(self._files[name])
        for dependency in dependencies(content):
            self._add(_canonical(dependency), found)
        found[name] = content


def read_module(path: Path) -> bytes:
    """A module's ELF file, unpacked where it is compressed."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix != ".ko":
        raise InputError(f"{path}: cannot unpack {path.suffix}")
    return data


def dependencies(module: bytes) -> tuple[str, ...]:
    """What .modinfo says the module depends on."""
    match = _DEPENDS.search(module)
    return tuple(filter(None, match[1].decode().split(","))) if match else ()


def _canonical(name: str) -> str:
    return name.replace("-", "_")
