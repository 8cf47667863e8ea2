"""A Linux kernel's source tree: single objects of it, as they are and with a fix.

Only what a fix touches is compiled, with the flags that the kernel's own makefiles
give. The kernel is never built.
"""

import fnmatch
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lpengine.compile.additions import quiet_headers
from lpengine.compile.applying import Applied
from lpengine.compile.events import Notify
from lpengine.compile.kbuild import Entry
from lpengine.compile.kconfig import require_kept
from lpengine.compile.make import BUILD_LOG, make
from lpengine.compile.narrowing import Preprocess, using
from lpengine.compile.objtool import finish_objects, require_no_lto
from lpengine.compile.touched import too_many, touched_objects
from lpengine.compile.tree import ObjectPair, Settings
from lpengine.errors import BuildError, InputError

# What compiling an object reads, and what prepares for it. Makefiles are there for
# all of arch/, but only one architecture's are used.
_LEFT_OUT = (
    *("Documentation/", "LICENSES/", "samples/", "rust/", "tools/testing/"),
    *("tools/perf/", "tools/power/", "tools/tracing/", "tools/verification/"),
)
_NO_SOURCES = (".git", "debian", ".pc")
_ARCHITECTURE = "arch/x86/"
_MAKEFILES = ("Makefile", "Kbuild", "Kconfig")
_PRODUCTS = (
    *("*.o", "*.a", "*.ko", "*.mod", "*.mod.c", "*.dtb", "*.order", "*.symvers"),
    *(".*.cmd", ".*.d", ".tmp_*", ".config*", "vmlinux", "vmlinux.*", "System.map"),
    *("*.orig", "*.rej", "*.pyc", "bzImage", "*.usyms"),
)
_PRODUCED = ("include/config/", "include/generated/", "arch/x86/include/generated/")
# Programs that run while a kernel is built.
_OF_THE_BUILDER = ("scripts/", "tools/", "usr/")
# Products in here are tools and headers; elsewhere they are what is built anew.
_TOOLS = ("scripts/", "tools/", "arch/x86/tools/", "include/")

# One section a function and variable, so that they can be told apart; the layouts of
# types for the guard against changed ones, whose generation changes no code.
_FLAGS = "-ffunction-sections -fdata-sections -g"
# For fixes that bring callbacks.
_HEADERS = Path(__file__).with_name("headers")
# From so many objects on it is told which of them use what changed in a header; that
# takes so much less time for each than compiling it.
_FEW, _PREPROCESSED = 4, 5
# Nothing of the preparation can change any more.
_PREPARED = ("-o", "prepare")


@dataclass(frozen=True)
class LinuxTree:
    """A kernel's tree; see lpengine.compile.tree. `most_objects` bounds what a fix
    to a header may let be compiled."""

    root: Path
    most_objects: int = 150
    format: str = "linux"
    programs: Sequence[str] = ("make", "flex", "bison", "bc", "ld", "grep")
    inner: Sequence[str] = ()

    @staticmethod
    def is_at(root: Path) -> bool:
        return (root / "Kbuild").is_file() and (
            root / "scripts/Kbuild.include"
        ).is_file()

    def sources(self) -> Sequence[str]:
        found: list[str] = []
        for directory, subdirectories, files in os.walk(self.root):
            inside = os.path.relpath(directory, self.root)
            prefix = "" if inside == "." else f"{inside}/"
            links = [d for d in subdirectories if (Path(directory) / d).is_symlink()]
            names = [f"{prefix}{name}" for name in (*files, *links)]
            found += [name for name in names if self._is_source(name)]
            subdirectories[:] = [d for d in subdirectories if d not in _NO_SOURCES]
        return sorted(found)

    def concerns(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        if path.startswith(_OF_THE_BUILDER) or "/" not in path:
            return name.startswith(_MAKEFILES)
        return self._is_source(path)

    def keeps_numbers(self, path: str) -> bool:
        return path.endswith((".c", ".h"))

    def configuration(self) -> tuple[bytes, str]:
        own = self.root / ".config"
        if own.is_file():
            return own.read_bytes(), str(own)
        raise InputError(
            f"{self.root}: is not configured",
            hint="give the running kernel's with --config: it is in /boot",
        )

    def build(self, copy: Path, settings: Settings, notify: Notify) -> None:
        (copy / ".config").write_bytes(settings.configuration)
        self._make(copy, ["olddefconfig"], settings, notify)
        require_kept(settings.configuration, (copy / ".config").read_bytes())
        self._make(copy, ["prepare"], settings, notify)
        require_no_lto(copy)

    def copy(self, base: Path, work: Path) -> None:
        """Hard links: whatever is written anew, by us or by make, is a file of its
        own, since what would be written in place is not linked."""
        for directory, subdirectories, files in os.walk(base):
            inside = os.path.relpath(directory, base)
            target = work / inside
            target.mkdir()
            tools = f"{inside}/".startswith(_TOOLS)
            links = [d for d in subdirectories if Path(directory, d).is_symlink()]
            for name in (*files, *links):
                if not _is_product(name):
                    _link(f"{directory}/{name}", target / name)
                elif tools or inside == ".":
                    shutil.copy2(f"{directory}/{name}", target / name)

    def rebuild(
        self,
        base: Path,
        work: Path,
        applied: Applied,
        settings: Settings,
        notify: Notify,
    ) -> Sequence[ObjectPair]:
        def compile_in(copy: Path, goals: Sequence[str]) -> None:
            # Else the debugging information of equal code would differ.
            flags = f"{_FLAGS} -I{_HEADERS} -fdebug-prefix-map={copy}=."
            self._make(copy, [*_PREPARED, *goals], settings, notify, flags)

        def preprocess(copy: Path, goals: Sequence[str]) -> None:
            # Some headers are only generated when their objects are made.
            with suppress(InputError):
                compile_in(copy, ["-k", *goals])

        compiler = settings.toolchain.compiler
        entries = self._touched(base, work, applied.files, compiler, preprocess)
        targets = sorted({each.target for each in entries})
        if targets:
            for copy in (base, work):
                compile_in(copy, targets)
                finish_objects(copy, entries, compiler)
        paths = [each.path for each in entries]
        return tuple(
            ObjectPair(
                # One object may become part of several modules.
                f"{e.path}@{e.module}" if paths.count(e.path) > 1 else e.path,
                base / e.target,
                work / e.target,
                e.module,
            )
            for e in entries
        )

    def _touched(
        self,
        base: Path,
        work: Path,
        files: Sequence[str],
        compiler: str,
        preprocess: Preprocess,
    ) -> Sequence[Entry]:
        """What has to be compiled to be compared."""
        quiet = quiet_headers(base, work, files)
        loud = [each for each in files if each not in quiet]
        touched = touched_objects(base, loud, compiler)
        mapped = [each for each in touched if each.is_mapped]
        _require_same(using(base, work, mapped, preprocess))
        entries = tuple(each for each in touched if not each.is_mapped)
        if len(entries) > _FEW and any(each.endswith(".h") for each in loud):
            self._require_at_most(_PREPROCESSED, entries, loud, "include")
            entries = using(base, work, entries, preprocess)
        self._require_at_most(1, entries, loud, "use")
        return entries

    def _require_at_most(
        self, factor: int, entries: Sequence[Entry], files: Sequence[str], how: str
    ) -> None:
        limit = factor * self.most_objects
        if len(entries) > limit:
            what = f"{len(entries)} objects {how} it, more than the {limit} looked at"
            raise too_many(files, f"{what} without asking")

    def objects(self, base: Path) -> Mapping[str, Path]:
        return {}

    def _is_source(self, path: str) -> bool:
        """Whether a build reads a file. Of what is left out it reads the Kconfig
        files, which name each other."""
        if _is_product(path) or path.startswith(_PRODUCED):
            return False
        other = path.startswith("arch/") and not path.startswith(_ARCHITECTURE)
        left_out = path.startswith(_LEFT_OUT) or (other and path.count("/") > 1)
        return not left_out or path.rpartition("/")[2].startswith("Kconfig")

    def _make(
        self,
        copy: Path,
        goals: Sequence[str],
        settings: Settings,
        notify: Notify,
        flags: str = "",
    ) -> None:
        toolchain = settings.toolchain
        variables = {
            "ARCH": "x86_64",
            "CC": toolchain.compiler,
            **({"KCFLAGS": flags} if flags else {}),
            **({"LLVM": "1"} if toolchain.is_clang else {}),
            **settings.variables,
        }
        make(
            copy,
            goals,
            log=copy.parent / BUILD_LOG,
            variables=variables,
            environment={"KBUILD_BUILD_TIMESTAMP": "0"},
            jobs=settings.jobs,
            notify=notify,
        )


def _require_same(changed: Sequence[Entry]) -> None:
    """Of 32 bits some are, for which only the rule of the whole blob has the flags:
    what the preprocessor makes of them has to do."""
    if changed:
        raise BuildError(
            f"{', '.join(each.path for each in changed)}: would change in the vDSO, "
            "whose code processes run by themselves",
            codes=("LP-SHP-172",),
            hint="every process has it mapped already: install the fixed kernel, and "
            "reboot",
        )


def _link(source: str, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # the file system has no hard links
        shutil.copy2(source, target, follow_symlinks=False)


def _is_product(path: str) -> bool:
    name = path.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name, each) for each in _PRODUCTS)
