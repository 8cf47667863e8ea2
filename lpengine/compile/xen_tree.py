"""Xen's source tree: how a hypervisor is built as it is and with a fix."""

import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lpengine.compile.applying import Applied
from lpengine.compile.events import Notify
from lpengine.compile.make import BUILD_LOG, make
from lpengine.compile.source import copy_built
from lpengine.compile.tree import ObjectPair, Settings
from lpengine.errors import BuildError

# What building the hypervisor reads. Config.mk and config/ are shared with the
# tools, tools/flask holds the security policy that may be built in.
_PARTS = ("xen", "Config.mk", "config", "tools/flask", "version.sh")
_PRODUCTS = (
    *("*.o", "*.a", "*.pyc", ".*.d", ".*.d2", ".*.cmd", ".*.tmp", "*.orig", "*.rej"),
    *("xen-syms*", "xen.gz", "xen.efi*", ".config*", ".banner", ".gitignore"),
)
_PRODUCED = (
    *("xen/include/config", "xen/include/generated", "xen/include/compat/.xlat"),
    *("xen/source", "xen/xen", "xen/asm-offsets.s", "xen/include/xen/compile.h"),
    "xen/arch/x86/include/asm/asm-offsets.h",
)
# Scripts read the public headers, for whom #line is no C.
_READ_BY_SCRIPTS = "xen/include/public/"
_NOT_LINKED = ("tools/", "test/", "include/")
_GATHERED = ("built_in.o", "built_in_bin.o", "built_in_32.o", "prelink.o")

_ELF64 = b"\x7fELF\x02"

# What Xen tells of its build (xen/include/xen/compile.h.in).
_SAYS = {
    "XEN_BUILD_DATE": "Thu Jan  1 00:00:00 UTC 1970",
    "XEN_BUILD_TIME": "00:00:00",
    "XEN_BUILD_HOST": "localhost",
    "XEN_WHOAMI": "lpengine",
    "XEN_DOMAIN": "localdomain",
}


@dataclass(frozen=True)
class XenTree:
    """A tree of Xen's, with the hypervisor in xen/; see lpengine.compile.tree."""

    root: Path
    format: str = "xen"
    programs: Sequence[str] = ("make", "flex", "bison", "python3", "ld")
    inner: Sequence[str] = ("xen",)

    @staticmethod
    def is_at(root: Path) -> bool:
        return (root / "xen/Kconfig").is_file() and (root / "Config.mk").is_file()

    def sources(self) -> Sequence[str]:
        found: list[str] = []
        for part in _PARTS:
            path = self.root / part
            if path.is_dir():
                found += self._below(path)
            elif path.is_file():
                found.append(part)
        return sorted(found)

    def concerns(self, path: str) -> bool:
        inside = any(path == part or path.startswith(f"{part}/") for part in _PARTS)
        return inside and not _is_product(path)

    def keeps_numbers(self, path: str) -> bool:
        return path.endswith((".c", ".h")) and not path.startswith(_READ_BY_SCRIPTS)

    def configuration(self) -> tuple[bytes, str]:
        own = self.root / "xen/.config"
        if own.is_file():
            return own.read_bytes(), str(own)
        return b"", "the tree's defaults"

    def build(self, copy: Path, settings: Settings, notify: Notify) -> None:
        goal = "defconfig"
        if settings.configuration:
            (copy / "xen/.config").write_bytes(settings.configuration)
            goal = "olddefconfig"
        self._make(copy, [goal], settings, notify)
        self._require_live_patching(copy)
        self._make(copy, ["build"], settings, notify)

    def copy(self, base: Path, work: Path) -> None:
        copy_built(base, work)

    def rebuild(
        self,
        base: Path,
        work: Path,
        applied: Applied,
        settings: Settings,
        notify: Notify,
    ) -> Sequence[ObjectPair]:
        if any(name.rpartition("/")[2].startswith("Kconfig") for name in applied.files):
            # Else make asks somebody about the new choices.
            self._make(work, ["olddefconfig"], settings, notify)
        self._make(work, self._goals(base, applied), settings, notify)
        before, after = self.objects(base), self.objects(work)
        pairs = (
            ObjectPair(name, before.get(name), after.get(name))
            for name in sorted(before.keys() | after.keys())
        )
        return tuple(pair for pair in pairs if pair.differs)

    def objects(self, base: Path) -> Mapping[str, Path]:
        xen = base / "xen"
        found = {
            str(path.relative_to(xen)): path
            for path in xen.rglob("*.o")
            if not path.name.startswith(".") and path.name not in _GATHERED
        }
        # Of one that goes into init sections as a whole, only that form is linked.
        renamed = {f"{each[:-7]}.o" for each in found if each.endswith(".init.o")}
        return {
            name: path
            for name, path in sorted(found.items())
            if name not in renamed
            and not name.startswith(_NOT_LINKED)
            and _is_linkable(path)
        }

    def _goals(self, base: Path, applied: Applied) -> Sequence[str]:
        """The directories with objects, where nothing needs to be generated anew;
        else everything, which links the hypervisor too and takes longer."""
        xen = base / "xen"
        noted = xen / ".asm-offsets.s.d"
        if not noted.is_file():
            return ["build"]
        generated = noted.read_text(errors="replace").split()
        for name in applied.files:
            inside = name.removeprefix("xen/")
            plain = (base / name).is_file() and name.endswith((".c", ".h"))
            if not plain or not self.keeps_numbers(name) or inside in generated:
                return ["build"]
        found = [*xen.glob("*/built_in.o"), *xen.glob("arch/*/built_in.o")]
        return sorted(f"{each.parent.relative_to(xen)}/" for each in found)

    def _make(
        self, copy: Path, goals: Sequence[str], settings: Settings, notify: Notify
    ) -> None:
        toolchain = settings.toolchain
        variables = {
            "CC": toolchain.compiler,
            "XEN_TARGET_ARCH": "x86_64",
            # For the layouts of types; code stays the same, which is proved later.
            "EXTRA_CFLAGS_XEN_CORE": "-g",
            **({"clang": "y"} if toolchain.is_clang else {}),
            **settings.variables,
        }
        make(
            copy / "xen",
            goals,
            log=copy.parent / BUILD_LOG,
            variables=variables,
            environment=_SAYS,
            jobs=settings.jobs,
            notify=notify,
        )

    def _require_live_patching(self, copy: Path) -> None:
        if b"CONFIG_LIVEPATCH=y" not in (copy / "xen/.config").read_bytes():
            raise BuildError(
                f"{self.root}: its configuration has no CONFIG_LIVEPATCH",
                codes=("LP-TGT-104",),
                hint="give the running hypervisor's with --config",
            )

    def _below(self, top: Path) -> list[str]:
        found: list[str] = []
        for directory, subdirectories, files in os.walk(top):
            inside = os.path.relpath(directory, self.root)
            names = [f"{inside}/{name}" for name in files]
            links = [f"{inside}/{name}" for name in subdirectories]
            names += [each for each in links if (self.root / each).is_symlink()]
            found += [each for each in names if not _is_product(each)]
            subdirectories[:] = [
                name for name in subdirectories if f"{inside}/{name}" not in _PRODUCED
            ]
        return found


def _is_linkable(path: Path) -> bool:
    """Not the boot loader's 32-bit part, which head.o holds as bytes, nor EFI's."""
    with path.open("rb") as file:
        return file.read(len(_ELF64)) == _ELF64


def _is_product(path: str) -> bool:
    name = path.rpartition("/")[2]
    if any(path == each or path.startswith(f"{each}/") for each in _PRODUCED):
        return True
    return any(fnmatch.fnmatchcase(name, each) for each in _PRODUCTS)
