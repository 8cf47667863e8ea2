"""A live patch as a value, whatever module format it came in.

Build ids are lowercase hex strings, "" where absent. Addresses are the target's
virtual addresses.
"""

from dataclasses import dataclass
from enum import StrEnum


class HookKind(StrEnum):
    """When a hook runs; the values are Xen's section suffixes."""

    LOAD = "load"
    UNLOAD = "unload"
    PREAPPLY = "preapply"
    APPLY = "apply"
    POSTAPPLY = "postapply"
    PREREVERT = "prerevert"
    REVERT = "revert"
    POSTREVERT = "postrevert"

    @property
    def vetoing(self) -> bool:
        """Runs outside the stopped section, so that replace refuses it (Xen:
        has_payload_any_vetoing_hooks)."""
        return self in (
            HookKind.PREAPPLY,
            HookKind.POSTAPPLY,
            HookKind.PREREVERT,
            HookKind.POSTREVERT,
        )


@dataclass(frozen=True)
class Hook:
    """One hook: `symbol` is the function it calls, "" where it has no name."""

    kind: HookKind
    symbol: str
    section_index: int
    offset: int


@dataclass(frozen=True)
class Expectation:
    """Bytes that must be at the old function when the patch is applied.

    `data` always has the full 31 bytes of the record; the first `length` count.
    """

    enabled: bool
    length: int
    reserved: int
    data: bytes

    @property
    def bytes(self) -> bytes:
        return self.data[: self.length]


@dataclass(frozen=True)
class FunctionPatch:
    """One record: redirect `name` to new code, or blank its first bytes.

    The old function is found by `old_symbol` (a relocation), else by
    `old_address`, else by `name`. `new_section` is 0 for a NOP patch; else the new
    code starts `new_offset` bytes into that section of the module, or is the
    undefined symbol `new_symbol`.

    In a Linux module `name` is looked up in `object` ("" is the kernel itself, else
    a module), as the `occurrence`-th symbol of that name there; 0 means that the
    name must be unique.
    """

    index: int
    name: str
    old_address: int
    old_symbol: str
    old_size: int
    new_symbol: str
    new_section: int
    new_offset: int
    new_size: int
    version: int
    expectation: Expectation
    object: str = ""
    occurrence: int = 0

    @property
    def is_nop(self) -> bool:
        return not self.new_symbol and self.new_section == 0

    @property
    def wanted(self) -> str:
        """The symbol that says where the old function is; "" for an address."""
        if self.old_symbol:
            return self.old_symbol
        return "" if self.old_address else self.name


@dataclass(frozen=True, slots=True)
class NewSymbol:
    """A named symbol the module brings; its name must be new to the target."""

    name: str
    section_index: int
    value: int
    size: int


@dataclass(frozen=True)
class PatchSection:
    """A section of the module that is loaded (SHF_ALLOC)."""

    index: int
    name: str
    size: int
    alignment: int
    writable: bool
    executable: bool
    zero_filled: bool


@dataclass(frozen=True, slots=True)
class PatchRelocation:
    """One relocation of a loaded section; `symbol` is "" for a section symbol."""

    section_index: int
    offset: int
    type: int
    symbol_index: int
    symbol: str
    addend: int


@dataclass(frozen=True, slots=True)
class Alternative:
    """One .altinstructions record. Positions are (section index, offset); the
    index is 0 where the record has no relocation."""

    original: tuple[int, int]
    replacement: tuple[int, int]
    feature: int
    inverted: bool
    original_size: int
    replacement_size: int
    padding: int


@dataclass(frozen=True, slots=True)
class KlpSymbol:
    """A symbol that the kernel looks up in `object` ("vmlinux" or a module) when it
    applies the relocations of a live patch; `occurrence` 0 means it is unique."""

    object: str
    name: str
    occurrence: int


@dataclass(frozen=True, slots=True)
class KlpRelocation:
    """One record of a .klp.rela section: applied when `object` is there, to
    `offset` bytes into the section `section_index`. `symbol` is None where the
    record's symbol is no live patch symbol."""

    object: str
    section_index: int
    offset: int
    type: int
    symbol: KlpSymbol | None
    addend: int


@dataclass(frozen=True, slots=True)
class KlpCallback:
    """A function of the module that runs as `object` ("" is the kernel itself) is
    patched or unpatched; `kind` is pre_patch, post_patch, pre_unpatch or
    post_unpatch."""

    object: str
    kind: str
    symbol: str


@dataclass(frozen=True, slots=True)
class SymbolVersion:
    """The CRC of an exported symbol as the module was built against it."""

    name: str
    crc: int


@dataclass(frozen=True, slots=True)
class SystemState:
    """A state of the system that a patch has changed (struct klp_state)."""

    id: int
    version: int


@dataclass(frozen=True)
class Violation:
    """A rule of the module format that this module breaks.

    `cause` names the rule, `errno` is what the real loader answers ("" where it
    accepts the module and misbehaves later), `subject` what in the module it is
    about.
    """

    cause: str
    errno: str
    subject: str
    observed: str
    needed: str


@dataclass(frozen=True)
class Patch:
    """One live patch: what it redirects, what it needs, and its raw module.

    A module that cannot be read is still a Patch: `violations` says why, in the
    order in which the real loader would find out, and the rest is empty.

    `format` is "xen" or "linux"; what comes after `violations` is for Linux only.
    `versions` and `vermagic` are what the kernel compares with its own; `target_ids`
    are build ids of what the module was built for, by object ("vmlinux" or a
    module), where it says so.
    """

    name: str
    raw: bytes
    sha256: str
    build_id: str = ""
    depends: str = ""
    image_build_id: str = ""
    functions: tuple[FunctionPatch, ...] = ()
    hooks: tuple[Hook, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    undefined: tuple[str, ...] = ()
    new_symbols: tuple[NewSymbol, ...] = ()
    sections: tuple[PatchSection, ...] = ()
    relocations: tuple[PatchRelocation, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    violations: tuple[Violation, ...] = ()
    format: str = "xen"
    vermagic: str = ""
    versions: tuple[SymbolVersion, ...] = ()
    klp_symbols: tuple[KlpSymbol, ...] = ()
    klp_relocations: tuple[KlpRelocation, ...] = ()
    callbacks: tuple[KlpCallback, ...] = ()
    replace: bool = False
    states: tuple[SystemState, ...] = ()
    target_ids: tuple[tuple[str, str], ...] = ()

    @property
    def objects(self) -> tuple[str, ...]:
        """What a Linux module patches, sorted: "" is the kernel itself."""
        named = {function.object for function in self.functions}
        named.update(callback.object for callback in self.callbacks)
        return tuple(sorted(named))

    @property
    def has_vetoing_hooks(self) -> bool:
        return any(hook.kind.vetoing for hook in self.hooks)

    @property
    def safe_to_reapply(self) -> bool:
        """Whether it may be applied again after a revert (Xen, move_payload): its
        only non-empty writable section is .livepatch.funcs."""
        writable = [s.name for s in self.sections if s.writable and s.size]
        return writable in ([], [".livepatch.funcs"])

    @property
    def wanted_symbols(self) -> tuple[str, ...]:
        """Every symbol name the target must be asked about, sorted."""
        names = set(self.undefined)
        names.update(f.wanted for f in self.functions if f.wanted)
        names.update(symbol.name for symbol in self.new_symbols)
        return tuple(sorted(names))
