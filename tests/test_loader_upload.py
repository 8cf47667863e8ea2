"""How a module is put into memory: places, protections, tables, alternatives."""

from struct import Struct

import pytest

from lpengine.arch.x86 import disassemble
from lpengine.elf import Image, parse_image
from lpengine.elf.constants import (
    R_X86_64_64,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    SHF_ALLOC,
    SHF_WRITE,
)
from lpengine.errors import FaultError, TargetError
from lpengine.loader import Loaded, Loader
from lpengine.machine import EmulatedMachine
from lpengine.patch.model import Patch
from lpengine.patch.xen.reader import read_payload
from lpengine.patch.xen.spec import (
    AlternativeSpec,
    ExceptionSpec,
    FunctionSpec,
    PayloadSpec,
    Place,
    RelocationSpec,
    SectionSpec,
    SymbolSpec,
)
from lpengine.patch.xen.writer import write_payload
from tests.contract.subject import SHORTLY, returns, zero_section
from tests.loader_cases import code_section, make_patch, size_of

PAGE = 4096


@pytest.fixture
def machine(hv: Image) -> EmulatedMachine:
    return EmulatedMachine.from_image(hv, features=[16])


@pytest.fixture
def loader(machine: EmulatedMachine) -> Loader:
    return Loader(machine)


def _load(loader: Loader, patch: Patch) -> Loaded:
    loader.load(patch)
    return loader.patches[-1]


def _patch(hv: Image, code: bytes, **more: object) -> Patch:
    """xen_major_version replaced by `code`."""
    relocations = more.pop("relocations", ())
    spec = PayloadSpec(
        depends=hv.build_id,
        xen_depends=hv.build_id,
        functions=(
            FunctionSpec(
                "xen_major_version",
                size_of(hv, "xen_major_version"),
                code,
                relocations,  # type: ignore[arg-type]
            ),
        ),
        **more,  # type: ignore[arg-type]  # the spec's own fields, by name
    )
    return read_payload(write_payload(spec), "a")


def test_three_regions_on_their_own_pages(
    hv: Image, machine: EmulatedMachine, loader: Loader
) -> None:
    sections = (
        SectionSpec(".rodata", b"constant", alignment=64),
        SectionSpec(".data", b"variable", SHF_ALLOC | SHF_WRITE, alignment=32),
        zero_section(".bss", 3 * PAGE),
        code_section(".text.more", b"\xcc" * 20),
    )
    symbols = tuple(
        SymbolSpec(f"here_{name}", Place(name)) for name in (".rodata", ".data", ".bss")
    )
    patch = make_patch(
        hv, "a", {"xen_major_version": 5}, sections=sections, symbols=symbols
    )
    loaded = _load(loader, patch)
    at = {symbol.name: symbol.address for symbol in loaded.symbols}
    text_end = -(-loaded.text.end // PAGE) * PAGE
    assert loaded.start % PAGE == 0
    assert loaded.text.end <= at["here_.data"]
    assert at["here_.data"] >= text_end
    assert at["here_.data"] % 32 == 0
    assert at["here_.rodata"] % 64 == 0
    assert at["here_.rodata"] // PAGE > (at["here_.bss"] + 3 * PAGE - 1) // PAGE
    assert machine.read(at["here_.rodata"], 8) == b"constant"
    assert machine.read(at["here_.data"], 8) == b"variable"
    assert machine.read(at["here_.bss"], 3 * PAGE) == bytes(3 * PAGE)
    assert loaded.start + loaded.size <= machine.patch_area[1]


@pytest.mark.parametrize(("section", "faults"), [(".data", False), (".rodata", True)])
def test_pages_are_protected(
    hv: Image, machine: EmulatedMachine, loader: Loader, section: str, faults: bool
) -> None:
    # movl $7, section(%rip); mov section(%rip), %eax; ret
    code = bytes.fromhex("c70500000000 07000000 8b0500000000 c3")
    relocations = (
        RelocationSpec(2, R_X86_64_PC32, Place(section), -8),
        RelocationSpec(12, R_X86_64_PC32, Place(section), -4),
    )
    sections = (
        SectionSpec(".data", bytes(8), SHF_ALLOC | SHF_WRITE, alignment=8),
        SectionSpec(".rodata", bytes(8), alignment=8),
    )
    _load(loader, _patch(hv, code, relocations=relocations, sections=sections))
    loader.apply("a", SHORTLY)
    if not faults:
        assert machine.call_by_name("xen_major_version", []) == 7
        return
    with pytest.raises(FaultError) as caught:
        machine.call_by_name("xen_major_version", [])
    assert "xen_major_version [a]" in caught.value.report


def test_records_hold_the_addresses_that_were_looked_up(
    hv: Image, machine: EmulatedMachine, loader: Loader
) -> None:
    patch = make_patch(hv, "a", {"xen_major_version": 5})
    loaded = _load(loader, patch)
    (symbol,) = hv.symbols.named("xen_major_version")
    (function,) = loaded.functions
    assert function.old_address == symbol.value
    assert machine.read(function.new_address, 6) == returns(5)
    assert loaded.text.start <= function.new_address < loaded.text.end
    pages = machine.read(loaded.start, loaded.size)
    pair = function.new_address.to_bytes(8, "little")
    assert pair + symbol.value.to_bytes(8, "little") in pages


def test_exceptions_are_sorted(
    hv: Image, machine: EmulatedMachine, loader: Loader
) -> None:
    code = b"\x90" * 32 + b"\xc3"
    pairs = [(9, 0), (3, 30), (27, 12), (4, 1)]
    patch = _patch(
        hv,
        code,
        exceptions=tuple(
            ExceptionSpec(Place(".text", fault), Place(".text", resume))
            for fault, resume in pairs
        ),
    )
    loaded = _load(loader, patch)
    entry = Struct("<ii")
    table = _find_section(machine, loaded, patch, ".ex_table")
    found = []
    for at in range(0, len(pairs) * 8, 8):
        fault, resume = entry.unpack(machine.read(table + at, 8))
        start = table + at - loaded.functions[0].new_address
        found.append((start + fault, start + 4 + resume))
    assert found == sorted(pairs)


def _find_section(
    machine: EmulatedMachine, loaded: Loaded, patch: Patch, name: str
) -> int:
    """Sections without write or execute permission come last, in file order."""
    module = parse_image(patch.raw)
    writable = [s for s in module.sections if s.allocated and s.writable]
    size = -(-sum(s.size for s in writable) // PAGE) * PAGE
    position = loaded.start + -(-loaded.text_size // PAGE) * PAGE + size
    for section in module.sections:
        if not section.allocated or section.writable or section.executable:
            continue
        position = -(-position // max(section.alignment, 1)) * max(section.alignment, 1)
        if section.name == name:
            return position
        position += section.size
    raise AssertionError(f"{patch.name} has no {name}")


@pytest.mark.parametrize(
    ("feature", "inverted", "replaced"),
    [(16, False, True), (17, False, False), (16, True, False), (17, True, True)],
)
def test_an_alternative_is_filled_up_with_nops(
    hv: Image,
    machine: EmulatedMachine,
    loader: Loader,
    feature: int,
    inverted: bool,
    replaced: bool,
) -> None:
    # mov $1, %eax; six one-byte NOPs as padding; ret
    code = b"\xb8\x01\0\0\0" + b"\x90" * 6 + b"\xc3"
    alternative = AlternativeSpec(
        Place(".text"), 5, b"\x31\xc0", feature, inverted=inverted, padding=6
    )
    loaded = _load(loader, _patch(hv, code, alternatives=(alternative,)))
    live = machine.read(loaded.start, len(code))
    text = [one.mnemonic for one in disassemble(live, 0)]
    if replaced:
        assert live[:2] == b"\x31\xc0"
        assert text == ["xor", "nop", "ret"]
    else:
        assert text == ["mov", "nop", "ret"]
    loader.apply("a", SHORTLY)
    assert machine.call_by_name("xen_major_version", []) == (0 if replaced else 1)


def test_a_relative_branch_in_an_alternative_is_moved(
    hv: Image, machine: EmulatedMachine, loader: Loader
) -> None:
    code = b"\x90" * 5 + b"\xc3"
    call = AlternativeSpec(
        Place(".text"),
        5,
        b"\xe8" + bytes(4),
        16,
        relocations=(RelocationSpec(1, R_X86_64_PLT32, "xen_minor_version", -4),),
    )
    _load(loader, _patch(hv, code, alternatives=(call,)))
    loader.apply("a", SHORTLY)
    assert machine.call_by_name("xen_major_version", []) == 17


@pytest.mark.parametrize(
    ("target", "skipped"), [("operate_multiply", 4), ("xen_minor_version", 0)]
)
def test_an_indirect_call_becomes_a_direct_one(
    hv: Image, machine: EmulatedMachine, loader: Loader, target: str, skipped: int
) -> None:
    # call *pointer(%rip); ret
    code = bytes.fromhex("ff1500000000 c3")
    patch = _patch(
        hv,
        code,
        relocations=(RelocationSpec(2, R_X86_64_PC32, Place(".rodata"), -4),),
        sections=(
            SectionSpec(
                ".rodata",
                bytes(8),
                alignment=8,
                relocations=(RelocationSpec(0, R_X86_64_64, target),),
            ),
        ),
        alternatives=(AlternativeSpec(Place(".text"), 6, b"\xe8\xfb\xff\xff\xff", 93),),
    )
    loaded = _load(loader, patch)
    live = machine.read(loaded.start, 6)
    call, nop = disassemble(live, loaded.start)
    (symbol,) = hv.symbols.named(target)
    assert call.target == symbol.value + skipped
    assert nop.mnemonic == "nop"


def test_an_indirect_call_to_nowhere_becomes_undefined(
    hv: Image, machine: EmulatedMachine, loader: Loader
) -> None:
    patch = _patch(
        hv,
        bytes.fromhex("ff1500000000 c3"),
        relocations=(RelocationSpec(2, R_X86_64_PC32, Place(".rodata"), -4),),
        sections=(SectionSpec(".rodata", bytes(8), alignment=8),),
        alternatives=(AlternativeSpec(Place(".text"), 6, b"\xe8\xfb\xff\xff\xff", 93),),
    )
    loaded = _load(loader, patch)
    assert machine.read(loaded.start, 5) == bytes.fromhex("0f0b0fffff")


def test_an_image_without_build_id(hv: Image) -> None:
    section = hv.section(".note.gnu.build-id")
    assert section is not None
    data = bytearray(hv.data)
    data[section.offset + 8] = 99
    loader = Loader(EmulatedMachine.from_image(parse_image(data)))
    with pytest.raises(TargetError) as caught:
        loader.load(make_patch(hv, "a", {"xen_major_version": 5}))
    assert (caught.value.cause, caught.value.errno) == ("no-xen-build-id", "ENODATA")


@pytest.mark.parametrize("field", range(8))
def test_a_pointer_to_nowhere_is_refused(hv: Image, loader: Loader, field: int) -> None:
    patch = make_patch(hv, "a", {"xen_major_version": 5})
    module = parse_image(patch.raw)
    relocations = module.section(".rela.livepatch.funcs")
    assert relocations is not None
    raw = bytearray(patch.raw)
    # An addend that leads far away, instead of one into the module.
    at = relocations.offset + 16 + 24 * (field % (relocations.size // 24))
    raw[at : at + 8] = (1 << (40 + field)).to_bytes(8, "little")
    with pytest.raises(TargetError) as caught:
        loader.load(read_payload(bytes(raw), "a"))
    assert caught.value.cause in ("unchecked-pointer", "function-out-of-reach")
