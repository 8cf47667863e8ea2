"""Where the contract of the verbs is tried, and how patches are made there."""

from collections.abc import Callable
from pathlib import Path

import lpengine
from lpengine.elf import open_image
from lpengine.elf.kernel import KernelImage
from lpengine.hosts.lab import Guest
from lpengine.patch.linux.build import build_c
from tests.verb_contract import Place, Traits

STACK = Traits(ordered=True, stacking=True)
HEAP = Traits(ordered=False, stacking=False)
SAYING = 'const char *%s(void)\n{\n\treturn "%s";\n}\n'
SHOWING = """\
struct seq_file;
void seq_printf(struct seq_file *m, const char *format, ...);

int %s(struct seq_file *m, void *v)
{
	seq_printf(m, "%s\\n");
	return 0;
}
"""
OTHER_BUILD = "ab" * 20

Output = Callable[[], str]


def payloads(
    image: Path, directory: Path, functions: tuple[str, str]
) -> Callable[..., Path]:
    """Payloads for Xen and for images like it."""

    def build(
        name: str,
        says: str,
        function: int = 0,
        *,
        below: Path | None = None,
        cumulative: bool = False,
        other_build: bool = False,
    ) -> Path:
        source = directory / f"{name}.c"
        source.write_text(SAYING % (functions[function], says))
        replaced = {functions[function]: functions[function]}
        built = lpengine.build_c(source, replaced, image, depends=below)
        payload = built.payload
        if other_build:
            known = bytes.fromhex(open_image(image).build_id)
            payload = payload.replace(known, bytes.fromhex(OTHER_BUILD))
        module = directory / f"{name}.livepatch"
        module.write_bytes(payload)
        return module

    return build


def modules(
    kernel: KernelImage, directory: Path, functions: tuple[str, str]
) -> Callable[..., Path]:
    """Modules for Linux."""

    def build(
        name: str,
        says: str,
        function: int = 0,
        *,
        below: Path | None = None,
        cumulative: bool = False,
        other_build: bool = False,
    ) -> Path:
        source = directory / f"{name}.c"
        source.write_text(SHOWING % (functions[function], says))
        replaced = {functions[function]: ""}
        built = build_c(source, replaced, kernel, name=name, atomic_replace=cumulative)
        payload = built.payload
        if other_build:
            payload = payload.replace(kernel.build_id.encode(), OTHER_BUILD.encode())
        module = directory / f"{name}.ko"
        module.write_bytes(payload)
        return module

    return build


def emulated(
    directory: Path, image: Path, output: Output, host: str = "local"
) -> Place:
    machine = directory / "machine"
    lpengine.create_machine(machine, image)
    functions = ("xen_extra_version", "xen_banner")

    def says(function: int) -> str:
        return str(lpengine.call(machine, functions[function], returns="string").value)

    build = payloads(image, directory, functions)
    return Place(f"emulated:{machine}", host, STACK, build, says, output)


def xen(guest: Guest, symbols: Path, directory: Path, output: Output) -> Place:
    files = ("version/extra", "compilation/compiled_by")

    def says(function: int) -> str:
        return guest.read(f"/sys/hypervisor/{files[function]}").decode().strip()

    build = payloads(symbols, directory, ("xen_extra_version", "xen_compile_by"))
    return Place("xen", guest.name, STACK, build, says, output)


def linux(guest: Guest, kernel: KernelImage, directory: Path, output: Output) -> Place:
    files = ("cmdline", "version")

    def says(function: int) -> str:
        return guest.read(f"/proc/{files[function]}").decode().strip()

    build = modules(kernel, directory, ("cmdline_proc_show", "version_proc_show"))
    return Place("linux", guest.name, HEAP, build, says, output)
