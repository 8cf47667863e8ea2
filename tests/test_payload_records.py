"""The layout of records, against C and against payloads made by gcc and ld."""

import re
import shlex
import struct
import subprocess
from pathlib import Path

from lpengine.elf import parse_image
from lpengine.patch.model import HookKind
from lpengine.patch.xen import layout
from lpengine.patch.xen.reader import load_payload, read_payload
from lpengine.patch.xen.spec import FunctionSpec
from lpengine.patch.xen.writer import write_payload
from tests.payloads import RET, good_payload, good_spec

# The records as Xen's public documents describe them.
STRUCTS = """
#include <stddef.h>
#include <stdint.h>
struct func {
    const char *name; void *new_addr; void *old_addr;
    uint32_t new_size; uint32_t old_size; uint8_t version; uint8_t pad[39];
    struct { uint8_t enabled : 1, len : 5, rsv : 2; uint8_t data[31]; } expect;
};
struct alternative {
    int32_t orig, repl; uint16_t cpuid; uint8_t orig_len, repl_len, pad_len, priv;
} __attribute__((packed));
struct exception { int32_t addr, cont; };
"""

PAYLOAD = (
    STRUCTS
    + """
static int replacement(void) { return 7; }
extern int elsewhere(void);
static int second(void) { return elsewhere() + 1; }
static void loading(void) { }
struct func patched[2] __attribute__((section(".livepatch.funcs"), used)) = {
    { "arch/x86/time.c#read_tsc", replacement, 0, 6, 40, 2, {0},
      { 1, 3, 0, { 0x55, 0x48, 0x89 } } },
    { "second", second, (void *)0xffff82d040200000, 9, 60, 2 },
};
void (*const hook)(void) __attribute__((section(".livepatch.hooks.load"), used))
    = loading;
"""
)

NOTE = """
.section {section},"a",@progbits
.long 4, 20, 3
.asciz "GNU"
.rept 20
.byte {byte}
.endr
"""


def run(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        check=True,
        capture_output=True,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    assert isinstance(done.stdout, str)
    return done.stdout


def test_record_has_its_fields_where_the_format_says() -> None:
    spec = FunctionSpec(
        "f", 0x11223344, None, new_size=9, old_address=0x8877665544332211
    )
    raw = write_payload(good_spec(functions=(spec,), alternatives=(), exceptions=()))
    image = parse_image(raw)
    section = image.section(".livepatch.funcs")
    assert section is not None
    data = bytes(image.section_data(section))
    assert len(data) == 104
    assert struct.unpack_from("<QQQII", data) == (
        0,
        0,
        0x8877665544332211,
        9,
        0x11223344,
    )
    assert data[32] == 2
    assert data[33:] == bytes(71)


def test_expectation_bits() -> None:
    spec = FunctionSpec("f", 40, RET, expectation=b"\xde\xad\xbe")
    raw = write_payload(good_spec(functions=(spec,)))
    image = parse_image(raw)
    section = image.section(".livepatch.funcs")
    assert section is not None
    data = bytes(image.section_data(section))
    assert data[72] == 1 | 3 << 1
    assert data[73:76] == b"\xde\xad\xbe"


def test_layouts_are_those_of_a_c_compiler(tmp_path: Path) -> None:
    probes = {
        "func": ("name", "new_addr", "old_addr", "new_size", "old_size", "version"),
        "alternative": ("orig", "repl", "cpuid", "orig_len", "repl_len", "pad_len"),
        "exception": ("addr", "cont"),
    }
    lines = [
        f'  printf("%zu\\n", offsetof(struct {name}, {field}));'
        for name, fields in probes.items()
        for field in fields
    ]
    lines += [f'  printf("%zu\\n", sizeof(struct {name}));' for name in probes]
    lines.append('  printf("%zu\\n", offsetof(struct func, expect));')
    body = "\n".join(lines)
    (tmp_path / "probe.c").write_text(
        f"{STRUCTS}\n#include <stdio.h>\nint main(void) {{\n{body}\n}}\n"
    )
    run("gcc", "-o", tmp_path / "probe", tmp_path / "probe.c")
    numbers = [int(line) for line in run(tmp_path / "probe").split()]
    assert numbers == [
        *(layout.FUNCTION_NAME, layout.FUNCTION_NEW, layout.FUNCTION_OLD, 24, 28, 32),
        *(0, 4, 8, 10, 11, 12),
        *(0, 4),
        *(layout.FUNCTION.size, layout.ALTERNATIVE.size, layout.EXCEPTION.size),
        72,
    ]


def build_with_gcc(directory: Path) -> Path:
    """A payload without our writer: gcc, gas notes, ld -r --build-id."""
    (directory / "p.c").write_text(PAYLOAD)
    notes = NOTE.format(section=".livepatch.depends", byte="0xaa")
    notes += NOTE.format(section=".livepatch.xen_depends", byte="0xbb")
    notes += '.section .modinfo,"a",@progbits\n.asciz "title=by hand"\n'
    (directory / "n.s").write_text(notes)
    flags = shlex.split(
        "-c -O2 -fPIC -fvisibility=hidden -fno-stack-protector -fcf-protection=none "
        "-mno-red-zone -ffunction-sections -fdata-sections "
        "-fno-asynchronous-unwind-tables -fno-strict-aliasing -fno-common"
    )
    run("gcc", *flags, "-o", "p.o", "p.c", cwd=directory)
    run("gcc", "-c", "-o", "n.o", "n.s", cwd=directory)
    run(
        *("ld", "-r", "--build-id=sha1", "-o", "p.livepatch", "p.o", "n.o"),
        cwd=directory,
    )
    return directory / "p.livepatch"


def test_reads_what_gcc_and_ld_make(tmp_path: Path) -> None:
    path = build_with_gcc(tmp_path)
    patch = load_payload(path)
    assert patch.violations == ()
    assert (patch.depends, patch.image_build_id) == ("aa" * 20, "bb" * 20)
    shown = run("readelf", "-nW", path)
    (build_id,) = re.findall(r"Build ID: ([0-9a-f]+)", shown)
    assert patch.build_id == build_id
    first, second = patch.functions
    assert (first.name, first.wanted) == ("arch/x86/time.c#read_tsc",) * 2
    assert first.expectation.bytes == bytes.fromhex("554889")
    assert (second.wanted, second.old_address) == ("", 0xFFFF82D040200000)
    sections = {s.index: s for s in patch.sections}
    assert sections[first.new_section].executable
    (hook,) = patch.hooks
    assert (hook.kind, hook.symbol) == (HookKind.LOAD, "loading")
    assert patch.metadata == (("title", "by hand"),)
    assert patch.undefined == ("elsewhere",)
    assert "replacement" not in {s.name for s in patch.new_symbols}
    assert {"loading", "patched", "hook"} <= {s.name for s in patch.new_symbols}


def test_expectations_of_the_writer_are_what_gcc_makes(tmp_path: Path) -> None:
    path = build_with_gcc(tmp_path)
    theirs = load_payload(path).functions[0].expectation
    spec = FunctionSpec("f", 40, RET, expectation=bytes.fromhex("554889"))
    ours = read_payload(write_payload(good_spec(functions=(spec,))), "x").functions[0]
    assert ours.expectation == theirs


def test_sections_are_those_that_readelf_calls_loaded(tmp_path: Path) -> None:
    path = tmp_path / "p.livepatch"
    path.write_bytes(good_payload())
    rows = re.findall(
        r"\[ *\d+\] (\S+) +\S+ +\S+ \S+ (\S+) \S+ +(\S+) ", run("readelf", "-SW", path)
    )
    loaded = [(name, int(size, 16)) for name, size, flags in rows if "A" in flags]
    patch = load_payload(path)
    assert [(s.name, s.size) for s in patch.sections] == loaded
