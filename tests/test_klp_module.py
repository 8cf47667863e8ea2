"""Linux live patch modules written and read, against readelf and gcc."""

import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.elf import ObjectWriter, parse_image
from lpengine.elf.btf import Struct
from lpengine.elf.constants import (
    R_X86_64_64,
    R_X86_64_GOTPCREL,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_RELA_LIVEPATCH,
    SHF_WRITE,
    SHN_LIVEPATCH,
)
from lpengine.elf.kernel import Export
from lpengine.elf.orc import SP, OrcEntry, OrcFormat
from lpengine.errors import BuildError, UsageError
from lpengine.patch.linux.abi import ModuleAbi
from lpengine.patch.linux.reader import read_module
from lpengine.patch.linux.spec import (
    CallbackSpec,
    FunctionSpec,
    Import,
    ModuleSpec,
    ObjectSpec,
    OrcSpec,
    Place,
    RelocationSpec,
    SectionSpec,
    SymbolSpec,
)
from lpengine.patch.linux.writer import write_module
from lpengine.patch.model import KlpCallback, KlpSymbol, Patch, SystemState
from lpengine.patch.reader import format_of, load_patch

FOREIGN = Path(__file__).parent.parent / "fixtures/klp/foreign"
CODE = SHF_ALLOC | SHF_EXECINSTR


def layout(struct_name: str, total: int, /, **members: int) -> Struct:
    return Struct(struct_name, total, members, {})


def export(name: str, crc: int, namespace: str = "") -> Export:
    return Export(name, 0xFFFFFFFF81000000, crc, namespace, False)


ABI = ModuleAbi(
    vermagic="6.1.0 SMP preempt mod_unload modversions ",
    structs={
        each.name: each
        for each in (
            layout("module", 896, name=24, init=312, exit=848),
            layout("klp_patch", 200, mod=0, objs=8, states=16, replace=24),
            layout("klp_object", 168, name=0, funcs=8, callbacks=16),
            layout("klp_func", 152, old_name=0, new_func=8, old_sympos=16),
            layout("klp_state", 24, id=0, version=8, data=16),
            layout(
                "klp_callbacks",
                40,
                pre_patch=0,
                post_patch=8,
                pre_unpatch=16,
                post_unpatch=24,
            ),
        )
    },
    exports={
        each.name: each
        for each in (
            export("klp_enable_patch", 1),
            export("module_layout", 2),
            export("__x86_return_thunk", 3),
            export("seq_puts", 4),
            export("spaced", 5, "USB_STORAGE"),
        )
    },
    orc=OrcFormat(0),
    return_thunks=True,
    retpolines=True,
)

TEXT = SectionSpec(
    ".text",
    b"\xe8" + bytes(4) + b"\xe8" + bytes(4) + b"\xe9" + bytes(4),
    CODE,
    alignment=16,
    relocations=(
        RelocationSpec(1, R_X86_64_PLT32, Import("seq_puts"), -4),
        RelocationSpec(6, R_X86_64_PLT32, KlpSymbol("vmlinux", "nr_running", 2), -4),
        RelocationSpec(11, R_X86_64_PLT32, Import("__x86_return_thunk"), -4),
    ),
)
SPEC = ModuleSpec(
    name="lp_one",
    objects=(
        ObjectSpec(
            "",
            (FunctionSpec("cmdline_proc_show", Place(".text"), 3),),
            (CallbackSpec("pre_patch", Place(".text", 5)),),
        ),
        ObjectSpec("ext4", (FunctionSpec("ext4_show", Place(".text", 5)),)),
    ),
    sections=(TEXT, SectionSpec(".bss", b"", SHF_ALLOC | SHF_WRITE, 8, 8, 64)),
    symbols=(
        SymbolSpec("new_show", Place(".text"), 5, True),
        SymbolSpec("new_ext4", Place(".text", 5), 10, True),
    ),
    replace=True,
    states=(SystemState(7, 2), SystemState(1 << 40, 1)),
    modinfo=(("cve", "CVE-2026-1"), ("lpengine_target_vmlinux", "aabb")),
    orc=(OrcSpec(Place(".text"), OrcEntry(SP, 8)),),
    return_sites=(Place(".text", 10),),
)


def read(spec: ModuleSpec = SPEC, abi: ModuleAbi = ABI) -> Patch:
    return read_module(write_module(spec, abi), "other")


def readelf(tmp_path: Path, raw: bytes, *flags: str) -> str:
    (tmp_path / "m.ko").write_bytes(raw)
    done = subprocess.run(
        ["readelf", "-W", *flags, "m.ko"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr == ""
    return done.stdout


def test_what_was_written_is_read_back() -> None:
    patch = read()
    assert patch.violations == ()
    assert patch.name == "lp_one"
    assert patch.format == "linux"
    assert patch.replace
    assert patch.states == SPEC.states
    assert patch.objects == ("", "ext4")
    assert patch.callbacks == (KlpCallback("", "pre_patch", "new_ext4"),)
    assert patch.vermagic == ABI.vermagic
    assert patch.target_ids == (("vmlinux", "aabb"),)
    assert ("cve", "CVE-2026-1") in patch.metadata
    show, ext4 = patch.functions
    assert (show.object, show.name, show.occurrence) == ("", "cmdline_proc_show", 3)
    assert (show.new_symbol, show.new_offset, show.new_size) == ("new_show", 0, 5)
    assert (ext4.object, ext4.name, ext4.occurrence) == ("ext4", "ext4_show", 0)
    assert (ext4.new_symbol, ext4.new_offset, ext4.new_size) == ("new_ext4", 5, 10)


def test_exports_go_by_crc_and_the_rest_by_name_and_position() -> None:
    patch = read()
    assert {each.name: each.crc for each in patch.versions} == {
        "module_layout": 2,
        "klp_enable_patch": 1,
        "__x86_return_thunk": 3,
        "seq_puts": 4,
    }
    assert set(patch.undefined) == {
        "klp_enable_patch",
        "seq_puts",
        "__x86_return_thunk",
    }
    (symbol,) = patch.klp_symbols
    assert symbol == KlpSymbol("vmlinux", "nr_running", 2)
    (record,) = patch.klp_relocations
    assert (record.object, record.offset, record.symbol) == ("vmlinux", 6, symbol)


def test_readelf_sees_what_the_kernel_documents(tmp_path: Path) -> None:
    """Documentation/livepatch/module-elf-format.rst."""
    raw = write_module(SPEC, ABI)
    sections = readelf(tmp_path, raw, "-S")
    assert ".klp.rela.vmlinux..text" in sections
    symbols = readelf(tmp_path, raw, "-s")
    assert "OS [0xff20] .klp.sym.vmlinux.nr_running,2" in symbols
    assert "lpengine_target_vmlinux=aabb" in readelf(tmp_path, raw, "-p", ".modinfo")
    image = parse_image(raw)
    table = image.section(".klp.rela.vmlinux..text")
    assert table is not None
    assert table.flags & SHF_RELA_LIVEPATCH
    assert table.allocated
    (record,) = image.relocations(table)
    assert image.symbols[record.symbol_index].section_index == SHN_LIVEPATCH


def test_the_module_names_its_entry_its_exit_and_itself() -> None:
    image = parse_image(write_module(SPEC, ABI))
    section = image.section(".gnu.linkonce.this_module")
    assert section is not None
    assert image.section_data(section)[24:31] == b"lp_one\0"
    places = {each.offset: each for each in image.relocations(section)}
    assert sorted(places) == [312, 848]
    named = {
        offset: image.sections[image.symbols[each.symbol_index].section_index].name
        for offset, each in places.items()
    }
    assert named == {312: ".init.text", 848: ".exit.text"}


def test_thunk_users_and_frames_are_listed() -> None:
    image = parse_image(write_module(SPEC, ABI))
    for name, size, count in ((".return_sites", 4, 2), (".orc_unwind", 6, 5)):
        section = image.section(name)
        assert section is not None
        assert section.size == size * count
    plain = replace(ABI, return_thunks=False, orc=None)
    without = replace(SPEC, orc=(), return_sites=())
    image = parse_image(write_module(without, plain))
    assert image.section(".return_sites") is None
    assert image.section(".orc_unwind") is None


def test_kernels_with_landing_pads_get_them() -> None:
    image = parse_image(write_module(SPEC, replace(ABI, landing_pads=True)))
    for name in (".init.text", ".exit.text"):
        section = image.section(name)
        assert section is not None
        assert image.section_data(section).startswith(bytes.fromhex("f30f1efa"))


def test_namespaces_of_exports_are_imported() -> None:
    used = RelocationSpec(1, R_X86_64_PLT32, Import("spaced"), -4)
    text = replace(TEXT, relocations=(used,))
    spec = replace(SPEC, sections=(text, SPEC.sections[1]))
    assert ("import_ns", "USB_STORAGE") in read(spec).metadata


def test_the_same_spec_gives_the_same_bytes_and_another_another_build_id() -> None:
    assert write_module(SPEC, ABI) == write_module(SPEC, ABI)
    other = replace(SPEC, modinfo=(("cve", "CVE-2026-2"),))
    assert read().build_id != read(other).build_id
    assert len(read().build_id) == 40


def test_what_cannot_be_a_module_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be a module's name"):
        write_module(replace(SPEC, name="x" * 56), ABI)
    with pytest.raises(UsageError, match="cannot be a module's name"):
        write_module(replace(SPEC, objects=(ObjectSpec("a.b"),)), ABI)
    with pytest.raises(UsageError, match="is there twice"):
        write_module(replace(SPEC, sections=(TEXT, TEXT)), ABI)
    text = replace(
        TEXT, relocations=(RelocationSpec(1, R_X86_64_PLT32, Import("absent"), -4),)
    )
    with pytest.raises(BuildError, match="does not export"):
        write_module(replace(SPEC, sections=(text,)), ABI)
    structs = {**ABI.structs, "klp_func": layout("klp_func", 152, old_name=0)}
    with pytest.raises(BuildError, match="klp_func has no member new_func"):
        write_module(SPEC, replace(ABI, structs=structs))


NAMES = st.text("abcxyz_09", min_size=1, max_size=40).filter(
    lambda n: not n[0].isdigit()
)
FUNCTIONS = st.builds(
    FunctionSpec, NAMES, st.just(Place(".text", 5)), st.integers(0, 1000)
)
OBJECTS = st.builds(
    ObjectSpec,
    st.one_of(st.just(""), NAMES),
    st.lists(FUNCTIONS, min_size=1, max_size=6, unique_by=lambda f: f.name).map(tuple),
)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(OBJECTS, min_size=1, max_size=4, unique_by=lambda o: o.name).map(tuple),
    st.lists(
        st.builds(SystemState, st.integers(1, (1 << 64) - 1), st.integers(0, 9)),
        max_size=3,
    ).map(tuple),
    st.booleans(),
)
def test_any_set_of_functions_survives(
    objects: tuple[ObjectSpec, ...], states: tuple[SystemState, ...], whole: bool
) -> None:
    patch = read(replace(SPEC, objects=objects, states=states, replace=whole))
    assert patch.violations == ()
    assert (patch.states, patch.replace) == (states, whole)
    assert [(f.object, f.name, f.occurrence) for f in patch.functions] == [
        (each.name, function.name, function.occurrence)
        for each in objects
        for function in each.functions
    ]


def foreign(tmp_path: Path, name: str) -> Patch:
    """A module of another tool, as far as gcc alone can make it."""
    flags = ["-O1", "-fno-pic", "-mcmodel=kernel", "-w", "-fno-toplevel-reorder"]
    subprocess.run(
        ["gcc", *flags, "-c", FOREIGN / f"{name}.c", "-o", "m.ko"],
        cwd=tmp_path,
        check=True,
    )
    return load_patch(tmp_path / "m.ko")


KERNEL_FUNCTIONS = [
    ("", "cmdline_proc_show", 0, "new_cmdline"),
    ("", "show", 3, "new_show"),
]
MODULE_FUNCTION = ("ext4", "ext4_show", 0, "new_in_module")


def redirects(patch: Patch) -> list[tuple[str, str, int, str]]:
    return [(f.object, f.name, f.occurrence, f.new_symbol) for f in patch.functions]


def test_modules_of_the_kernels_build_are_read(tmp_path: Path) -> None:
    patch = foreign(tmp_path, "kbuild")
    assert (patch.format, patch.name, patch.replace) == ("linux", "sample", True)
    assert redirects(patch) == [*KERNEL_FUNCTIONS, MODULE_FUNCTION]
    assert patch.callbacks == (
        KlpCallback("", "pre_patch", "before"),
        KlpCallback("ext4", "post_unpatch", "after"),
    )
    assert patch.states == (SystemState(7, 2), SystemState(9, 1))
    assert patch.violations == ()
    assert all(function.new_size for function in patch.functions)


def test_modules_of_kpatch_build_are_read(tmp_path: Path) -> None:
    patch = foreign(tmp_path, "kpatch")
    assert redirects(patch) == [
        ("", "cmdline_proc_show", 1, "new_cmdline"),
        ("ext4", "ext4_show", 2, "new_in_module"),
    ]
    assert patch.callbacks == (KlpCallback("ext4", "pre_patch", "before"),)
    assert patch.replace
    assert patch.violations == ()


def test_modules_of_klp_build_are_read(tmp_path: Path) -> None:
    patch = foreign(tmp_path, "klp_build")
    assert redirects(patch) == [*KERNEL_FUNCTIONS, MODULE_FUNCTION]
    assert patch.callbacks == (KlpCallback("ext4", "pre_patch", "before"),)
    assert patch.violations == ()


def causes(raw: bytes) -> list[tuple[str, str]]:
    return [(v.cause, v.errno) for v in read_module(raw, "m").violations]


def broken(old: bytes, new: bytes) -> bytes:
    raw = write_module(SPEC, ABI)
    assert raw.count(old) >= 1
    assert len(old) == len(new)
    return raw.replace(old, new)


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"", ("not-elf", "ENOEXEC")),
        (b"\x7fELF" + bytes(60), ("section-headers-corrupt", "ENOEXEC")),
        (broken(b"livepatch=Y", b"livepotch=Y"), ("not-marked-livepatch", "EINVAL")),
        (broken(b"\0vermagic=", b"\0vormagic="), ("section-missing", "ENOEXEC")),
        (
            broken(b".gnu.linkonce.this_module", b".gnu.linkonce.that_module"),
            ("section-missing", "ENOEXEC"),
        ),
        (broken(b".klp.sym.vml", b".klp.sim.vml"), ("symbol-name-corrupt", "EINVAL")),
        (broken(b"nr_running,2", b"nr_running;2"), ("symbol-name-corrupt", "EINVAL")),
        (broken(b".klp.rela.vm", b".klp.rola.vm"), ("section-name-corrupt", "EINVAL")),
        (
            broken(b"\xe8" + bytes(4) + b"\xe8", b"\xe8\1\0\0\0\xe8"),
            ("relocation-target-nonzero", "ENOEXEC"),
        ),
    ],
)
def test_what_the_kernel_refuses_of_the_file_alone_is_named(
    raw: bytes, cause: tuple[str, str]
) -> None:
    assert cause in causes(raw)


def with_relocation(type_: int, offset: int) -> bytes:
    bad = RelocationSpec(offset, type_, Import("seq_puts"), 0)
    text = replace(TEXT, relocations=(bad,))
    return write_module(replace(SPEC, sections=(text, SPEC.sections[1])), ABI)


def test_relocations_that_the_kernel_cannot_apply_are_named() -> None:
    unknown = ("relocation-unsupported", "ENOEXEC")
    assert unknown in causes(with_relocation(R_X86_64_GOTPCREL, 1))
    outside = ("relocation-out-of-section", "")
    assert outside in causes(with_relocation(R_X86_64_64, 1000))
    full = with_relocation(R_X86_64_PC32, 4)
    assert ("relocation-target-nonzero", "ENOEXEC") in causes(full)


def test_ordinary_modules_and_payloads_are_told_apart() -> None:
    assert format_of(write_module(SPEC, ABI)) == "linux"
    assert format_of(ObjectWriter().finish()) == "xen"
    assert format_of(b"") == "xen"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_modules_are_patches_all_the_same(data: st.DataObject) -> None:
    raw = bytearray(write_module(SPEC, ABI))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 8))
        value = data.draw(st.sampled_from([0, 1, 255, 1 << 31, (1 << 64) - 1]))
        struct.pack_into("<Q", raw, at, value)
    patch = read_module(bytes(raw), "m")
    assert patch.format == "linux"
    assert patch.raw == raw
