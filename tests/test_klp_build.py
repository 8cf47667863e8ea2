"""Live patch modules built for Debian's kernel from its vmlinuz alone."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

import lpengine
from lpengine.elf import Image, parse_image
from lpengine.elf.constants import R_X86_64_PC32, SHN_LIVEPATCH
from lpengine.elf.kernel import KernelImage, open_kernel
from lpengine.errors import BuildError, InputError, LpengineError, UsageError
from lpengine.patch.built import Built
from lpengine.patch.linux.build import build_asm, build_c
from lpengine.patch.linux.module_file import ModuleFile, open_module
from lpengine.patch.linux.reader import read_module
from lpengine.patch.model import KlpSymbol, Patch

pytestmark = pytest.mark.system

SOURCES = Path(__file__).parent.parent / "fixtures/klp"
LOADAVG = {"loadavg_proc_show": "", "uptime_proc_show": ""}


@pytest.fixture(scope="module")
def kernel(linux_image) -> KernelImage:
    return open_kernel(linux_image.kernel)


@pytest.fixture(scope="module")
def af_key(linux_image) -> ModuleFile:
    (path,) = linux_image.modules.rglob("af_key.ko")
    return open_module(path)


def read(built: Built) -> Patch:
    return read_module(built.payload, "m")


def source(tmp_path: Path, text: str) -> Path:
    (tmp_path / "a.c").write_text(text)
    return tmp_path / "a.c"


def test_a_function_of_the_kernel_is_replaced(kernel: KernelImage) -> None:
    built = build_c(SOURCES / "cmdline.c", {"cmdline_proc_show": ""}, kernel)
    patch = read(built)
    assert patch.violations == ()
    assert (patch.name, patch.build_id) == ("cmdline", built.build_id)
    assert patch.vermagic == kernel.vermagic
    assert patch.target_ids == (("vmlinux", kernel.build_id),)
    (function,) = patch.functions
    assert (function.name, function.object) == ("cmdline_proc_show", "")
    assert function.new_size > 20
    assert built.functions == ("cmdline_proc_show",)


def test_what_is_exported_has_its_crc(kernel: KernelImage) -> None:
    patch = read(build_c(SOURCES / "loadavg.c", LOADAVG, kernel))
    assert patch.undefined
    crcs = {each.name: each.crc for each in patch.versions}
    assert set(crcs) == {"module_layout", *patch.undefined}
    assert crcs == {name: kernel.exports[name].crc for name in crcs}


def test_each_other_symbol_is_looked_up_once(kernel: KernelImage) -> None:
    """Though the source uses each of them more than once."""
    patch = read(build_c(SOURCES / "loadavg.c", LOADAVG, kernel))
    uses = Counter(each.symbol for each in patch.klp_relocations)
    names = ["get_avenrun", "nr_running", "nr_threads", "total_forks"]
    assert uses == {KlpSymbol("vmlinux", name, 0): 1 for name in names}


def test_callbacks_states_and_metadata_come_from_the_source(
    kernel: KernelImage,
) -> None:
    built = build_c(SOURCES / "loadavg.c", LOADAVG, kernel, atomic_replace=True)
    patch = read(built)
    kinds = {each.kind: each.symbol for each in patch.callbacks}
    assert kinds == {"pre_patch": "announce", "post_unpatch": "withdrawn"}
    assert [(each.id, each.version) for each in patch.states] == [(77, 1)]
    assert ("description", "two functions with callbacks") in patch.metadata
    assert patch.replace


def pointed(image: Image, name: str) -> list[tuple[str, int]]:
    """Where the 32-bit distances of a section lead."""
    section = image.section(name)
    assert section is not None
    places = []
    for each in image.relocations(section):
        assert each.type == R_X86_64_PC32
        symbol = image.symbols[each.symbol_index]
        place = image.sections[symbol.section_index].name
        places.append((place, symbol.value + each.addend))
    return places


def test_all_code_can_be_unwound_and_all_thunk_users_are_listed(
    kernel: KernelImage,
) -> None:
    image = parse_image(build_c(SOURCES / "loadavg.c", LOADAVG, kernel).payload)
    ends: dict[str, int] = {}
    starts = set()
    for name, at in pointed(image, ".orc_unwind_ip"):
        ends[name] = max(at, ends.get(name, 0))
        if at == 0:
            starts.add(name)
    code = {s.name: s.size for s in image.sections if s.executable}
    assert ends == code
    assert starts == set(code)
    for name, at in pointed(image, ".return_sites"):
        section = image.section(name)
        assert section is not None
        assert image.section_data(section)[at] == 0xE9


def test_the_same_source_gives_the_same_module_wherever_it_lies(
    kernel: KernelImage, tmp_path: Path
) -> None:
    shutil.copy(SOURCES / "loadavg.c", tmp_path)
    built = [
        build_c(path / "loadavg.c", LOADAVG, kernel) for path in (SOURCES, tmp_path)
    ]
    assert built[0] == built[1]


def test_code_in_a_module_is_replaced(kernel: KernelImage, af_key: ModuleFile) -> None:
    built = build_c(
        SOURCES / "pfkey.c", {"pfkey_seq_show": ""}, kernel, module=af_key, name="p"
    )
    patch = read(built)
    assert patch.violations == ()
    assert patch.objects == ("af_key",)
    assert patch.target_ids == (
        ("vmlinux", kernel.build_id),
        ("af_key", af_key.build_id),
    )
    for each in patch.klp_relocations:
        assert each.symbol is not None
        assert each.symbol.object == each.object
    assert {each.name: each.object for each in patch.klp_symbols} == {
        "pfkey_net_id": "af_key",
        "pfkey_seq_stop": "af_key",
        "nr_running": "vmlinux",
    }


@pytest.mark.parametrize(
    ("old", "code", "says"),
    [
        ("start_kernel", "LP-SHP-172", "freed once the kernel has booted"),
        ("do_syscall_64", "LP-SHP-172", "ftrace cannot redirect it"),
        ("jiffies_64", "LP-SHP-172", "no function"),
        ("cmdline_proc_shwo", "LP-SYM-151", "there is cmdline_proc_show"),
        ("c_start,4096", "LP-SYM-151", "there are"),
        ("kernel/x.c#c_start", "LP-SYM-152", "by position: c_start,1 between"),
        ("c_start", "LP-SYM-152", "symbols of that name"),
    ],
)
def test_what_cannot_be_patched_is_refused(
    kernel: KernelImage, tmp_path: Path, old: str, code: str, says: str
) -> None:
    text = source(tmp_path, "int f(void) { return 1; }")
    with pytest.raises(BuildError) as refused:
        build_c(text, {old: "f"}, kernel)
    assert says in f"{refused.value} {refused.value.hint}"
    if "#" not in old:
        assert refused.value.codes == (code,)


def test_one_of_several_functions_is_chosen_by_position(
    kernel: KernelImage, tmp_path: Path
) -> None:
    text = source(tmp_path, "int c_start(void) { return 1; }")
    count = len(kernel.named("c_start"))
    assert count > 1
    (function,) = read(build_c(text, {f"c_start,{count}": ""}, kernel)).functions
    assert (function.name, function.occurrence) == ("c_start", count)


def test_one_of_several_symbols_is_chosen_by_position(
    kernel: KernelImage, tmp_path: Path
) -> None:
    plain = "int c_start(void) %s; int f(void) { return c_start(); }"
    with pytest.raises(BuildError, match="symbols of that name"):
        build_c(source(tmp_path, plain % ""), {"cmdline_proc_show": "f"}, kernel)
    chosen = source(tmp_path, plain % "KLP_SYMBOL(vmlinux, c_start, 2)")
    patch = read(build_c(chosen, {"cmdline_proc_show": "f"}, kernel))
    assert patch.klp_symbols == (KlpSymbol("vmlinux", "c_start", 2),)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("int absent(void); int f(void) { return absent(); }", "LP-SYM-151", "absent"),
        (
            "extern char boot_command_line; int f(void) { return boot_command_line; }",
            "LP-SYM-155",
            "freed",
        ),
        ("__thread int x; int f(void) { return x; }", "LP-DAT-302", "each CPU"),
        (
            '__attribute__((section(".init.text"))) int f(void) { return 1; }',
            "LP-SHP-174",
            "freed once the module is loaded",
        ),
        ("int g(void) { return 1; }", "LP-SYM-151", "defines no function 'f'"),
    ],
)
def test_code_that_no_module_can_hold_is_refused(
    kernel: KernelImage, tmp_path: Path, text: str, code: str, says: str
) -> None:
    with pytest.raises(BuildError) as refused:
        build_c(source(tmp_path, text), {"cmdline_proc_show": "f"}, kernel)
    assert refused.value.codes == (code,)
    assert says in str(refused.value)


def test_pointers_to_a_replaced_function_stay_with_the_old_one(
    kernel: KernelImage, tmp_path: Path
) -> None:
    """They are still good when the patch is gone; a call of itself is not redirected
    twice."""
    text = source(
        tmp_path,
        "extern void *seq_open; void *kept;"
        "int cmdline_proc_show(int n)"
        "{ kept = cmdline_proc_show; return n ? cmdline_proc_show(n - 1) : 1; }",
    )
    patch = read(build_c(text, {"cmdline_proc_show": ""}, kernel))
    assert patch.klp_symbols == (KlpSymbol("vmlinux", "cmdline_proc_show", 0),)


def test_emergency_stops_are_assembled(kernel: KernelImage) -> None:
    built = build_asm("cmdline_proc_show", "mov eax, -38; ret", kernel, name="stop")
    image = parse_image(built.payload)
    section = image.section(".text")
    assert section is not None
    code = image.section_data(section)
    assert code == bytes.fromhex("b8daffffff e900000000")
    assert (".text", 5) in pointed(image, ".return_sites")
    assert read(built).violations == ()


def test_assembled_code_may_use_the_kernel_and_the_stack(kernel: KernelImage) -> None:
    code = """
        push rbx
        mov rbx, rdi
        lea rsi, [rip + linux_banner]
        call seq_puts
        test rbx, rbx
        je out
        call nr_running
    out:
        pop rbx
        ret
    """
    image = parse_image(build_asm("version_proc_show", code, kernel).payload)
    depths = [at for name, at in pointed(image, ".orc_unwind_ip") if name == ".text"]
    assert depths[:3] == [0, 1, depths[2]]
    names = {s.name for s in image.symbols if s.section_index == SHN_LIVEPATCH}
    assert names == {".klp.sym.vmlinux.linux_banner,0", ".klp.sym.vmlinux.nr_running,0"}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("nop", "runs off its end"),
        ("push rbx; ret", "leaves 8 bytes on the stack"),
        ("mov rsp, rax; ret", "changes rsp or rbp"),
        ("pop rbp; jmp rax", "changes rsp or rbp"),
        ("test eax, eax; je out; push rbx; out: pop rbx; ret", "two stacks"),
        ("call 0x1000; ret", "0x1000"),
        ("no such instruction", "no such"),
    ],
)
def test_code_that_cannot_be_unwound_is_refused(
    kernel: KernelImage, code: str, says: str
) -> None:
    with pytest.raises(LpengineError, match=says):
        build_asm("cmdline_proc_show", code, kernel)


def test_modules_of_another_kernel_and_other_files_are_refused(
    kernel: KernelImage, af_key: ModuleFile, tmp_path: Path
) -> None:
    text = source(tmp_path, "int f(void) { return 1; }")
    raw = Path(af_key.path).read_bytes().replace(b"vermagic=6.1", b"vermagic=5.1")
    (tmp_path / "af_key.ko").write_bytes(raw)
    with pytest.raises(BuildError, match=r"is for '5\.1"):
        build_c(
            text,
            {"pfkey_seq_show": "f"},
            kernel,
            module=open_module(tmp_path / "af_key.ko"),
        )
    with pytest.raises(BuildError, match="0 symbols of that name"):
        build_c(text, {"cmdline_proc_show": "f"}, kernel, module=af_key)
    with pytest.raises(InputError, match="no kernel module"):
        open_module("/bin/sh")
    with pytest.raises(UsageError, match="cannot be a module's name"):
        build_c(text, {"cmdline_proc_show": "f"}, kernel, name="a.b")


def test_the_image_tells_what_is_built(linux_image, hv_image, tmp_path: Path) -> None:
    text = source(tmp_path, "int f(void) { return 1; }")
    built = lpengine.build_c(
        text, {"cmdline_proc_show": "f"}, linux_image.kernel, name="told"
    )
    (tmp_path / "m.ko").write_bytes(built.payload)
    patch = lpengine.inspect(tmp_path / "m.ko").patch
    assert (patch.format, patch.name) == ("linux", "told")
    with pytest.raises(UsageError, match="only Linux"):
        lpengine.build_c(text, {"add": "f"}, hv_image, atomic_replace=True)
    with pytest.raises(UsageError, match="do not name what lies below"):
        lpengine.build_asm(
            "show", "ret", linux_image.kernel, depends=hv_payload(hv_image, tmp_path)
        )


def hv_payload(hv_image: Path, tmp_path: Path) -> Path:
    sources = SOURCES.parent / "patches"
    built = lpengine.build_c(
        sources / "extra_version.c", {"xen_extra_version": ""}, hv_image
    )
    (tmp_path / "x.livepatch").write_bytes(built.payload)
    return tmp_path / "x.livepatch"
