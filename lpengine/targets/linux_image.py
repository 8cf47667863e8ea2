"""The file of the running kernel: it knows the CRCs that the kernel compares, which
the kernel itself does not show."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from lpengine.errors import LpengineError, UsageError
from lpengine.targets.linux_tree import Tree, release

_PLACES = (
    "{boot}/vmlinuz-{release}",
    "{modules}/{release}/vmlinuz",
    "{boot}/vmlinux-{release}",
    "{modules}/{release}/build/vmlinux",
    "/usr/lib/debug{boot}/vmlinux-{release}",
)


@dataclass(frozen=True)
class KernelFile:
    """`crcs` has the exported symbols; they have CRCs only where the kernel was
    built with CONFIG_MODVERSIONS."""

    path: str
    build_id: str
    vermagic: str
    crcs: dict[str, int]


@dataclass(frozen=True)
class KernelFiles:
    """Finds the file by the running kernel's build id. What was read is kept in
    `cache`, since unpacking a kernel takes its time."""

    tree: Tree
    cache: Path
    given: Path | None = None

    def find(self, build_id: str) -> KernelFile | None:
        """None where there is no file of that kernel. `UsageError` where the one
        given is another kernel's."""
        known = self._cached(build_id)
        if known is not None:
            return known
        if self.given is not None:
            found = read(self.given)
            if found.build_id != build_id:
                raise UsageError(
                    f"{self.given}: its build id is {found.build_id}, that of the "
                    f"running kernel is {build_id}"
                )
            return self._kept(found)
        for path in places(self.tree):
            if path.is_file() and (found := read(path)).build_id == build_id:
                return self._kept(found)
        return None

    def _cached(self, build_id: str) -> KernelFile | None:
        try:
            found = msgspec.json.decode(self._place.read_bytes(), type=KernelFile)
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.build_id == build_id else None

    def _kept(self, found: KernelFile) -> KernelFile:
        """A cache that cannot be written is none."""
        try:
            self.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = self._place.with_suffix(".new")
            temporary.write_bytes(msgspec.json.encode(found))
            temporary.replace(self._place)
        except OSError:
            return found
        return found

    @property
    def _place(self) -> Path:
        return self.cache / "kernel.json"


def places(tree: Tree) -> tuple[Path, ...]:
    names = {"boot": tree.boot, "modules": tree.modules, "release": release(tree)}
    return tuple(Path(place.format(**names)) for place in _PLACES)


def read(path: Path) -> KernelFile:
    # Read once in the life of a kernel; then its file need not be understood.
    from lpengine.elf.kernel import open_kernel

    kernel = open_kernel(path)
    exports = kernel.exports
    crcs = {name: each.crc for name, each in exports.items() if each.crc is not None}
    try:
        vermagic = kernel.vermagic
    except LpengineError:
        vermagic = ""
    return KernelFile(str(path), kernel.build_id, vermagic, crcs)
