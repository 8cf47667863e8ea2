"""A module that the kernel loads (a .ko file), as far as live patches of its code
must know it."""

from functools import cached_property
from pathlib import Path

from lpengine.elf import Image, Symbol, open_image, parse_image
from lpengine.elf.constants import ET_REL, STT_FILE, STT_SECTION
from lpengine.elf.kernel import unpack_module
from lpengine.errors import BuildError, InputError, NotFoundError
from lpengine.patch.linux import layout
from lpengine.patch.linux.modinfo import parse_modinfo
from lpengine.patch.linux.pointers import section_of

# What stands behind .ko where a module is packed.
PACKED = (".gz", ".xz", ".zst")

_MCOUNT = "__mcount_loc"
_SITE_WITHIN = 16
_FREED = (".init", ".exit")


class ModuleFile:
    """A .ko file: not live patched itself, but the code in it."""

    def __init__(self, image: Image) -> None:
        if image.header.type != ET_REL or image.section(layout.MODINFO) is None:
            raise InputError(f"{image.path}: no kernel module")
        self.image = image
        self.path = image.path
        section = image.section(layout.MODINFO)
        assert section is not None
        self._modinfo = dict(parse_modinfo(image.section_data(section)))

    @property
    def name(self) -> str:
        """As the kernel calls it."""
        return self._modinfo.get("name", module_name(Path(self.path)))

    @property
    def btf(self) -> bytes:
        """What it says of types that the kernel does not have, if anything."""
        section = self.image.section(".BTF")
        return self.image.section_data(section) if section else b""

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the modules whose exports it uses."""
        return tuple(filter(None, self._modinfo.get("depends", "").split(",")))

    @property
    def build_id(self) -> str:
        return self.image.build_id

    def require_vermagic(self, wanted: str) -> None:
        """BuildError where the module belongs to another kernel."""
        found = self._modinfo.get("vermagic", "")
        if found.strip() != wanted.strip():
            raise BuildError(
                f"{self.path}: is for {found.strip()!r}, the kernel is "
                f"{wanted.strip()!r}",
                codes=("LP-TGT-101",),
                hint="name the module of this kernel's own package",
            )

    def position(self, name: str) -> tuple[int] | None:
        """The position to ask for, 0 where the name is unique; None where there
        is no such symbol."""
        found = self.named(name)
        if len(found) > 1:
            raise BuildError(
                f"{name}: {self.path} has {len(found)} symbols of that name",
                codes=("LP-SYM-152",),
                hint=f"choose by position: {name},1 to {name},{len(found)}",
            )
        return (0,) if found else None

    def global_position(self, name: str) -> int | None:
        """As `position`, of the symbol that all of the module's files share."""
        found = self.named(name)
        shared = [n for n, each in enumerate(found, 1) if not each.is_local]
        if len(shared) != 1:
            return None
        return shared[0] if len(found) > 1 else 0

    def exports(self, name: str) -> bool:
        """Whether other modules may use a symbol (include/linux/export.h)."""
        return bool(self.image.symbols.named(f"__ksymtab_{name}"))

    def position_in_file(self, text: str) -> int:
        """The position of "file#name"."""
        name = text.rpartition("#")[2]
        chosen = {each.index for each in self.image.symbols.named(text)}
        found = self.named(name)
        places = [n for n, each in enumerate(found, 1) if each.index in chosen]
        if len(places) != 1:
            raise BuildError(
                f"{text}: {self.path} does not say which one that is",
                codes=("LP-SYM-152",),
                hint=f"choose by position: {name},1 to {name},{len(found)}",
            )
        return places[0] if len(found) > 1 else 0

    def function(self, name: str, occurrence: int) -> int:
        """The position to ask for, of a function that can be redirected."""
        found = self.named(name)
        if not found or occurrence > len(found):
            raise BuildError(
                f"{name}: {self.path} has {len(found)} symbols of that name",
                codes=("LP-SYM-151",),
                hint="it was inlined, or is in another module",
            )
        if len(found) > 1 and not occurrence:
            self.position(name)
        symbol = found[max(occurrence, 1) - 1]
        if not self.is_traced(symbol):
            raise BuildError(
                f"{name}: ftrace cannot redirect it in {self.name}",
                codes=("LP-SHP-172",),
                hint="replace the functions that call it",
            )
        return occurrence if len(found) > 1 else 0

    def nearest(
        self, section: int, offset: int, name: str = ""
    ) -> tuple[Symbol, int] | None:
        """The symbol at a place of a section, of several there best the one of that
        name, else the nearest before it, and its position as `position` has it."""
        before = [
            each for each in self._in_section.get(section, ()) if each.value <= offset
        ]
        if not before:
            return None
        nearest = max(each.value for each in before)
        there = [each for each in before if each.value == nearest]
        found = next((each for each in there if each.name == name), there[0])
        same = [each.index for each in self.named(found.name)]
        return found, same.index(found.index) + 1 if len(same) > 1 else 0

    def named(self, name: str) -> tuple[Symbol, ...]:
        """What the kernel keeps of the module's symbols under a name: those of
        loaded sections that are not freed (kernel/module/kallsyms.c)."""
        return tuple(
            each for each in self.image.symbols.named(name) if self._kept(each)
        )

    def _kept(self, symbol: Symbol) -> bool:
        section = section_of(self.image, symbol)
        if section is None or symbol.type in (STT_FILE, STT_SECTION):
            return False
        return section.allocated and not section.name.startswith(_FREED)

    def is_traced(self, symbol: Symbol) -> bool:
        """Whether ftrace can redirect it."""
        start = symbol.value
        end = start + min(symbol.size or _SITE_WITHIN, _SITE_WITHIN)
        sites = self._sites.get(symbol.section_index, ())
        return any(start <= site < end for site in sites)

    @cached_property
    def _in_section(self) -> dict[int, list[Symbol]]:
        found: dict[int, list[Symbol]] = {}
        for symbol in self.image.symbols:
            if symbol.name and self._kept(symbol):
                found.setdefault(symbol.section_index, []).append(symbol)
        return found

    @cached_property
    def _sites(self) -> dict[int, list[int]]:
        """The calls to __fentry__ of each section."""
        section = self.image.section(_MCOUNT)
        sites: dict[int, list[int]] = {}
        for record in self.image.relocations(section) if section else ():
            symbol = self.image.symbols[record.symbol_index]
            place = symbol.value + record.addend
            sites.setdefault(symbol.section_index, []).append(place)
        return sites


def module_name(path: Path) -> str:
    """What the kernel calls a module that is in such a file."""
    return path.name.partition(".")[0].replace("-", "_")


def open_module(path: Path | str) -> ModuleFile:
    """The module in a file, packed or not. Raises what `open_image` does, InputError
    where it is no module."""
    if Path(path).suffix not in PACKED:
        return ModuleFile(open_image(path))
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path}: {error.strerror}") from error
    return ModuleFile(parse_image(unpack_module(data, str(path)), str(path)))
