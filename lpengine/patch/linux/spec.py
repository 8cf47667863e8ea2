"""What is to be in a Linux live patch module: the input of the writer."""

from dataclasses import dataclass
from typing import TypeAlias

from lpengine.elf.constants import SHF_ALLOC, SHT_PROGBITS
from lpengine.elf.orc import OrcEntry
from lpengine.patch.model import KlpSymbol, SystemState


@dataclass(frozen=True, slots=True)
class Place:
    """`offset` bytes into the section `section` of the module."""

    section: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Import:
    """A symbol that the kernel exports; the module loader checks its CRC."""

    name: str


Reference: TypeAlias = Place | Import | KlpSymbol


@dataclass(frozen=True, slots=True)
class RelocationSpec:
    """At `offset` into its section, fill in `target` (ELF `type` and `addend`).

    What has to be looked up outside the kernel itself is filled in when the module
    `object` is there: the one whose code uses it, by default where it is found.
    """

    offset: int
    type: int
    target: Reference
    addend: int = 0
    object: str = ""


@dataclass(frozen=True)
class SectionSpec:
    """A section as it is. `size` makes it zero-filled (SHT_NOBITS) and goes with
    empty `data`. Names have to be unique within a module."""

    name: str
    data: bytes = b""
    flags: int = SHF_ALLOC
    type: int = SHT_PROGBITS
    alignment: int = 1
    size: int | None = None
    entry_size: int = 0
    relocations: tuple[RelocationSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class SymbolSpec:
    """A named local symbol of the module. The kernel needs one at each new
    function: it takes the function's size from there."""

    name: str
    place: Place
    size: int = 0
    function: bool = False


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """Redirect `name`, the `occurrence`-th of that name in its object (0: the only
    one), to `new`."""

    name: str
    new: Place
    occurrence: int = 0


@dataclass(frozen=True, slots=True)
class CallbackSpec:
    """`kind` is pre_patch, post_patch, pre_unpatch or post_unpatch."""

    kind: str
    function: Place


@dataclass(frozen=True)
class ObjectSpec:
    """What is done to one object: "" is the kernel, else a module's name."""

    name: str = ""
    functions: tuple[FunctionSpec, ...] = ()
    callbacks: tuple[CallbackSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class OrcSpec:
    """From `place` on, frames look like `entry`; bytes are one packed already."""

    place: Place
    entry: OrcEntry | bytes


@dataclass(frozen=True)
class ModuleSpec:
    """A whole module. `replace` makes it take the place of all older patches.

    `return_sites` and `retpoline_sites` are the instructions that go to the
    kernel's thunks, which it rewrites for the processor it runs on.
    """

    name: str
    objects: tuple[ObjectSpec, ...]
    sections: tuple[SectionSpec, ...] = ()
    symbols: tuple[SymbolSpec, ...] = ()
    replace: bool = False
    states: tuple[SystemState, ...] = ()
    modinfo: tuple[tuple[str, str], ...] = ()
    orc: tuple[OrcSpec, ...] = ()
    return_sites: tuple[Place, ...] = ()
    retpoline_sites: tuple[Place, ...] = ()
