"""What differs between two builds, as values: all that a payload is made of.

A builder takes `ObjectChanges` and needs neither object file again. It may rely on
this, for every one whose verdict is CHANGED:

- `pieces` is closed: whatever a piece or a record refers to is another piece
  (Inside), something that exists in the running image already (Original), or a name
  that the original object did not define either (External). Nothing points at a
  section, a string table or a compiler's label any more.
- An Original is unchanged, was matched with certainty, and is to be bound by address:
  `name` is what the original build called it and need not be unique in the image
  (`__func__.3`); `section` and `offset` say where it was in the original object.
- Functions with status CHANGED or NEW have a piece; CHANGED ones are to be redirected
  from `original`, NEW ones are reached from other pieces only.
- A function's `children` (gcc's `.cold`) are pieces too, never redirected by
  themselves: nothing reaches them but the parent.
- Calls and jumps to an included function are Inside. Where the *address* of a CHANGED
  function is taken (loaded, compared, stored in data) the target is its Original: the
  old entry stays what identifies it and leads to the new code, and nothing dangles
  when the payload goes. The address of a NEW function is Inside.
- `tables` hold those records of special sections that belong to included functions,
  in the original order, whole, with their references; sections that are derived from
  others (`.altinstr_replacement`, `.fixup`) are pieces, with `section` as their name.

Where the verdict is REFUSED the rest is filled as far as it goes, for a report only.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias


class Verdict(StrEnum):
    """What became of one object, or of a set of them."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


class Status(StrEnum):
    """What became of one function."""

    SAME = "same"
    CHANGED = "changed"
    NEW = "new"
    GONE = "gone"


class System(StrEnum):
    """Whose rules the objects follow, told from their sections. GENERIC is a
    program's or an emulated machine's."""

    XEN = "xen"
    LINUX = "linux"
    GENERIC = "generic"


class PieceKind(StrEnum):
    """CONSTANT is never written and may be merged with its equal; STRING is a
    CONSTANT that is a NUL-terminated string. DATA is written while it runs, ZERO
    too and has no bytes."""

    CODE = "code"
    CONSTANT = "constant"
    STRING = "string"
    DATA = "data"
    ZERO = "zero"


@dataclass(frozen=True, slots=True)
class Inside:
    """`offset` bytes into `ObjectChanges.pieces[piece]`."""

    piece: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Original:
    """Something of the original object that stays where it is.

    `file` is the name of the STT_FILE symbol that a local one belongs to, "" where
    there is none. `binding` and `type` are those of the original's symbol (STB_*,
    STT_*). `section` and `offset` are its place in the original object, `size` its
    st_size. `is_static_local` tells the `count.3` of gcc and the `f.count` of clang
    from variables that have their name to themselves. `symbol_index` is its place
    in the original's symbol table, 0 where it has no symbol of its own.
    """

    name: str
    file: str
    binding: int
    type: int
    section: str
    offset: int
    size: int
    is_static_local: bool = False
    symbol_index: int = 0


@dataclass(frozen=True, slots=True)
class External:
    """An undefined symbol of the patched object. `weak` ones may stay undefined."""

    name: str
    weak: bool = False


Target: TypeAlias = Inside | Original | External


@dataclass(frozen=True, slots=True)
class Use:
    """A field to fill in: S + `addend`, or S + `addend` - P, as `type` (R_X86_64_*)
    says, where S is the address of `target`.

    `offset` counts from the start of the piece or record. For Inside, S is the
    address of the piece plus `target.offset`, and what is left in `addend` is only
    what the instruction needs (-4, -5 where an immediate byte follows the field).
    The field's bytes are zero. `symbol` is the name that the patched object has for
    the target, for people.
    """

    offset: int
    type: int
    target: Target
    addend: int
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Definition:
    """A symbol of the patched object inside a piece. Builders keep, rename or drop
    it as their format asks; no reference is by name."""

    name: str
    offset: int
    size: int
    binding: int
    type: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the patched object that a payload must bring.

    `section` is the patched object's section; `flags`, `entry_size` and `alignment`
    are those of that section (SHF_*), so that pieces of one name and flags can be
    laid out behind each other. `data` is empty for ZERO, which has only a `size`.
    `why` names the piece that first referred to this one, "" for functions that
    changed by themselves.
    """

    name: str
    kind: PieceKind
    section: str
    flags: int
    entry_size: int
    alignment: int
    data: bytes
    size: int
    definitions: tuple[Definition, ...] = ()
    uses: tuple[Use, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a special section, `owner` the function that it is about.
    `uses` count from the record's start."""

    data: bytes
    uses: tuple[Use, ...]
    owner: str


@dataclass(frozen=True, slots=True)
class Table:
    """The records of one special section that must go with the included functions.

    `record_size` is the size of each; where two sections run in parallel
    (`.orc_unwind` and `.orc_unwind_ip`) their tables have equally many records in
    one order. `type`, `flags`, `alignment` and `entry_size` are the section's.
    """

    section: str
    type: int
    flags: int
    alignment: int
    entry_size: int
    record_size: int
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction of a listing: offset in its function, bytes, text with
    references by name. Offset -1 is an empty line, where only the other side has
    an instruction."""

    offset: int
    bytes: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """Two lines beside each other; `same` where they mean the same."""

    before: Line
    after: Line
    same: bool


class Difference(StrEnum):
    """What makes a function a changed one."""

    CODE = "code"  # an instruction
    OFFSET = "offset"  # only how far behind a pointer it addresses things
    REFERENCE = "reference"  # what an instruction refers to
    SIZE = "size"  # it ends elsewhere
    CHILD = "child"  # its .cold part
    CALLEE = "callee"  # a function it calls, which cannot be redirected itself
    CONSTANT = "constant"  # a table or constant that it reads
    TABLE = "table"  # a record of a special section
    NEW = "new"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a function is not the same. `text` is one sentence; `first` is the first
    pair of instructions that differ, where code does; `shift` of OFFSET is how much
    further it addresses things, `shifted` where the original addresses them."""

    kind: Difference
    text: str
    first: Row | None = None
    shift: int = 0
    shifted: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Code:
    """A function's bytes in one of the builds, and what its fields refer to: offset
    and size of each field and the name shown for it."""

    data: bytes
    names: tuple[tuple[int, int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FunctionChange:
    """One function. `name` is the original's, which is what gets redirected; the
    patched build may call it differently (`patched_name`). For a NEW one it is the
    patched build's and `original` is None; where such a one has a `before` it changed
    too, but cannot be redirected: its callers are. For a GONE one there is no piece.
    The function begins `entry` bytes into its piece, behind what compilers put in
    front (`__pfx_`, `__cfi_`).

    `has_ftrace_site` is about the original (Linux), `starts_with_endbr` too.
    `exported` says that modules may call it (EXPORT_SYMBOL). `before` and `after`
    are filled for CHANGED, NEW and GONE functions; `rows` of `diff.listing` puts
    them beside each other.
    """

    name: str
    status: Status
    file: str = ""
    patched_name: str = ""
    original: Original | None = None
    piece: int | None = None
    entry: int = 0
    children: tuple[str, ...] = ()
    reason: Reason | None = None
    is_global: bool = False
    exported: bool = False
    has_ftrace_site: bool = False
    starts_with_endbr: bool = False
    before: Code | None = None
    after: Code | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why this cannot be a live patch.

    `code` is in the planner's catalogue, `cause` narrows it down and is stable
    ("initial-data"). `subject` is the function, variable or type; `evidence` what was
    seen; `remedy` the way out. `liftable` says that a hook which its author declares
    for this subject, by name, lifts it; other refusals stand whatever is declared.
    """

    code: str
    cause: str
    subject: str
    evidence: str
    remedy: str
    object: str = ""
    liftable: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Something harmless that was seen and taken, or a check that could not be made:
    `cause` is stable ("removed-once", "no-debug-information")."""

    cause: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Lifted:
    """A refusal that `hook` lifts, as its author declared."""

    refusal: Refusal
    hook: str


@dataclass(frozen=True, slots=True)
class ObjectChanges:
    """One pair of objects. `metadata` is what a Linux module has to say of itself
    because of this object: `import_ns=` for each namespace whose exports it uses."""

    name: str
    verdict: Verdict
    system: System = System.GENERIC
    functions: tuple[FunctionChange, ...] = ()
    new_data: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()
    tables: tuple[Table, ...] = ()
    hooks: tuple[Table, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    lifted: tuple[Lifted, ...] = ()
    notes: tuple[Note, ...] = ()
    metadata: tuple[str, ...] = ()

    @property
    def changed_functions(self) -> tuple[str, ...]:
        """The names of those to be redirected, as the original build has them."""
        return self._named(Status.CHANGED)

    @property
    def new_functions(self) -> tuple[str, ...]:
        return self._named(Status.NEW)

    @property
    def gone_functions(self) -> tuple[str, ...]:
        return self._named(Status.GONE)

    def function(self, name: str) -> FunctionChange | None:
        """The first function of that name."""
        return next((each for each in self.functions if each.name == name), None)

    def _named(self, status: Status) -> tuple[str, ...]:
        return tuple(each.name for each in self.functions if each.status is status)


@dataclass(frozen=True, slots=True)
class FanOut:
    """A function of a header that changed, and all objects of the set that have a
    copy of it in their code; `missing` are those whose patched build is the old."""

    function: str
    header: str
    objects: tuple[str, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """A set of object pairs that become one patch. `refusals` are those that only
    show when all objects are looked at together; each object has its own."""

    objects: tuple[ObjectChanges, ...]
    refusals: tuple[Refusal, ...] = ()
    fan_out: tuple[FanOut, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def verdict(self) -> Verdict:
        verdicts = {each.verdict for each in self.objects}
        if self.refusals or Verdict.REFUSED in verdicts:
            return Verdict.REFUSED
        return Verdict.CHANGED if Verdict.CHANGED in verdicts else Verdict.UNCHANGED

    def without(self, code: str) -> "Changes":
        """The same but for refusals of one code, which somebody who sees the image
        judges better."""
        objects = tuple(_without(each, code) for each in self.objects)
        return replace(self, objects=objects)

    @property
    def all_refusals(self) -> tuple[Refusal, ...]:
        own = (refusal for each in self.objects for refusal in each.refusals)
        return (*self.refusals, *own)

    @property
    def changed(self) -> tuple[ObjectChanges, ...]:
        """The objects that a payload is made of."""
        return tuple(o for o in self.objects if o.verdict is Verdict.CHANGED)


def _without(changes: ObjectChanges, code: str) -> ObjectChanges:
    refusals = tuple(each for each in changes.refusals if each.code != code)
    if len(refusals) == len(changes.refusals):
        return changes
    verdict = Verdict.REFUSED if refusals else Verdict.CHANGED
    return replace(changes, refusals=refusals, verdict=verdict)
