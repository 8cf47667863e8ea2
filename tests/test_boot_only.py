"""What only runs while the machine boots is told from what runs afterwards."""

import subprocess
from pathlib import Path

import pytest

from lpengine.elf import open_image
from lpengine.elf.kernel import Entry, KernelImage
from lpengine.patch.linux import callers
from lpengine.patch.proof import LinkedFile, Proof, prove
from lpengine.patch.xen.callers import call_graph

BOOT = """\
#define INIT __attribute__((section(".init.text")))
void only_boot(void), deep(void), shared(void), handler(void), in_order(void);
void take(void (*f)(void));

static void INIT __attribute__((noinline)) early(void) { only_boot(); }
void INIT start(void) { early(); take(handler); shared(); }

/* As struct cpu_dev of Xen's. */
void init_vendor(void);
__attribute__((section(".init.rodata"))) void (*vendor_cpu_dev)(void) = init_vendor;
/* Copied by somebody: what it points to runs later. */
__attribute__((section(".init.data"))) void (*operations)(void) = in_order;
__attribute__((section(".initcall1.init"))) void (*call)(void) = only_boot;
"""
CODE = """\
#define KEEP __attribute__((noinline, noclone))
volatile int count;

KEEP void deep(void) { count++; }
KEEP void only_boot(void) { deep(); count--; }
KEEP void shared(void) { count += 2; }
KEEP void callback(void) { count += 3; }
void (*saved)(void);
KEEP void take(void (*f)(void)) { saved = f; }
KEEP void init_vendor(void) { take(callback); count += 4; }
KEEP void handler(void) { shared(); count += 5; }
KEEP void in_order(void) { count += 6; }

KEEP void bring_up(void) { count += 7; }
KEEP void only_resume(void) { count += 8; }
KEEP void start_secondary(void) { bring_up(); count += 9; }
KEEP void enter_state(void) { bring_up(); only_resume(); count += 10; }
void (*table[])(void) = { enter_state };

KEEP void nobody_calls_this(void) { count += 11; }
"""
BOOT_ONLY = {
    *("early", "start", "only_boot", "deep"),
    *("init_vendor", "start_secondary", "bring_up"),
}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has the objects and the image."""
    there = tmp_path_factory.mktemp("boot")
    flags = ["-O2", "-ffreestanding", "-fno-pic", "-mcmodel=kernel"]
    flags += ["-fno-asynchronous-unwind-tables", "-ffunction-sections"]
    for name, text in (("boot", BOOT), ("code", CODE)):
        (there / f"{name}.c").write_text(text)
        source, output = there / f"{name}.c", there / f"{name}.o"
        subprocess.run(["gcc", *flags, "-c", source, "-o", output], check=True)
    objects = [there / "boot.o", there / "code.o"]
    image = there / "image"
    subprocess.run(
        [
            *("ld", "-e", "start", "--no-warn-rwx-segments", "-o", image),
            *("-Ttext=0xffffffff81000000", *objects),
        ],
        check=True,
    )
    return there


@pytest.fixture(scope="module")
def proofs(there: Path) -> list[Proof]:
    objects = [there / "boot.o", there / "code.o"]
    image = there / "image"
    running = LinkedFile(open_image(image))
    return [prove(each.name, open_image(each), running) for each in objects]


def test_what_only_ran_at_boot(proofs: list[Proof]) -> None:
    names = {
        address: proof.object.symbols[index].name
        for proof in proofs
        for index, address in proof.functions.items()
    }
    assert set(names.values()) >= BOOT_ONLY
    found = call_graph(proofs).boot_only()
    assert {names[address] for address in found} - {"take"} == BOOT_ONLY


def test_what_boot_code_handed_out_runs_later(proofs: list[Proof]) -> None:
    graph = call_graph(proofs)
    symbols = [s for proof in proofs for s in proof.object.symbols]
    assert {"handler", "callback", "in_order"} <= {s.name for s in symbols}
    names = {
        proof.object.symbols[index].name: address
        for proof in proofs
        for index, address in proof.functions.items()
    }
    for name in ("handler", "callback", "in_order", "only_resume", "shared"):
        assert names[name] not in graph.boot_only(), name
    assert names["nobody_calls_this"] not in graph.boot_only()


@pytest.fixture(scope="module")
def kernel(there: Path) -> KernelImage:
    """The image, as a kernel that says the same of itself."""
    image = open_image(there / "image")
    kernel = KernelImage(image)
    calls = image.section(".initcall1.init")
    assert calls
    named = [Entry(s.name, s.value, "t") for s in image.symbols if s.in_section]
    table = [
        Entry("__initcall_start", calls.address, "d"),
        Entry("__initcall_end", calls.address + calls.size, "d"),
    ]
    symbols = sorted((*named, *table), key=lambda each: each.address)
    kernel.symbols = tuple(each for each in symbols if each.name)
    return kernel


def test_of_a_kernel_the_bytes_tell_it(kernel: KernelImage) -> None:
    found = callers.call_graph(kernel).boot_only()
    names = {entry.address: entry.name for entry in kernel.symbols}
    # Waking up is no exception here: whatever else calls what comes up counts.
    only = BOOT_ONLY - {"bring_up"}
    assert {names[address] for address in found} - {"take"} == only


def test_the_way_from_the_boot_is_told(kernel: KernelImage) -> None:
    found = callers.call_graph(kernel).boot_only()
    ways = [[kernel.nearest(step) for step in way] for way in found.values()]
    told = [[entry.name for entry in way if entry] for way in ways]
    assert ["early", "only_boot", "deep"] in [way[-3:] for way in told]
