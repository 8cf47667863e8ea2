"""Boot images unpacked, and the tables of a kernel, against gcc and readelf."""

import bz2
import gzip
import lzma
import re
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import lz4.block
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.elf import ObjectWriter, open_image
from lpengine.elf.btf import Btf
from lpengine.elf.eh_frame import orc_of_object
from lpengine.elf.kernel import is_kernel, open_kernel, unpack, unpack_kernel
from lpengine.elf.kernel.kallsyms import decode_kallsyms
from lpengine.elf.kernel.unpack import unpack_module
from lpengine.elf.orc import BP, NOTHING, SP, OrcEntry, OrcFormat
from lpengine.errors import ElfError, InputError, LpengineError, NotFoundError

KERNEL = ObjectWriter().finish() + bytes(range(256)) * 64


def lz4_legacy(data: bytes) -> bytes:
    packed = lz4.block.compress(data, store_size=False)
    return b"\x02\x21\x4c\x18" + struct.pack("<I", len(packed)) + packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zstd": zstandard.compress,
    "lz4": lz4_legacy,
}


def boot_image(payload: bytes) -> bytes:
    """A bzImage of two setup sectors with that payload."""
    header = bytearray(3 * 512)
    header[0x1F1] = 2
    header[0x202:0x208] = b"HdrS" + struct.pack("<H", 0x20F)
    struct.pack_into("<II", header, 0x248, 16, len(payload))
    return bytes(header) + bytes(16) + payload + bytes(64)


def packed(name: str, data: bytes = KERNEL) -> bytes:
    if name == "gzip":  # whose own trailer is the size
        return gzip.compress(data)
    return PACKERS[name](data) + struct.pack("<I", len(data))


@pytest.mark.parametrize("name", ["gzip", *PACKERS])
def test_each_packing_gives_the_kernel_back(name: str) -> None:
    assert unpack_kernel(boot_image(packed(name))) == KERNEL


MODULE_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    **{"gz": gzip.compress, "xz": lzma.compress, "zst": zstandard.compress},
    "": bytes,
}


@pytest.mark.parametrize("name", MODULE_PACKERS)
def test_each_packing_gives_the_module_back(name: str) -> None:
    assert unpack_module(MODULE_PACKERS[name](KERNEL), "m.ko") == KERNEL


@pytest.mark.parametrize("name", ["gz", "xz", "zst"])
def test_a_module_without_an_end_is_cut_off(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "LARGEST_MODULE", 1 << 20)
    bomb = MODULE_PACKERS[name](bytes(32 << 20))
    with pytest.raises(InputError, match="more than 1 MiB"):
        unpack_module(bomb, "m.ko")


def test_an_unpacked_kernel_is_left_alone() -> None:
    assert unpack_kernel(KERNEL) is KERNEL


@pytest.mark.parametrize("name", ["gzip", *PACKERS])
def test_damage_is_one_clear_error(name: str) -> None:
    payload = packed(name)
    torn = payload[: len(payload) // 2] + payload[-4:]
    with pytest.raises(InputError, match="damaged"):
        unpack_kernel(boot_image(torn), "vmlinuz")


@pytest.mark.parametrize("name", ["gzip", *PACKERS])
def test_a_bomb_is_cut_off_at_what_it_claims(name: str) -> None:
    bomb = packed(name, KERNEL + bytes(32 << 20))
    small = bomb[:-4] + struct.pack("<I", len(KERNEL))
    if name == "lz4":  # a whole block at a time, or nothing
        with pytest.raises(InputError, match="damaged"):
            unpack_kernel(boot_image(small))
    else:
        assert unpack_kernel(boot_image(small)) == KERNEL


def test_a_bomb_that_admits_it_is_refused() -> None:
    payload = PACKERS["xz"](KERNEL) + struct.pack("<I", 3 << 30)
    with pytest.raises(InputError, match="claims to hold a kernel of 3221225472"):
        unpack_kernel(boot_image(payload))


def test_unknown_packings_and_other_files_are_refused() -> None:
    with pytest.raises(InputError, match="packed in an unknown way"):
        unpack_kernel(boot_image(b"\x89LZO" + bytes(32)))
    with pytest.raises(ElfError, match="neither an ELF file nor"):
        unpack_kernel(b"MZ" + bytes(4096))
    with pytest.raises(ElfError, match="ends behind the file"):
        unpack_kernel(boot_image(packed("gzip"))[:2000])


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000))
def test_random_payloads_raise_our_errors_only(noise: bytes, at: int) -> None:
    image = bytearray(boot_image(packed("zstd")))
    image[at : at + len(noise)] = noise
    with suppress(LpengineError):
        unpack_kernel(bytes(image))


def test_other_files_are_no_kernels(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(boot_image(packed("lz4")))
    assert is_kernel(tmp_path / "vmlinuz")
    assert not is_kernel("/bin/sh")
    assert not is_kernel(__file__)
    with pytest.raises(NotFoundError):
        is_kernel(tmp_path / "absent")
    with pytest.raises(InputError, match="not a regular file"):
        is_kernel(tmp_path)


def compiled(tmp_path: Path, source: str, *flags: str) -> Path:
    (tmp_path / "a.c").write_text(source)
    subprocess.run(
        ["gcc", "-O2", *flags, "-c", "a.c", "-o", "a.o"], cwd=tmp_path, check=True
    )
    return tmp_path / "a.o"


STRUCTS = """
struct inner { char a; long b; };
struct outer {
    int x; char name[56]; struct inner in; void (*init)(void);
    union { long u; struct { int low; int high; }; };
    unsigned f : 3, g : 5; short last;
};
struct outer value; struct inner other;
"""


def test_struct_layouts_are_those_of_the_compiler(tmp_path: Path) -> None:
    image = open_image(compiled(tmp_path, STRUCTS, "-gbtf"))
    section = image.section(".BTF")
    assert section is not None
    btf = Btf(image.section_data(section))
    outer = btf.struct("outer")
    assert outer.size == 104
    wanted = {"x": 0, "name": 4, "in": 64, "init": 80, "u": 88, "low": 88, "high": 92}
    assert outer.members.items() >= wanted.items()
    assert (outer.bits["f"], outer.bits["g"]) == (3, 5)
    assert btf.struct("inner").members == {"a": 0, "b": 8}
    with pytest.raises(NotFoundError):
        btf.struct("absent")


@settings(deadline=None)
@given(st.data())
def test_damaged_layouts_raise_our_errors_only(data: st.DataObject) -> None:
    raw = bytearray(BTF_SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    size = data.draw(st.integers(0, len(raw)))
    with suppress(LpengineError):
        Btf(bytes(raw[:size])).struct("s")


def _btf_sample() -> bytes:
    """struct s { int a; struct { int b; }; } in BTF."""
    strings = b"\0s\0a\0b\0int\0"
    types = struct.pack("<IIII", 7, 1 << 24, 4, 0)
    types += struct.pack("<III", 0, 4 << 24 | 1, 4) + struct.pack("<III", 5, 1, 0)
    types += struct.pack("<III", 1, 4 << 24 | 2, 8)
    types += struct.pack("<III", 3, 1, 0) + struct.pack("<III", 0, 2, 32)
    sizes = struct.pack("<IIII", 0, len(types), len(types), len(strings))
    return struct.pack("<HBBI", 0xEB9F, 1, 0, 24) + sizes + types + strings


BTF_SAMPLE = _btf_sample()


def test_nameless_members_count_from_the_outer_struct() -> None:
    assert Btf(BTF_SAMPLE).struct("s").members == {"a": 0, "b": 4}


FRAMES = """
int g(int *); void h(void);
int leaf(int a) { return a + 1; }
int frame(int a) { int b[9]; b[0] = a; g(b); return b[3]; }
int saves(int a, int b) { h(); h(); return a * b; }
"""


def test_unwind_entries_are_those_readelf_interprets(tmp_path: Path) -> None:
    path = compiled(tmp_path, FRAMES, "-fasynchronous-unwind-tables", "-fno-pic")
    image = open_image(path)
    entries = [
        (each.offset, each.entry)
        for each in orc_of_object(image)
        if each.entry is not NOTHING
    ]
    shown = subprocess.run(
        ["readelf", "--debug-dump=frames-interp", path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = re.findall(r"^([0-9a-f]{16}) (rsp|rbp)\+(\d+)", shown, re.MULTILINE)
    wanted = [
        (int(at, 16), {"rsp": SP, "rbp": BP}[register], int(offset))
        for at, register, offset in rows
    ]
    # Unrelocated, readelf shows each function at 0 plus its own offset.
    assert [(e.sp, e.sp_offset) for _, e in entries] == [w[1:] for w in wanted]
    assert len(entries) > 8


def test_frames_that_the_kernel_cannot_walk_are_refused(tmp_path: Path) -> None:
    source = (
        "void g(void *); void f(int n)"
        "{ _Alignas(64) char b[64]; g(b); g(__builtin_alloca(n)); }"
    )
    image = open_image(compiled(tmp_path, source, "-fasynchronous-unwind-tables"))
    with pytest.raises(InputError, match="cannot unwind"):
        orc_of_object(image)


@given(
    st.sampled_from([SP, BP]),
    st.integers(-(1 << 15), (1 << 15) - 1),
    st.integers(0, 9),
    st.integers(-(1 << 15), (1 << 15) - 1),
    st.sampled_from([0, 2]),
)
def test_unwind_entries_survive_packing(
    sp: int, sp_offset: int, bp: int, bp_offset: int, call: int
) -> None:
    entry = OrcEntry(sp, sp_offset, bp, bp_offset)
    assert OrcFormat(call).unpack(OrcFormat(call).pack(entry)) == entry


def test_random_data_holds_no_symbols() -> None:
    with pytest.raises(InputError, match="no symbol table that can be read"):
        decode_kallsyms(bytes(range(256)) * 4096, "_stext", (0, 1 << 64))


def tokens() -> list[bytes]:
    """Each byte stands for itself, but for a few that stand for more."""
    texts = [bytes((each,)) if each else b"~" for each in range(256)]
    texts[1], texts[2] = b"T_", b"sys_"
    return texts


def encoded(name: bytes) -> bytes:
    packed_name = name.replace(b"T_", b"\x01").replace(b"sys_", b"\x02")
    size = len(packed_name)
    head = bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))
    return head + packed_name


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def kallsyms(names: list[bytes], addresses: list[int], layout: str) -> bytes:
    """The tables as scripts/kallsyms.c of each time writes them."""
    texts = tokens()
    table = b"".join(each + b"\0" for each in texts)
    index = struct.pack(
        "<256H", *(sum(len(t) + 1 for t in texts[:n]) for n in range(256))
    )
    stream, markers = b"", []
    for number, name in enumerate(names):
        if number % 256 == 0:
            markers.append(len(stream))
        stream += encoded(name)
    base = min(each for each in addresses if each >> 63)
    if layout == "percpu":
        offsets = [a if not a >> 63 else base - 1 - a for a in addresses]
    else:
        offsets = [a - base if a >> 63 else 0 for a in addresses]
    relative = struct.pack(
        f"<{len(offsets)}{'i' if layout == 'percpu' else 'I'}", *offsets
    )
    places = padded(relative) + struct.pack("<Q", base)
    if layout == "absolute":
        places = struct.pack(f"<{len(addresses)}Q", *addresses)
    counted = struct.pack("<Q", len(names)) + padded(stream)
    counted += padded(struct.pack(f"<{len(markers)}I", *markers))
    packed_tokens = padded(table) + index
    if layout == "late":
        return bytes(64) + counted + packed_tokens + places + bytes(64)
    # kallsyms_seqs_of_names, which may end in anything.
    extra = b"\x01\x2b\x31" * 8 * len(names) if layout == "percpu" else b""
    return bytes(64) + places + counted + extra + packed_tokens + bytes(64)


@pytest.mark.parametrize("layout", ["percpu", "relative", "late", "absolute"])
def test_symbol_tables_of_each_layout_are_decoded(layout: str) -> None:
    code = 0xFFFFFFFF81000000
    names = [b"T_stext", *(b"Tsys_%d" % n for n in range(700)), b"t" + b"x" * 300]
    addresses = [code + 16 * n for n in range(len(names))]
    if layout == "percpu":
        names, addresses = [b"Afixed", *names], [0x40, *addresses]
    data = kallsyms(names, addresses, layout)
    found = decode_kallsyms(data, "_stext", (code, code + 0x10000))
    assert [(e.type + e.name).encode() for e in found] == names
    assert [e.address for e in found] == addresses


@pytest.mark.system
def test_debians_kernel_agrees_with_itself(linux_image) -> None:
    """Exports and symbols are kept in tables of their own; so are ftrace sites and
    unwind entries."""
    kernel = open_kernel(linux_image.kernel)
    assert kernel.release == linux_image.release
    assert kernel.vermagic.startswith(f"{kernel.release} SMP preempt mod_unload")
    assert len(kernel.exports) > 9000
    for name, export in kernel.exports.items():
        assert export.address in [each.address for each in kernel.named(name)]
    addresses = [entry.address for entry in kernel.symbols]
    assert addresses == sorted(addresses)
    # Every call to __fentry__ is five bytes before an entry that is still a leaf's.
    for site in kernel.ftrace_sites[:: len(kernel.ftrace_sites) // 500]:
        assert kernel.orc.at(site) == OrcEntry(SP, 8)
        assert kernel.code(site, 1) in (b"\xe8", b"\x0f")


@pytest.mark.system
def test_shipped_modules_agree_with_debians_kernel(linux_image) -> None:
    """CRCs that modules were built with, and the size of struct module."""
    kernel = open_kernel(linux_image.kernel)
    size = kernel.btf.struct("module").size
    seen = 0
    for path in sorted(linux_image.modules.rglob("*.ko"))[::40]:
        image = open_image(path)
        this_module = image.section(".gnu.linkonce.this_module")
        assert this_module is not None
        assert this_module.size == size
        versions = image.section("__versions")
        data = image.section_data(versions) if versions else b""
        for at in range(0, len(data), 64):
            name = data[at + 8 : at + 64].partition(b"\0")[0].decode()
            if name in kernel.exports:
                seen += 1
                assert kernel.exports[name].crc == struct.unpack_from("<Q", data, at)[0]
    assert seen > 500
