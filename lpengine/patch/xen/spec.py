"""What is to be in a Xen payload: the input of the writer.

Code written by hand goes into FunctionSpec.code and HookSpec.code; code from a
compiler comes as whole sections (SectionSpec) into which FunctionSpec.new and
HookSpec.target point.
"""

from dataclasses import dataclass

from lpengine.elf.constants import SHF_ALLOC, SHT_PROGBITS
from lpengine.patch.model import Expectation, HookKind

TEXT_ALIGNMENT = 16

# Lowercase hex, or the bytes.
BuildId = str | bytes


@dataclass(frozen=True)
class Place:
    """`offset` bytes into the section `section` of the payload."""

    section: str
    offset: int = 0


@dataclass(frozen=True)
class RelocationSpec:
    """At `offset` into the code or section it belongs to, fill in a reference.

    `symbol` is the name of a symbol that the target has (undefined in the payload),
    a place in the payload, or an address of the target that no name leads to. `type`
    and `addend` are the ELF's: a call to `f` whose displacement is at 1 is
    RelocationSpec(1, R_X86_64_PLT32, "f", -4).
    """

    offset: int
    type: int
    symbol: str | Place | int
    addend: int = 0


@dataclass(frozen=True)
class SectionSpec:
    """A section as it is. `size` makes it zero-filled (SHT_NOBITS) and goes with
    empty `data`. Names have to be unique within a payload."""

    name: str
    data: bytes = b""
    flags: int = SHF_ALLOC
    type: int = SHT_PROGBITS
    alignment: int = 1
    size: int | None = None
    entry_size: int = 0
    relocations: tuple[RelocationSpec, ...] = ()


@dataclass(frozen=True)
class SymbolSpec:
    """A named symbol. Xen registers it, whether local or not, and refuses a payload
    whose symbol exists already."""

    name: str
    place: Place
    size: int = 0
    function: bool = False
    local: bool = False


@dataclass(frozen=True)
class FunctionSpec:
    """One record of .livepatch.funcs.

    The old function is `old_symbol` (by relocation), else at `old_address`, else
    looked up by `name`. The new code is `code` (with `relocations` in it), else at
    `new`, a place in the payload or the name of a function of the target; with
    neither, the first `new_size` bytes of the old function become NOPs.

    `new_size` None means the size of `code`. `symbol` names the new code and is by
    default `name`: a symbol of a replacement is no new symbol to Xen, and
    backtraces show it; "" leaves it without one. `expectation` as bytes is enabled.
    """

    name: str
    old_size: int
    code: bytes | None = None
    relocations: tuple[RelocationSpec, ...] = ()
    new: Place | str | None = None
    new_size: int | None = None
    old_address: int = 0
    old_symbol: str = ""
    symbol: str | None = None
    version: int = 2
    expectation: Expectation | bytes | None = None


@dataclass(frozen=True)
class HookSpec:
    """A hook: `code`, else what is at `target`. `symbol` "" leaves it without a
    name, so that two payloads with hooks do not collide."""

    kind: HookKind
    code: bytes | None = None
    relocations: tuple[RelocationSpec, ...] = ()
    target: Place | str | None = None
    symbol: str = ""


@dataclass(frozen=True)
class AlternativeSpec:
    """Where the CPU has `feature` (or has it not, `inverted`), the bytes at
    `original` become `replacement`, filled up with NOPs to `original_size` plus
    `padding`."""

    original: Place
    original_size: int
    replacement: bytes
    feature: int
    inverted: bool = False
    padding: int = 0
    relocations: tuple[RelocationSpec, ...] = ()


@dataclass(frozen=True)
class ExceptionSpec:
    """A fault of the instruction at `fault` continues at `resume`."""

    fault: Place
    resume: Place


@dataclass(frozen=True)
class BugFrameSpec:
    """Raw records of .bug_frames.`kind`: 0 run_fn, 1 WARN, 2 BUG, 3 ASSERT."""

    kind: int
    data: bytes
    relocations: tuple[RelocationSpec, ...] = ()


@dataclass(frozen=True)
class PayloadSpec:
    """A whole payload.

    `build_id` None means a hash of the contents. `depends` is the build id of the
    payload below (of the hypervisor for the first), `xen_depends` the hypervisor's;
    None leaves the note out, which Xen refuses.
    """

    depends: BuildId | None
    xen_depends: BuildId | None
    build_id: BuildId | None = None
    functions: tuple[FunctionSpec, ...] = ()
    hooks: tuple[HookSpec, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    sections: tuple[SectionSpec, ...] = ()
    symbols: tuple[SymbolSpec, ...] = ()
    alternatives: tuple[AlternativeSpec, ...] = ()
    exceptions: tuple[ExceptionSpec, ...] = ()
    bug_frames: tuple[BugFrameSpec, ...] = ()
    funcs_writable: bool = True

    def code_place(self, function: int, offset: int = 0) -> Place:
        """Where `offset` into the `code` of function number `function` will be."""
        start = 0
        for spec in self.functions[:function]:
            start += -(-len(spec.code or b"") // TEXT_ALIGNMENT) * TEXT_ALIGNMENT
        return Place(".text", start + offset)
