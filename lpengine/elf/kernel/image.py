"""A Linux kernel as a value, from its boot image or its vmlinux."""

import re
import stat
import struct
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from lpengine.elf.btf import Btf
from lpengine.elf.constants import ET_DYN, ET_EXEC
from lpengine.elf.headers import Section
from lpengine.elf.image import Image, open_image, parse_image
from lpengine.elf.kernel.exports import Export, read_exports
from lpengine.elf.kernel.kallsyms import Entry, decode_kallsyms
from lpengine.elf.kernel.unpack import is_boot_image, unpack_kernel
from lpengine.elf.orc import OrcFormat, OrcTable
from lpengine.errors import ElfError, InputError, NotFoundError, NotPermittedError

_LARGEST_FILE = 512 << 20
_HEAD = 4096
_BANNER = re.compile(rb"Linux version ([^ \0\n]{1,64}) \([^\0]{1,400}\n\0")
_FEATURES = (
    rb"((?:SMP |preempt |preempt_rt |mod_unload |modversions |RANDSTRUCT_[^ \0]+ )*)"
)
_COMPILER = re.compile(r"\(\S*gcc\S* (\([^)]*\) [\d.]+)[,)]")
_IKCONFIG = re.compile(rb"IKCFG_ST(\x1f\x8b.*?)IKCFG_ED", re.DOTALL)
_LARGEST_TEXT = 16 << 20
_ANCHOR = "_stext"
# A call to __fentry__ comes first in a function, behind endbr64 at most.
_SITE_WITHIN = 16


class KernelImage:
    """A linked x86-64 Linux kernel. What it holds is read when first asked for;
    everything raises InputError or ElfError where that is missing or damaged."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.path = image.path

    @property
    def build_id(self) -> str:
        return self.image.build_id

    @cached_property
    def banner(self) -> str:
        """ "Linux version 6.1.0-56-cloud-amd64 (…) #1 SMP …"."""
        return self._banner[0].decode("utf-8", "backslashreplace").rstrip("\0\n")

    @cached_property
    def release(self) -> str:
        """What `uname -r` says."""
        return self._banner[1].decode("utf-8", "backslashreplace")

    @property
    def compiler(self) -> str:
        """What gcc leaves in the .comment section of what it compiles, as the banner
        has it; "" for a kernel by another compiler."""
        found = _COMPILER.search(self.banner)
        return f"GCC: {found[1]}" if found else ""

    @property
    def configuration(self) -> bytes:
        """The configuration that the kernel carries (CONFIG_IKCONFIG), else nothing."""
        found = _IKCONFIG.search(self._read_only)
        if found is None:
            return b""
        try:
            return zlib.decompressobj(wbits=31).decompress(found[1], _LARGEST_TEXT)
        except zlib.error as error:
            raise InputError(f"{self.path}: its configuration: {error}") from error

    @cached_property
    def version(self) -> tuple[int, int]:
        """The first two numbers of the release."""
        found = re.match(r"(\d+)\.(\d+)", self.release)
        if found is None:
            raise InputError(f"{self.path}: release {self.release!r} has no numbers")
        return int(found[1]), int(found[2])

    @cached_property
    def vermagic(self) -> str:
        """What modules have to name: the release and how the kernel was built."""
        pattern = rb"\0(" + re.escape(self.release.encode()) + rb" " + _FEATURES
        found = re.search(pattern + rb")\0", self._read_only)
        if found is None or not found[2]:
            raise InputError(f"{self.path}: says no vermagic; it takes no modules")
        return found[1].decode()

    @cached_property
    def symbols(self) -> tuple[Entry, ...]:
        """kallsyms, in its order."""
        text = self._section(".text")
        code = text.address, text.address + text.size + 1
        return decode_kallsyms(self._read_only, _ANCHOR, code)

    def named(self, name: str) -> tuple[Entry, ...]:
        """All symbols of a name in the order of kallsyms: the n-th is position n
        for the live patch core (kernel/livepatch/core.c, klp_find_callback)."""
        return tuple(self.symbols[place] for place in self._places.get(name, ()))

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self._places)

    def size_of(self, entry: Entry) -> int:
        """Bytes up to the next symbol, as the kernel itself counts."""
        place = bisect_right(self._addresses, entry.address)
        end = self._addresses[place] if place < len(self._addresses) else entry.address
        return end - entry.address

    def nearest(self, address: int, name: str = "") -> Entry | None:
        """The symbol at an address, of several there best the one of that name; else
        the nearest before it. None below the first."""
        place = bisect_right(self._addresses, address) - 1
        if place < 0:
            return None
        at = self._addresses[place]
        there = self.symbols[bisect_left(self._addresses, at) : place + 1]
        return next((each for each in there if each.name == name), there[-1])

    def neighbours(self, entry: Entry) -> tuple[str, str]:
        """The names of the nearest global symbols before and behind, "" at an
        end: they tell which source file a static is from."""
        place = bisect_left(self._addresses, entry.address)
        before = next(
            (each.name for each in self.symbols[place - 1 :: -1] if each.is_global),
            "",
        )
        behind = next(
            (each.name for each in self.symbols[place + 1 :] if each.is_global), ""
        )
        return before if place else "", behind

    @cached_property
    def exports(self) -> dict[str, Export]:
        return read_exports(self.image)

    @cached_property
    def ftrace_sites(self) -> tuple[int, ...]:
        """The addresses of all calls to __fentry__, sorted."""
        start, end = (
            self._one(f"__{edge}_mcount_loc").address for edge in ("start", "stop")
        )
        if not 0 <= end - start <= len(self.image.data):
            raise InputError(f"{self.path}: its table of ftrace sites is damaged")
        table = self.image.read(start, (end - start) // 8 * 8)
        return tuple(sorted(site for (site,) in struct.iter_unpack("<Q", table)))

    def ftrace_site(self, entry: Entry) -> int | None:
        """Where ftrace can redirect a function, None where it cannot."""
        place = bisect_left(self.ftrace_sites, entry.address)
        within = min(self.size_of(entry), _SITE_WITHIN)
        if place == len(self.ftrace_sites):
            return None
        site = self.ftrace_sites[place]
        return site if site < entry.address + within else None

    @cached_property
    def btf(self) -> Btf:
        return Btf(self.image.section_data(self._section(".BTF")))

    @cached_property
    def orc_format(self) -> OrcFormat:
        return OrcFormat.of(self.btf.struct("orc_entry"))

    @cached_property
    def orc(self) -> OrcTable:
        ips = self._section(".orc_unwind_ip")
        entries = self.image.section_data(self._section(".orc_unwind"))
        return OrcTable(
            self.orc_format, ips.address, self.image.section_data(ips), entries
        )

    def has_section(self, name: str) -> bool:
        return self.image.section(name) is not None

    def is_init(self, entry: Entry) -> bool:
        """Whether its memory is freed once the kernel has booted."""
        start, end = (self._one(f"__init_{edge}").address for edge in ("begin", "end"))
        return start <= entry.address < end

    def code(self, address: int, size: int) -> bytes:
        return self.image.read(address, size)

    @cached_property
    def _banner(self) -> re.Match[bytes]:
        found = _BANNER.search(self._read_only)
        if found is None:
            raise InputError(f"{self.path}: no Linux kernel")
        return found

    @cached_property
    def _read_only(self) -> bytes:
        return self.image.section_data(self._section(".rodata"))

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place, entry in enumerate(self.symbols):
            places.setdefault(entry.name, []).append(place)
        return places

    @cached_property
    def _addresses(self) -> Sequence[int]:
        return [entry.address for entry in self.symbols]

    def _one(self, name: str) -> Entry:
        found = self.named(name)
        if not found:
            raise InputError(f"{self.path}: the kernel has no symbol {name}")
        return found[0]

    def _section(self, name: str) -> Section:
        section = self.image.section(name)
        if section is None:
            raise InputError(f"{self.path}: the kernel has no section {name}")
        return section


def open_kernel(path: Path | str) -> KernelImage:
    """The kernel in a file, packed (vmlinuz, bzImage) or not (vmlinux).

    NotFoundError or NotPermittedError where it cannot be opened, ElfError or
    InputError where it is no kernel.
    """
    if not is_boot_image(_head(Path(path))):
        return KernelImage(open_image(path))
    if Path(path).stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path}: too large for a boot image")
    kernel = unpack_kernel(Path(path).read_bytes(), str(path))
    return KernelImage(parse_image(kernel, str(path)))


def is_kernel(path: Path | str) -> bool:
    """Whether a file is a Linux kernel: a boot image, or an ELF file with the
    sections that only a linked kernel has."""
    if is_boot_image(_head(Path(path))):
        return True
    try:
        image = open_image(path)
    except ElfError:
        return False
    linked = image.header.type in (ET_EXEC, ET_DYN)
    return linked and image.section("__ksymtab") is not None


def _head(path: Path) -> bytes:
    try:
        # Before it is opened: opening a pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: not a regular file")
        with path.open("rb") as file:
            return file.read(_HEAD)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file") from error
    except PermissionError as error:
        raise NotPermittedError(
            f"{path}: may not be read", hint="kernels are often readable by root only"
        ) from error
