"""What was observed on a target, as values. Differences between targets are data
here, never a type to ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lpengine.patch.model import SystemState


class PatchState(StrEnum):
    """Xen's two states of a payload (public/sysctl.h)."""

    CHECKED = "checked"
    APPLIED = "applied"


@dataclass(frozen=True)
class Span:
    """Addresses [start, end)."""

    start: int
    end: int

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end


@dataclass(frozen=True)
class Capabilities:
    """What a target can do.

    `relocations` are the ELF relocation types it applies, `far_jumps` whether it
    may use the 14-byte jump, `stacking` whether patches depend on one another by
    build id, `features` how many CPU feature bits its alternatives may name,
    `careful` whether it checks what real hypervisors forget (an emulated machine
    does; a real one dies of it), and `interface_known` whether it speaks a version
    of the patching interface that this engine knows. `format` is that of the modules
    it takes ("xen", "linux"), `ordered` whether only the topmost patch comes off, and
    `replaces_by_module` that a module says by itself whether it takes all others off.
    `patience` is for how many seconds to wait for the target where nobody says so, and
    `force` whether it can go on although somebody is inside the old code.
    """

    live_patching: bool = True
    privileged: bool = True
    replace: bool = True
    stacking: bool = True
    far_jumps: bool = False
    careful: bool = False
    consistency: str = "set"
    relocations: tuple[int, ...] = (0, 1, 2, 4)
    largest_module: int = 2 << 20
    largest_name: int = 127
    features: int = 0
    interface_known: bool = True
    format: str = "xen"
    ordered: bool = True
    replaces_by_module: bool = False
    patience: float = 1.0
    force: bool = False


@dataclass(frozen=True)
class ImageFacts:
    """The running image. `version` is "4.17.7" or "" where unknown, `text` what
    may be patched, `init` code that is gone after boot, `patch_area` where new
    code will be placed, `patch_area_free` its largest free run in bytes. `boot`
    differs after every boot, and is "" where the target has no such thing. `unseen`
    says how to get the image's names and code where they could not be had; then no
    symbol and no code of it is known. `compiled` says by what, by whom and when, and
    `cpus` on how many processors it runs; "" and 0 where that is not known."""

    build_id: str
    version: str
    text: Span
    init: tuple[Span, ...]
    patch_area: Span
    patch_area_free: int
    boot: str = ""
    unseen: str = ""
    compiled: str = ""
    cpus: int = 0


@dataclass(frozen=True)
class PatchedFunction:
    """A function of the kernel ("" as `object`) or of a module that a patch
    redirects; `occurrence` counts from 1 among those of that name."""

    object: str
    name: str
    occurrence: int


@dataclass(frozen=True)
class LoadedPatch:
    """A patch that is on the target. `functions` are the spans of the old
    functions it redirects, `symbols` the names it brought, `uses` those that it left to
    be found elsewhere (nothing where its module is not at hand), `status` the errno of
    its last action ("" = success), `code` where its own code lies (empty where that
    is not known). On Linux `patched` has the functions, `states` the system states it
    has changed (None where that is not known), and `pinned` that a forced transition
    keeps its code in the kernel for ever."""

    name: str
    build_id: str
    depends: str
    state: PatchState
    sha256: str = ""
    reverted: bool = False
    safe_to_reapply: bool = True
    vetoing_hooks: bool = False
    irreversible: bool = False
    status: str = ""
    functions: tuple[Span, ...] = ()
    symbols: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    code: Span = Span(0, 0)
    patched: tuple[PatchedFunction, ...] = ()
    states: tuple[SystemState, ...] | None = None
    pinned: bool = False


@dataclass(frozen=True)
class SymbolFact:
    """Where a name is on the target. `owner` is "" for the image, else the loaded
    patch or kernel module that brought it; `init` says it is gone after boot. On
    Linux `traced` tells whether the function begins with a call of the tracer
    (None: not known), and `hooked` whether somebody else has redirected it."""

    name: str
    address: int
    size: int
    is_function: bool
    init: bool = False
    owner: str = ""
    traced: bool | None = None
    hooked: bool = False


@dataclass(frozen=True)
class CodeFact:
    """A function a patch wants to redirect, as it is in memory now.

    `address` is where the symbol starts that contains the address asked for: they
    differ when the patch names an address in the middle of a function. `live` are
    the bytes from its start up to the next symbol (so `len(live)` is the room there
    is), `shipped` the same bytes in the image's file. `redirected_by` names the
    applied patches of this engine that redirect it, oldest first. `unsure` are
    addresses whose bytes are not known, where the target lets nobody look: what the
    image may have rewritten itself since it started (`live` has the shipped bytes
    there), and how far a redirection jumps.
    """

    address: int
    symbol: str
    size: int
    live: bytes
    shipped: bytes
    redirected_by: tuple[str, ...] = ()
    unsure: tuple[Span, ...] = ()


@dataclass(frozen=True)
class BusyFact:
    """A CPU or thread that is inside code now: what would block quiescing.
    `resident`: the function is what the thread consists of; it never leaves."""

    who: str
    function: str
    address: int
    backtrace: tuple[str, ...] = ()
    resident: bool = False


@dataclass(frozen=True)
class ModuleFact:
    """A kernel module that is loaded."""

    name: str
    build_id: str = ""


@dataclass(frozen=True)
class ExportFact:
    """A symbol for modules to use; `owner` is "" for the kernel itself. `crc` is
    None where it could not be read."""

    owner: str
    crc: int | None


@dataclass(frozen=True)
class KernelFacts:
    """What a running Linux kernel adds to the facts.

    `vermagic` is "" where it is not known, `exports` has those that were asked for,
    and says nothing about the others unless `exports_known`; the same holds for
    Facts.symbols and `symbols_known`. `image` is the file that was read beside the
    running kernel, "" where none fits. `unwinder` is "orc" where stacks are read by
    means of tables that modules must bring, "" where that is not known. `built_in` are
    those names of the patches asked for that parts of the kernel itself have, `on_disk`
    the modules that the patches are about and that are not loaded: then Facts.symbols
    has what their files have.
    """

    release: str
    vermagic: str = ""
    signature_required: bool = False
    lockdown: str = "none"
    modules_disabled: bool = False
    tracing: bool = True
    modules: tuple[ModuleFact, ...] = ()
    exports: Mapping[str, ExportFact] = field(default_factory=dict)
    exports_known: bool = False
    symbols_known: bool = True
    image: str = ""
    unwinder: str = "orc"
    built_in: tuple[str, ...] = ()
    on_disk: tuple[ModuleFact, ...] = ()

    def module(self, name: str) -> ModuleFact | None:
        return next((one for one in self.modules if one.name == name), None)

    def file(self, name: str) -> ModuleFact | None:
        """Of a module that is not loaded."""
        return next((one for one in self.on_disk if one.name == name), None)


@dataclass(frozen=True)
class Facts:
    """One observation of one target.

    `loaded` is in load order; `applied` names the applied ones, bottom of the
    stack first. `symbols` has every symbol that was asked for (absent = unknown
    to the target; several = ambiguous). `code` is keyed by the old address.
    `in_progress` names the patch another action is under way for, `waitqueues` the
    guests whose CPUs sleep inside the hypervisor. `kernel` is there for Linux only.
    """

    target: str
    image: ImageFacts
    capabilities: Capabilities
    loaded: tuple[LoadedPatch, ...] = ()
    applied: tuple[str, ...] = ()
    symbols: Mapping[str, tuple[SymbolFact, ...]] = field(default_factory=dict)
    code: Mapping[int, CodeFact] = field(default_factory=dict)
    busy: tuple[BusyFact, ...] = ()
    in_progress: str = ""
    waitqueues: tuple[str, ...] = ()
    kernel: KernelFacts | None = None
