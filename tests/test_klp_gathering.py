"""What changed in objects, laid out as one live patch module: by made-up changes and
running code that answers for anything."""

import struct
from dataclasses import dataclass, field, replace

import pytest

from lpengine.diff.changes import (
    Definition,
    External,
    FunctionChange,
    Inside,
    ObjectChanges,
    Original,
    Piece,
    PieceKind,
    Record,
    Status,
    Table,
    Use,
    Verdict,
)
from lpengine.elf.constants import (
    R_X86_64_32S,
    R_X86_64_64,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_PROGBITS,
    STB_GLOBAL,
    STB_LOCAL,
    STT_FUNC,
    STT_OBJECT,
)
from lpengine.elf.orc import NOTHING
from lpengine.errors import BuildError
from lpengine.patch.linux.binding import Target
from lpengine.patch.linux.gathering import Gathered, gather
from lpengine.patch.linux.linking import link
from lpengine.patch.linux.spec import CallbackSpec, Import, OrcSpec, Place
from lpengine.patch.linux.target import OldFunction
from lpengine.patch.model import KlpSymbol, SystemState

CODE = SHF_ALLOC | SHF_EXECINSTR
DATA = SHF_ALLOC | SHF_WRITE


@dataclass(frozen=True)
class Owner:
    object: str


@dataclass(frozen=True)
class Part:
    """What stands in for a Bound."""

    changes: ObjectChanges
    object: str = ""

    @property
    def owner(self) -> Owner:
        return Owner(self.object or "vmlinux")


@dataclass
class Running:
    """What stands in for a Binder: exports, and what is not there at all."""

    exports: frozenset[str] = frozenset(("printk", "__fentry__"))
    absent: frozenset[str] = frozenset(("nowhere",))
    elsewhere: dict[str, str] = field(default_factory=dict)

    def old_function(self, part: Part, original: Original) -> OldFunction:
        return OldFunction(part.object, original.name, 0)

    def original(self, part: Part, original: Original) -> Target:
        return Target(KlpSymbol(part.owner.object, original.name, 2), 8)

    def external(self, part: Part, external: External) -> Target | None:
        name = external.name
        if name in self.exports:
            return Target(Import(name))
        if name in self.absent:
            return None
        owner = self.elsewhere.get(name, part.owner.object)
        return Target(KlpSymbol(owner, name, 0))


def original(name: str) -> Original:
    return Original(name, "", STB_LOCAL, STT_OBJECT, f".data.{name}", 0, 8)


def code(name: str, *uses: Use, size: int = 16, section: str = "") -> Piece:
    definition = Definition(name, 0, size, STB_LOCAL, STT_FUNC)
    return Piece(
        *(
            name,
            PieceKind.CODE,
            section or f".text.{name}",
            CODE,
            0,
            16,
            b"\x90" * size,
        ),
        size,
        (definition,),
        uses,
    )


def data(name: str, kind: PieceKind, raw: bytes, *uses: Use, section: str) -> Piece:
    definition = Definition(name, 0, len(raw), STB_GLOBAL, STT_OBJECT)
    flags = DATA if kind is PieceKind.DATA else SHF_ALLOC
    return Piece(name, kind, section, flags, 0, 8, raw, len(raw), (definition,), uses)


def string(text: bytes) -> Piece:
    return Piece(
        *("", PieceKind.STRING, ".rodata.str1.1", SHF_ALLOC, 1, 1, text, len(text))
    )


def table(section: str, size: int, *records: Record) -> Table:
    return Table(section, SHT_PROGBITS, SHF_ALLOC, 1, 0, size, records)


def record(owner: str, raw: bytes, *uses: Use) -> Record:
    return Record(raw, uses, owner)


def changes(
    name: str, *pieces: Piece, tables: tuple[Table, ...] = (), new: bool = False
) -> ObjectChanges:
    functions = tuple(
        FunctionChange(
            piece.name,
            Status.NEW if new else Status.CHANGED,
            original=None if new else original(piece.name),
            piece=number,
        )
        for number, piece in enumerate(pieces)
        if piece.kind is PieceKind.CODE and piece.section.startswith(".text")
    )
    return ObjectChanges(
        name, Verdict.CHANGED, functions=functions, pieces=pieces, tables=tables
    )


def gathered(*parts: Part, running: Running | None = None) -> Gathered:
    return gather(parts, running or Running())  # type: ignore[arg-type]


def names(found: Gathered) -> list[str]:
    return [piece.name for piece in found.material.pieces]


def call(offset: int, target: object, symbol: str = "") -> Use:
    return Use(offset, R_X86_64_PLT32, target, -4, symbol)  # type: ignore[arg-type]


def test_pieces_of_several_objects_share_sections() -> None:
    found = gathered(
        Part(changes("a.o", code("one", size=10), string(b"same\0"))),
        Part(
            changes(
                "b.o",
                code("two", call(1, Inside(1)), size=8),
                string(b"same\0"),
                data("table", PieceKind.CONSTANT, bytes(8), section=".rodata.table"),
                data("counter", PieceKind.DATA, bytes(4), section=".data.counter"),
            )
        ),
    )
    assert names(found) == [".text", ".rodata.str", ".rodata", ".data"]
    text, strings, _, _ = found.material.pieces
    assert bytes(text.data) == b"\x90" * 10 + b"\xcc" * 6 + b"\x90" * 8
    assert bytes(strings.data) == b"same\0"
    assert [each.new.place for each in found.redirects] == [
        Place(".text", 0),
        Place(".text", 16),
    ]
    (use,) = text.uses
    assert (use.offset, use.target, use.addend) == (17, Place(".rodata.str", 0), -4)


def test_code_for_a_module_is_kept_apart() -> None:
    """Its look-ups are made when the module is there."""
    use = call(1, External("helper"))
    found = gathered(
        Part(changes("a.o", code("one"))), Part(changes("m.o", code("two", use)), "mod")
    )
    assert [(each.name, each.object) for each in found.material.pieces] == [
        (".text", ""),
        (".text.mod", "mod"),
    ]
    linked = link(found.material, lambda name: Import(name), {})
    (relocation,) = linked.sections[1].relocations
    assert relocation.target == KlpSymbol("mod", "helper", 0)
    assert relocation.object == "mod"


def test_what_another_module_exports_is_looked_up_for_the_one_that_uses_it() -> None:
    running = Running(elsewhere={"shared": "library"})
    part = Part(changes("m.o", code("two", call(1, External("shared")))), "mod")
    linked = link(gathered(part, running=running).material, lambda n: Import(n), {})
    (relocation,) = linked.sections[0].relocations
    assert relocation.target == KlpSymbol("library", "shared", 0)
    assert relocation.object == "mod"


def test_places_without_a_symbol_are_counted_from_the_one_before() -> None:
    use = Use(4, R_X86_64_32S, original("count.0"), 4, "count.0")
    found = gathered(Part(changes("a.o", code("one", use))))
    (bound,) = found.material.pieces[0].uses
    assert bound.target == KlpSymbol("vmlinux", "count.0", 2)
    assert bound.addend == 12


def test_only_calls_of_a_symbol_itself_share_a_stub() -> None:
    uses = [call(1, External("f")), call(6, External("f"))]
    astray = Use(11, R_X86_64_PLT32, External("f"), 12, "f")
    found = gathered(Part(changes("a.o", code("one", *uses, astray, size=24))))
    linked = link(found.material, lambda name: Import(name), {})
    targets = [each.target for each in linked.sections[0].relocations]
    assert [isinstance(each, Place) for each in targets] == [True, True, False]


def test_what_one_object_of_the_fix_adds_another_may_use() -> None:
    found = gathered(
        Part(changes("a.o", code("one", call(1, External("added"))))),
        Part(
            changes(
                "b.o",
                data("added", PieceKind.DATA, bytes(8), section=".data.added"),
            )
        ),
        running=Running(absent=frozenset()),
    )
    (use,) = found.material.pieces[0].uses
    assert use.target == Place(".data", 0)


def test_a_weak_symbol_that_nothing_defines_is_zero_but_not_called() -> None:
    address = Use(4, R_X86_64_32S, External("nowhere", weak=True), 0, "nowhere")
    found = gathered(Part(changes("a.o", code("one", address))))
    assert found.material.pieces[0].uses == []
    part = Part(changes("a.o", code("one", call(1, External("nowhere", weak=True)))))
    with pytest.raises(BuildError, match="nowhere"):
        gathered(part)


def test_unwind_entries_come_as_they_are_and_are_closed() -> None:
    place = Use(0, R_X86_64_PC32, Inside(0), 0)
    later = Use(0, R_X86_64_PC32, Inside(0, 4), 0)
    tables = (
        table(
            ".orc_unwind_ip", 4, *(record("one", bytes(4), u) for u in (place, later))
        ),
        table(".orc_unwind", 6, *(record("", bytes([n] * 6)) for n in (1, 2))),
    )
    found = gathered(Part(changes("a.o", code("one"), tables=tables)))
    assert found.material.orc == (
        OrcSpec(Place(".text", 0), b"\1" * 6),
        OrcSpec(Place(".text", 4), b"\2" * 6),
        OrcSpec(Place(".text", 16), NOTHING),
    )


def test_objtools_list_of_returns_is_taken_and_nothing_is_added() -> None:
    site = Use(0, R_X86_64_PC32, Inside(0, 8), 0)
    sites = table(".return_sites", 4, record("one", bytes(4), site))
    thunk = call(9, External("__x86_return_thunk"))
    running = Running(exports=frozenset(("__x86_return_thunk",)))
    part = Part(changes("a.o", code("one", thunk), tables=(sites,)))
    linked = link(gathered(part, running=running).material, lambda n: Import(n), {})
    assert linked.return_sites == [Place(".text", 8)]


def test_what_only_the_kernel_itself_reads_is_left_out() -> None:
    printed = table(".printk_index", 8, record("one", bytes(8)))
    found = gathered(Part(changes("a.o", code("one"), tables=(printed,))))
    assert names(found) == [".text"]


def test_records_that_no_module_may_have_are_refused() -> None:
    """Addresses that are written into the code as the kernel boots."""
    site = Use(0, R_X86_64_PC32, Inside(0, 2), 0)
    filled = table(".runtime_ptr_USER_PTR_MAX", 4, record("one", bytes(4), site))
    with pytest.raises(BuildError, match=r"runtime_ptr_USER_PTR_MAX") as caught:
        gathered(Part(changes("a.o", code("one"), tables=(filled,))))
    assert caught.value.codes == ("LP-SHP-174",)


def jump_label(key: str) -> Table:
    uses = (
        Use(0, R_X86_64_PC32, Inside(0, 4), 0),
        Use(4, R_X86_64_PC32, Inside(0, 12), 0),
        Use(8, 24, External(key), 0, key),
    )
    return table("__jump_table", 16, record("one", bytes(16), *uses))


def static_call(key: str) -> Table:
    uses = (
        Use(0, R_X86_64_PC32, Inside(0, 4), 0),
        Use(4, R_X86_64_PC32, External(key), 0, key),
    )
    return table(".static_call_sites", 8, record("one", bytes(8), *uses))


@pytest.mark.parametrize("make", [jump_label, static_call])
def test_a_key_in_the_kernel_is_good_and_one_in_a_module_refused(make) -> None:
    found = gathered(Part(changes("a.o", code("one"), tables=(make("key"),))))
    assert len(names(found)) == 2
    with pytest.raises(BuildError, match="key is in a module") as caught:
        gathered(Part(changes("m.o", code("one"), tables=(make("key"),)), "mod"))
    assert caught.value.codes == ("LP-SHP-174",)


@pytest.mark.parametrize(
    "made",
    [
        jump_label("__tracepoint_begin"),
        jump_label("__UNIQUE_ID_ddebug17.3"),
        jump_label("descriptor.4"),
        static_call("__SCK__tp_func_begin"),
    ],
)
def test_switches_of_tracing_in_a_module_stay_off(made: Table) -> None:
    found = gathered(Part(changes("m.o", code("one"), tables=(made,)), "mod"))
    assert names(found) == [".text.mod"]
    (note,) = found.notes
    assert note.startswith("one: its tracepoints and debug messages stay off")


def alternative(size: int) -> Table:
    raw = bytes(8) + b"\0\0" + bytes((size, 0))
    uses = (
        Use(0, R_X86_64_PC32, Inside(0, 4), 0),
        Use(4, R_X86_64_PC32, Inside(1), 0),
    )
    return table(".altinstructions", 12, record("one", raw, *uses))


def test_code_that_is_rewritten_at_load_uses_nothing_of_a_module() -> None:
    """By then the kernel has put something else there."""
    replacement = code("", section=".altinstr_replacement", size=5)
    inside, behind = (call(at, External("helper")) for at in (5, 10))
    for use, object_, good in (
        (inside, "mod", False),
        (behind, "mod", True),
        (inside, "", True),
    ):
        part = Part(
            changes("a.o", code("one", use), replacement, tables=(alternative(5),)),
            object_,
        )
        if good:
            gathered(part)
        else:
            with pytest.raises(BuildError, match="rewrites") as caught:
                gathered(part)
            assert caught.value.codes == ("LP-SHP-174",)


def test_neither_do_replacements() -> None:
    replacement = code(
        "", call(1, External("helper")), section=".altinstr_replacement", size=5
    )
    part = Part(changes("a.o", code("one"), replacement, tables=(alternative(5),)), "m")
    with pytest.raises(BuildError, match="rewrites"):
        gathered(part)


def hook(kind: str) -> Table:
    use = Use(0, R_X86_64_64, Inside(0), 0, "act")
    return table(f".lpengine.callback.{kind}", 8, record("", bytes(8), use))


def with_hooks(name: str, *hooks: Table) -> ObjectChanges:
    return replace(changes(name, code("act"), new=True), hooks=hooks)


def test_callbacks_and_states_are_those_of_their_object() -> None:
    states = table(
        *(".lpengine.states", 16),
        record("", struct.pack("<QQ", 7, 1)),
        record("", struct.pack("<QQ", 8, 2)),
    )
    found = gathered(
        Part(with_hooks("a.o", hook("pre_patch"), hook("post_patch"), states)),
        Part(with_hooks("m.o", hook("pre_patch")), "mod"),
    )
    place = Place(".text")
    assert found.callbacks == {
        "": (CallbackSpec("pre_patch", place), CallbackSpec("post_patch", place)),
        "mod": (CallbackSpec("pre_patch", Place(".text.mod")),),
    }
    assert found.material.states == (SystemState(7, 1), SystemState(8, 2))
    assert found.redirects == ()


@pytest.mark.parametrize(
    "parts",
    [
        (Part(with_hooks("a.o", hook("at_boot"))),),
        (
            Part(with_hooks("a.o", hook("pre_patch"))),
            Part(with_hooks("b.o", hook("pre_patch"))),
        ),
    ],
    ids=["unknown", "twice"],
)
def test_callbacks_that_the_kernel_would_not_call_are_refused(
    parts: tuple[Part, ...],
) -> None:
    with pytest.raises(BuildError) as caught:
        gathered(*parts)
    assert caught.value.codes == ("LP-MOD-003",)


def test_sections_that_the_loader_reads_keep_their_names() -> None:
    pointer = Use(0, R_X86_64_64, Inside(1), 0)
    found = gathered(
        Part(
            changes(
                "a.o",
                code("one"),
                string(b"text\0"),
                data("message", PieceKind.DATA, bytes(56), pointer, section="__dyndbg"),
                data("late", PieceKind.DATA, bytes(8), section=".data..ro_after_init"),
            ),
            "mod",
        )
    )
    assert names(found) == [
        *(".text.mod", ".rodata.str", "__dyndbg", ".data..ro_after_init"),
    ]
