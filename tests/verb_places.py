"""Where the contract of the verbs is tried, and how patches are made there."""

from collections.abc import Callable
from dataclasses import dataclass
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
OTHER = "ab" * 20

Output = Callable[[], str]


@dataclass(frozen=True)
class Maker:
    """Makes modules from C. `compile(source, function, below, cumulative)` gives a
    module's bytes; in these `known` names the build that it is for."""

    directory: Path
    functions: tuple[str, str]
    source: str
    suffix: str
    known: bytes
    other: bytes
    compile: Callable[[Path, str, Path | None, bool], bytes]

    def __call__(
        self,
        name: str,
        says: str,
        function: int = 0,
        *,
        below: Path | None = None,
        cumulative: bool = False,
        other_build: bool = False,
    ) -> Path:
        source = self.directory / f"{name}.c"
        source.write_text(self.source % (self.functions[function], says))
        made = self.compile(source, self.functions[function], below, cumulative)
        if other_build:
            made = made.replace(self.known, self.other)
        module = source.with_suffix(self.suffix)
        module.write_bytes(made)
        return module


def payloads(image: Path, directory: Path, functions: tuple[str, str]) -> Maker:
    """For Xen, and for images like it."""

    def compile(source: Path, function: str, below: Path | None, _: bool) -> bytes:
        return lpengine.build_c(
            source, {function: function}, image, depends=below
        ).payload

    known, other = bytes.fromhex(open_image(image).build_id), bytes.fromhex(OTHER)
    return Maker(directory, functions, SAYING, ".livepatch", known, other, compile)


def modules(kernel: KernelImage, directory: Path, functions: tuple[str, str]) -> Maker:
    def compile(source: Path, function: str, _: Path | None, whole: bool) -> bytes:
        replaced, name = {function: ""}, source.stem
        built = build_c(source, replaced, kernel, name=name, atomic_replace=whole)
        return built.payload

    known = kernel.build_id.encode()
    return Maker(directory, functions, SHOWING, ".ko", known, OTHER.encode(), compile)


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
    files = ("version/extra", "compilation/compiler")

    def says(function: int) -> str:
        return guest.read(f"/sys/hypervisor/{files[function]}").decode().strip()

    build = payloads(symbols, directory, ("xen_extra_version", "xen_compiler"))
    return Place("xen", guest.name, STACK, build, says, output)


def linux(guest: Guest, kernel: KernelImage, directory: Path, output: Output) -> Place:
    files = ("cmdline", "version")

    def says(function: int) -> str:
        return guest.read(f"/proc/{files[function]}").decode().strip()

    build = modules(kernel, directory, ("cmdline_proc_show", "version_proc_show"))
    return Place("linux", guest.name, HEAP, build, says, output)
