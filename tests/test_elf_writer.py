"""What ObjectWriter writes is what parse_image reads, and what binutils accept."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.elf import Image, ObjectWriter, Symbol, parse_image
from lpengine.elf.constants import (
    ET_REL,
    R_X86_64_64,
    R_X86_64_NONE,
    R_X86_64_PC32,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHN_ABS,
    SHN_COMMON,
    SHN_UNDEF,
    SHT_INIT_ARRAY,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_PROGBITS,
    SHT_SYMTAB,
    STB_GLOBAL,
    STB_LOCAL,
    STB_WEAK,
    STT_FILE,
    STT_FUNC,
    STT_NOTYPE,
    STT_OBJECT,
    STT_SECTION,
    STV_HIDDEN,
)
from lpengine.errors import UsageError

# Names as compilers and people make them, spaces and other scripts included.
NAMES = st.text(
    st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")),
    min_size=1,
    max_size=12,
)
FLAGS = st.sampled_from(
    [0, SHF_ALLOC, SHF_ALLOC | SHF_WRITE, SHF_ALLOC | SHF_EXECINSTR]
)
ALIGNMENTS = st.sampled_from([1, 2, 4, 8, 16, 64, 4096])
WORDS = st.integers(0, (1 << 64) - 1)


@dataclass(frozen=True)
class SectionPlan:
    name: str
    type: int
    flags: int
    data: bytes
    size: int
    alignment: int


@dataclass(frozen=True)
class SymbolPlan:
    name: str
    value: int
    size: int
    binding: int
    type: int
    section: int
    visibility: int


@dataclass(frozen=True)
class RelocationPlan:
    section: int
    offset: int
    type: int
    symbol: int
    addend: int


@dataclass(frozen=True)
class FilePlan:
    """Calls for a writer; sections, symbols and relocations by their number."""

    sections: list[SectionPlan]
    symbols: list[SymbolPlan] = field(default_factory=list)
    relocations: list[RelocationPlan] = field(default_factory=list)
    notes: list[tuple[str, int, bytes]] = field(default_factory=list)

    def write(self) -> tuple[bytes, list[int]]:
        """The file and the symbols' handles."""
        writer = ObjectWriter()
        for each in self.sections:
            size = each.size if each.type == SHT_NOBITS else None
            writer.add_section(
                each.name,
                each.type,
                each.flags,
                each.data,
                size=size,
                alignment=each.alignment,
            )
        for owner, type_, description in self.notes:
            writer.add_note(".note.test", owner, type_, description)
        handles = [writer.add_symbol(**vars(each)) for each in self.symbols]
        for record in self.relocations:
            symbol = handles[record.symbol] if handles else 0
            writer.add_relocation(
                record.section, record.offset, record.type, symbol, record.addend
            )
        return writer.finish(), handles


@st.composite
def sections(draw: st.DrawFn) -> SectionPlan:
    type_ = draw(st.sampled_from([SHT_PROGBITS, SHT_PROGBITS, SHT_NOBITS]))
    # Names that binutils take for something else are not for a property.
    name = "." + draw(NAMES) + ".x"
    filled = type_ == SHT_PROGBITS
    return SectionPlan(
        name,
        type_,
        draw(FLAGS) if filled else SHF_ALLOC | SHF_WRITE,
        draw(st.binary(max_size=40)) if filled else b"",
        0 if filled else draw(st.integers(0, 1 << 20)),
        draw(ALIGNMENTS),
    )


@st.composite
def symbols(draw: st.DrawFn, section_count: int) -> SymbolPlan:
    if draw(st.integers(0, 5)) == 0:
        return SymbolPlan(draw(NAMES), 0, 0, STB_LOCAL, STT_FILE, SHN_ABS, 0)
    binding = draw(st.sampled_from([STB_LOCAL, STB_GLOBAL, STB_WEAK]))
    places = [SHN_ABS, *range(1, section_count + 1)]
    if binding != STB_LOCAL:
        places.append(SHN_UNDEF)
    section = draw(st.sampled_from(places))
    type_ = draw(st.sampled_from([STT_NOTYPE, STT_OBJECT, STT_FUNC]))
    value, size = draw(st.integers(0, 64)), draw(st.integers(0, 64))
    return SymbolPlan(draw(NAMES), value, size, binding, type_, section, 0)


@st.composite
def files(draw: st.DrawFn) -> FilePlan:
    made = draw(st.lists(sections(), min_size=1, max_size=6))
    named = draw(
        st.lists(symbols(len(made)), max_size=8, unique_by=lambda each: each.name)
    )
    filled = [n for n, each in enumerate(made, 1) if len(each.data) >= 8]
    records = []
    if filled and named:
        for _ in range(draw(st.integers(0, 6))):
            section = draw(st.sampled_from(filled))
            offset = draw(st.integers(0, len(made[section - 1].data) - 8))
            symbol = draw(st.integers(0, len(named) - 1))
            type_ = draw(st.sampled_from([R_X86_64_64, R_X86_64_PC32, R_X86_64_NONE]))
            addend = draw(st.integers(-(1 << 63), (1 << 63) - 1))
            records.append(RelocationPlan(section, offset, type_, symbol, addend))
    owners = st.sampled_from(["GNU", "Xen", "x", ""])
    notes = st.tuples(owners, st.integers(100, 1 << 31), st.binary(max_size=24))
    return FilePlan(made, named, records, draw(st.lists(notes, max_size=3)))


def described(symbol: Symbol) -> SymbolPlan:
    return SymbolPlan(
        symbol.name,
        symbol.value,
        symbol.size,
        symbol.binding,
        symbol.type,
        symbol.section_index,
        symbol.visibility,
    )


@given(files())
def test_what_is_written_is_read(plan: FilePlan) -> None:
    data, handles = plan.write()
    image = parse_image(data)
    check_sections(plan, image)
    check_symbols(plan, image)
    check_relocations(plan, image)
    notes = [(note.owner, note.type, note.description) for note in image.notes]
    assert notes == plan.notes
    assert len(set(handles)) == len(handles)


def check_sections(plan: FilePlan, image: Image) -> None:
    assert image.header.type == ET_REL
    for plan_section, section in zip(plan.sections, image.sections[1:], strict=False):
        expected = plan_section.data or bytes(plan_section.size)
        assert image.section_data(section) == expected
        found = (section.name, section.type, section.flags, section.alignment)
        wanted = plan_section.name, plan_section.type, plan_section.flags
        assert found == (*wanted, plan_section.alignment)
    assert all(section.alignment >= 1 for section in image.sections[1:])
    assert all(
        section.offset % section.alignment == 0 for section in image.sections[1:]
    )


def check_symbols(plan: FilePlan, image: Image) -> None:
    ordered = sorted(plan.symbols, key=lambda each: each.binding != STB_LOCAL)
    found = list(image.symbols)
    assert [described(each) for each in found[1:]] == ordered
    table = image.section(".symtab")
    assert table is not None
    assert table.type == SHT_SYMTAB
    assert table.info == 1 + sum(each.is_local for each in found[1:])


def check_relocations(plan: FilePlan, image: Image) -> None:
    for number in range(1, len(plan.sections) + 1):
        found = [
            (each.offset, each.type, each.addend, image.symbols[each.symbol_index].name)
            for each in image.relocations(image.sections[number])
        ]
        wanted = [
            (each.offset, each.type, each.addend, plan.symbols[each.symbol].name)
            for each in plan.relocations
            if each.section == number
        ]
        assert found == wanted


@given(files())
def test_same_calls_same_bytes(plan: FilePlan) -> None:
    assert plan.write()[0] == plan.write()[0]


def test_finish_may_be_called_again() -> None:
    writer = ObjectWriter()
    text = writer.add_section(".text", data=b"\xc3")
    first = writer.finish()
    assert writer.finish() == first
    writer.add_symbol("f", section=text)
    assert writer.finish() != first


# One process of each per example, hence few of them.
@settings(max_examples=60, deadline=None)
@given(files())
def test_binutils_accept_it(
    tmp_path_factory: pytest.TempPathFactory, plan: FilePlan
) -> None:
    path = tmp_path_factory.mktemp("written") / "written.o"
    path.write_bytes(plan.write()[0])
    assert complaints("readelf", "-aW", str(path)) == b""
    assert complaints("ld", "-r", "-o", str(path) + ".out", str(path)) == b""


def complaints(*command: str) -> bytes:
    """What a program wrote to stderr, and all it wrote where it failed."""
    done = subprocess.run(
        command, capture_output=True, check=False, env={"LC_ALL": "C"}
    )
    assert done.returncode == 0, (command, done)
    return done.stderr


@pytest.fixture
def rich() -> bytes:
    """One of everything that a payload has."""
    writer = ObjectWriter()
    text = writer.add_section(
        ".text.f", flags=SHF_ALLOC | SHF_EXECINSTR, data=b"\x90" * 32, alignment=16
    )
    writer.add_section(
        ".init_array", SHT_INIT_ARRAY, SHF_ALLOC | SHF_WRITE, bytes(8), alignment=8
    )
    bss = writer.add_section(
        ".bss", SHT_NOBITS, SHF_ALLOC | SHF_WRITE, size=1 << 40, alignment=1 << 20
    )
    writer.add_symbol("f.c", binding=STB_LOCAL, type=STT_FILE, section=SHN_ABS)
    function = writer.add_symbol(
        "f", type=STT_FUNC, section=text, size=32, visibility=STV_HIDDEN
    )
    static = writer.add_symbol("s", binding=STB_LOCAL, type=STT_OBJECT, section=bss)
    section = writer.add_symbol("", binding=STB_LOCAL, type=STT_SECTION, section=text)
    writer.add_symbol("c", section=SHN_COMMON, type=STT_OBJECT, value=8, size=8)
    wanted = writer.add_symbol("wanted")
    for place, symbol in enumerate((function, static, section, wanted, 0)):
        writer.add_relocation(text, 4 * place, R_X86_64_PC32, symbol, -4)
    writer.add_note(".note.gnu.build-id", "GNU", 3, bytes(range(20)))
    writer.add_note(".note.Xen", "Xen", 1, b"odd")
    writer.add_note(".note.Xen", "Xen", 2, b"")
    return writer.finish()


def test_sections_of_every_kind_are_accepted(rich: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rich.o"
    path.write_bytes(rich)
    assert len(rich) < 8192
    assert complaints("readelf", "-aW", str(path)) == b""
    assert complaints("objdump", "-dr", str(path)) == b""


def test_statics_stay_behind_their_file(rich: bytes) -> None:
    image = parse_image(rich)
    names = [each.qualified_name for each in image.symbols]
    assert names == ["", "f.c", "f.c#s", "", "f", "c", "wanted"]
    text = image.section(".text.f")
    assert text is not None
    targets = [each.symbol_index for each in image.relocations(text)]
    assert targets == [4, 2, 3, 6, 0]


def test_notes_of_one_section_follow_each_other(rich: bytes) -> None:
    image = parse_image(rich)
    assert image.build_id == bytes(range(20)).hex()
    notes = [each for each in image.notes if each.owner == "Xen"]
    assert [(each.type, each.description) for each in notes] == [(1, b"odd"), (2, b"")]
    section = image.section(".note.Xen")
    assert section is not None
    assert (section.type, section.allocated, section.alignment) == (SHT_NOTE, True, 4)


def test_equal_strings_are_kept_once() -> None:
    writer = ObjectWriter()
    for _ in range(50):
        section = writer.add_section(".the-same-name")
        writer.add_symbol("the_same_symbol", section=section, binding=STB_LOCAL)
    data = writer.finish()
    assert data.count(b".the-same-name\0") == 1
    assert data.count(b"the_same_symbol\0") == 1


def test_large_alignment_does_not_make_a_large_file() -> None:
    writer = ObjectWriter()
    writer.add_section(".text", data=b"\xc3", alignment=1 << 63)
    data = writer.finish()
    assert len(data) < 16384
    assert parse_image(data).sections[1].alignment == 1 << 63


@given(WORDS, WORDS)
def test_every_word_survives(value: int, size: int) -> None:
    writer = ObjectWriter()
    writer.add_symbol("x", section=SHN_ABS, value=value, size=size)
    (symbol,) = parse_image(writer.finish()).symbols.named("x")
    assert (symbol.value, symbol.size) == (value, size)


def test_arguments_that_cannot_be_written() -> None:
    writer = ObjectWriter()
    text = writer.add_section(".text", data=bytes(8))
    symbol = writer.add_symbol("s", section=text)
    before = writer.finish()
    for alignment in (0, -1, 3, 1 << 64):
        with pytest.raises(UsageError, match="no power of 2"):
            writer.add_section(".x", alignment=alignment)
    with pytest.raises(UsageError, match="SHT_NOBITS"):
        writer.add_section(".x", SHT_NOBITS, data=b"x")
    with pytest.raises(UsageError, match="SHT_NOBITS"):
        writer.add_section(".x", size=5)
    with pytest.raises(UsageError, match="made by the writer"):
        writer.add_section(".x", SHT_SYMTAB)
    with pytest.raises(UsageError, match="NUL"):
        writer.add_section("a\0b")
    with pytest.raises(UsageError, match="not Unicode text"):
        writer.add_symbol("\udcff")
    with pytest.raises(UsageError, match="no section has the index 2"):
        writer.add_symbol("x", section=2)
    with pytest.raises(UsageError, match="value"):
        writer.add_symbol("x", value=-1)
    with pytest.raises(UsageError, match="no symbol has the handle"):
        writer.add_relocation(text, 0, R_X86_64_64, symbol + 1)
    with pytest.raises(UsageError, match="no section has the index"):
        writer.add_relocation(text + 1, 0, R_X86_64_64, symbol)
    with pytest.raises(UsageError, match="addend"):
        writer.add_relocation(text, 0, R_X86_64_64, symbol, 1 << 63)
    assert writer.finish() == before


def test_too_many_sections_are_refused() -> None:
    writer = ObjectWriter()
    most = 32637
    for number in range(most):
        writer.add_section(f".s{number}")
    with pytest.raises(UsageError, match="without extended section numbers"):
        writer.add_section(".one-too-many")
    assert parse_image(writer.finish()).header.section_count == most + 4
