"""Finds functions and symbols where a live patch will find them: in the kernel, or
in one of its modules."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lpengine.elf.kernel import Entry, KernelImage
from lpengine.errors import BuildError
from lpengine.patch.linux import layout
from lpengine.patch.linux.abi import LONGEST_VERSION_NAME
from lpengine.patch.linux.module_file import ModuleFile
from lpengine.patch.linux.spec import Import, Reference
from lpengine.patch.model import KlpSymbol

_CODE_TYPES = "tTwW"
_POSITION = re.compile(r"(.*),(\d+)")
_EXPLICIT = re.compile(r"\.klp\.sym\.([^.]+)\.(.+),(\d+)")


@dataclass(frozen=True)
class OldFunction:
    """A function that can be replaced. `object` is "" for the kernel itself."""

    object: str
    name: str
    occurrence: int

    @property
    def symbol(self) -> KlpSymbol:
        return KlpSymbol(self.object or layout.KERNEL, self.name, self.occurrence)

    @property
    def title(self) -> str:
        """The name as sysfs spells it where there are several."""
        return f"{self.name},{self.occurrence}" if self.occurrence else self.name


class LiveTarget:
    """A kernel and, where the code to patch is in a module, that module."""

    def __init__(self, kernel: KernelImage, module: ModuleFile | None = None) -> None:
        self.kernel = kernel
        self.module = module
        if module is not None:
            module.require_vermagic(kernel.vermagic)

    @property
    def object(self) -> str:
        return self.module.name if self.module else ""

    def old_function(self, text: str) -> OldFunction:
        """The function called "name", "name,POSITION" or, in an image with symbols,
        "dir/file.c#name". BuildError where there is no such function, where the name
        alone could mean several, or where it cannot be redirected."""
        if self.module is not None:
            name, occurrence = self._chosen(text)
            found = self.module.function(name, occurrence)
            return OldFunction(self.module.name, name, found)
        name, occurrence = self._chosen(text)
        entry, occurrence = self._kernel_entry(name, occurrence)
        self._require_patchable(entry)
        return OldFunction("", name, occurrence)

    def bind(self, name: str) -> Reference:
        """What an undefined symbol of the new code refers to: the module's own
        symbols first, then the kernel's exports, then its other symbols."""
        if explicit := _EXPLICIT.fullmatch(name):
            object_, name, position = explicit[1], explicit[2], int(explicit[3])
            if object_ == layout.KERNEL:
                self._kernel_entry(name, position)
            return KlpSymbol(object_, name, position)
        if self.module is not None and (found := self.module.position(name)):
            return KlpSymbol(self.module.name, name, found[0])
        export = self.kernel.exports.get(name)
        if export is not None and len(name) <= LONGEST_VERSION_NAME:
            return Import(name)
        entry, position = self._kernel_entry(name, 0)
        if self.kernel.is_init(entry):
            raise BuildError(
                f"{name}: is freed once the kernel has booted",
                codes=("LP-SYM-155",),
                hint="use nothing that is marked __init or __exit",
            )
        return KlpSymbol(layout.KERNEL, name, position)

    def _chosen(self, text: str) -> tuple[str, int]:
        """Name and position; 0 where none was given."""
        if found := _POSITION.fullmatch(text):
            return found[1], int(found[2])
        file, _, name = text.rpartition("#")
        if not file:
            return text, 0
        if self.module is not None:
            return name, self.module.position_in_file(text)
        return name, self._position_in_file(text, name)

    def _position_in_file(self, text: str, name: str) -> int:
        found = self.kernel.image.symbols.named(text)
        if not found and len(self.kernel.named(name)) == 1:
            return 0
        if len(found) != 1:
            raise BuildError(
                f"{text}: {self.kernel.path} does not say what is from which file",
                codes=("LP-SYM-152" if found else "LP-SYM-151",),
                hint=self._how_to_choose(name, self.kernel.named(name)),
            )
        addresses = [entry.address for entry in self.kernel.named(name)]
        return addresses.index(found[0].value) + 1 if len(addresses) > 1 else 0

    def _kernel_entry(self, name: str, position: int) -> tuple[Entry, int]:
        """The symbol and the position to ask for: 0 where the name is unique."""
        found = self.kernel.named(name)
        if not found:
            raise BuildError(
                f"{name}: neither {self.kernel.path} nor its exports have it",
                codes=("LP-SYM-151",),
                hint=self._similar(name),
            )
        if position > len(found):
            raise BuildError(
                f"{name},{position}: there are {len(found)} of them",
                codes=("LP-SYM-151",),
                hint=self._how_to_choose(name, found),
            )
        if len(found) > 1 and not position:
            raise BuildError(
                f"{name}: the kernel has {len(found)} symbols of that name",
                codes=("LP-SYM-152",),
                hint=self._how_to_choose(name, found),
            )
        return found[max(position, 1) - 1], position if len(found) > 1 else 0

    def _similar(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.kernel.names, n=3)
        clones = [each for each in self.kernel.names if each.startswith(f"{name}.")]
        if clones:
            return f"the compiler has made {', '.join(sorted(clones)[:3])} of it"
        if close:
            return f"there is {', '.join(close)}"
        return "it was inlined, or is not built into this kernel"

    def _how_to_choose(self, name: str, found: Sequence[Entry]) -> str:
        rows = []
        for position, entry in enumerate(found[:8], 1):
            before, behind = self.kernel.neighbours(entry)
            rows.append(f"{name},{position} between {before} and {behind}")
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        return f"choose by position: {'; '.join(rows)}{more}"

    def _require_patchable(self, entry: Entry) -> None:
        if self.kernel.is_init(entry):
            raise BuildError(
                f"{entry.name}: its code is freed once the kernel has booted",
                codes=("LP-SHP-172",),
                hint="it has run already; fix what it has left behind",
            )
        if entry.type not in _CODE_TYPES:
            raise BuildError(f"{entry.name}: no function", codes=("LP-SHP-172",))
        if self.kernel.ftrace_site(entry) is None:
            raise BuildError(
                f"{entry.name}: ftrace cannot redirect it (notrace, noinstr, assembly, "
                "or kept out of line although inline)",
                codes=("LP-SHP-172",),
                hint="replace the functions that call it",
            )
