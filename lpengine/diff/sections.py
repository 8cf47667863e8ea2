"""What a section is for, told from its name, type and flags."""

from enum import Enum, auto

from lpengine.diff.records import TABLES
from lpengine.elf import Section
from lpengine.elf.constants import (
    SHF_EXECINSTR,
    SHF_MERGE,
    SHF_STRINGS,
    SHF_TLS,
    SHT_GROUP,
    SHT_NOBITS,
    SHT_NOTE,
)


class SectionKind(Enum):
    """What becomes of a section's contents."""

    CODE = auto()
    BOOT_CODE = auto()  # runs once, is gone afterwards
    DERIVED = auto()  # code that records of a special section point to
    STRINGS = auto()  # merged by content
    MERGED = auto()  # the same for constants of a fixed size
    CONSTANT = auto()
    ANONYMOUS = auto()  # writable, but each copy does: UBSAN's records
    DATA = auto()
    ONCE = auto()  # DATA that says whether something was said already
    ZERO = auto()
    BOOT_DATA = auto()
    PER_CPU = auto()
    REGISTRATION = auto()  # read at boot or by the loader: the original's counts
    TABLE = auto()  # records about code
    HOOKS = auto()
    IGNORED = auto()


_EXECUTED_ONCE = (
    *(".init.text", ".exit.text", ".head.text", ".cpuinit", ".devinit", ".meminit"),
    *(".cpuexit", ".devexit", ".memexit", ".text.startup"),
)
_USED_ONCE = (".init.", ".exit.", ".trampoline_", "__initdata", ".meminit.")
_DERIVED = (".fixup", ".altinstr_replacement", ".altinstr_aux", ".text..refcount")
_IGNORED = (
    *(".eh_frame", ".note", ".comment", ".discard", ".llvm", ".sframe", ".debug"),
    *(".stab", ".BTF", ".reloc", ".gnu.build", ".gnu.lto", ".gnu.attributes"),
)
# Linux: include/asm-generic/vmlinux.lds.h; Xen: xen/arch/x86/xen.lds.S.
_REGISTRATIONS = (
    *("__ksymtab", "___ksymtab", "__kcrctab", "___kcrctab", "__kstrtab", "__modver"),
    *(".initcall", ".con_initcall", ".exitcall", ".security_initcall", ".modinfo"),
    *("__param", "_kprobe_blacklist", "_error_injection_whitelist", "__bpf_raw_tp"),
    *("_ftrace_", "__tracepoints", "__syscalls_metadata", ".export_symbol"),
    *("__earlycon", ".gnu.linkonce.this_module", ".init_array", ".fini_array"),
    *(".ctors", ".dtors", ".preinit_array", "__clk_of", "__timer_of", "__irqchip_of"),
    *(".x86_cpu_dev", ".x86_intel_mid", ".iommu_table", ".apicdrivers", ".orc_header"),
    *(".xsm_initcall", ".data.schedulers", ".data.param", ".data.vendor", "__thermal"),
    *(".pci_fixup", ".builtin_fw", ".kunit", ".printk_index", "__lsm", ".lsm_info"),
    *(".early_lsm_info", "__dl_sched_class", "__reservedmem_of", ".rodata.vendor"),
)
_HOOKS = (
    *(".livepatch.hooks.", ".kpatch.", "__klp_", ".lpengine.", ".livepatch.lifts"),
)
_ONCE = (".data.once", ".data..once", ".data.unlikely", ".data..unlikely")
_CONSTANTS = (".rodata", ".data.rel.ro", ".lrodata", ".gcc_except_table")
_ANONYMOUS = (".data..Lubsan", ".data.Lubsan", ".data.ubsan", ".data..L__unnamed")
_ORDINARY = (
    ".data",
    ".rodata",
    ".bss",
    ".lrodata",
    ".ldata",
    ".tdata",
    ".ref.",
    "__dyndbg",
    "__verbose",
)
_PER_CPU = (".data..percpu", ".data.percpu", ".bss.percpu", ".bss..percpu")


def kind_of(section: Section) -> SectionKind:
    """What the section is for. Allocated sections of names that mean nothing here
    are DATA, CONSTANT or CODE by their flags."""
    name, flags = section.name, section.flags
    if not section.allocated or section.type in (SHT_GROUP, SHT_NOTE):
        return SectionKind.IGNORED
    if name.startswith(_HOOKS):
        return SectionKind.HOOKS
    if name.startswith(_IGNORED):
        return SectionKind.IGNORED
    if flags & SHF_EXECINSTR:
        return _code_kind(name)
    if name in TABLES:
        return SectionKind.TABLE
    if name.startswith(_REGISTRATIONS):
        return SectionKind.REGISTRATION
    if name.startswith(_USED_ONCE):
        return _merged(flags) or SectionKind.BOOT_DATA
    if name.startswith(_PER_CPU) or flags & SHF_TLS:
        return SectionKind.PER_CPU
    return _data_kind(section)


def is_ordinary(section: Section) -> bool:
    """Whether a section's name is one that compilers give to variables."""
    return section.name.startswith(_ORDINARY)


def _code_kind(name: str) -> SectionKind:
    if name.startswith(_EXECUTED_ONCE):
        return SectionKind.BOOT_CODE
    return SectionKind.DERIVED if name in _DERIVED else SectionKind.CODE


def _data_kind(section: Section) -> SectionKind:
    name = section.name
    if section.type == SHT_NOBITS:
        return SectionKind.ZERO
    if name.startswith(_ONCE):
        return SectionKind.ONCE
    if name.startswith(_ANONYMOUS):
        return SectionKind.ANONYMOUS
    if not section.writable:
        return _merged(section.flags) or SectionKind.CONSTANT
    if name.startswith(_CONSTANTS):
        return SectionKind.CONSTANT
    return SectionKind.DATA


def _merged(flags: int) -> SectionKind | None:
    if not flags & SHF_MERGE:
        return None
    strings = flags & SHF_STRINGS
    return SectionKind.STRINGS if strings else SectionKind.MERGED
