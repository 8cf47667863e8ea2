"""The numbers of the ELF format, by the names of the gABI and the x86-64 psABI.

Fields of parsed values are plain integers, since a file may hold any number; the
members here compare equal to them.
"""

from enum import IntEnum, IntFlag

SHN_UNDEF = 0
SHN_LORESERVE = 0xFF00
# Linux: looked up by the live patch core (include/uapi/linux/elf.h).
SHN_LIVEPATCH = 0xFF20
SHN_ABS = 0xFFF1
SHN_COMMON = 0xFFF2
SHN_XINDEX = 0xFFFF
PN_XNUM = 0xFFFF

NT_GNU_BUILD_ID = 3


class FileType(IntEnum):
    """e_type."""

    ET_NONE = 0
    ET_REL = 1
    ET_EXEC = 2
    ET_DYN = 3
    ET_CORE = 4


class Machine(IntEnum):
    """e_machine: the ones worth naming in a refusal."""

    EM_NONE = 0
    EM_386 = 3
    EM_MIPS = 8
    EM_PPC64 = 21
    EM_S390 = 22
    EM_ARM = 40
    EM_X86_64 = 62
    EM_AARCH64 = 183
    EM_BPF = 247
    EM_RISCV = 243
    EM_LOONGARCH = 258


class SectionType(IntEnum):
    """sh_type."""

    SHT_NULL = 0
    SHT_PROGBITS = 1
    SHT_SYMTAB = 2
    SHT_STRTAB = 3
    SHT_RELA = 4
    SHT_HASH = 5
    SHT_DYNAMIC = 6
    SHT_NOTE = 7
    SHT_NOBITS = 8
    SHT_REL = 9
    SHT_SHLIB = 10
    SHT_DYNSYM = 11
    SHT_INIT_ARRAY = 14
    SHT_FINI_ARRAY = 15
    SHT_PREINIT_ARRAY = 16
    SHT_GROUP = 17
    SHT_SYMTAB_SHNDX = 18
    SHT_RELR = 19
    SHT_GNU_HASH = 0x6FFFFFF6
    SHT_GNU_VERDEF = 0x6FFFFFFD
    SHT_GNU_VERNEED = 0x6FFFFFFE
    SHT_GNU_VERSYM = 0x6FFFFFFF
    SHT_X86_64_UNWIND = 0x70000001


class SectionFlag(IntFlag):
    """sh_flags."""

    SHF_WRITE = 0x1
    SHF_ALLOC = 0x2
    SHF_EXECINSTR = 0x4
    SHF_MERGE = 0x10
    SHF_STRINGS = 0x20
    SHF_INFO_LINK = 0x40
    SHF_LINK_ORDER = 0x80
    SHF_OS_NONCONFORMING = 0x100
    SHF_GROUP = 0x200
    SHF_TLS = 0x400
    SHF_COMPRESSED = 0x800
    SHF_RELA_LIVEPATCH = 0x100000
    SHF_GNU_RETAIN = 0x200000
    SHF_EXCLUDE = 0x80000000


class SegmentType(IntEnum):
    """p_type."""

    PT_NULL = 0
    PT_LOAD = 1
    PT_DYNAMIC = 2
    PT_INTERP = 3
    PT_NOTE = 4
    PT_SHLIB = 5
    PT_PHDR = 6
    PT_TLS = 7
    PT_GNU_EH_FRAME = 0x6474E550
    PT_GNU_STACK = 0x6474E551
    PT_GNU_RELRO = 0x6474E552
    PT_GNU_PROPERTY = 0x6474E553


class SegmentFlag(IntFlag):
    """p_flags."""

    PF_X = 1
    PF_W = 2
    PF_R = 4


class Binding(IntEnum):
    """The upper half of st_info."""

    STB_LOCAL = 0
    STB_GLOBAL = 1
    STB_WEAK = 2
    STB_GNU_UNIQUE = 10


class SymbolType(IntEnum):
    """The lower half of st_info."""

    STT_NOTYPE = 0
    STT_OBJECT = 1
    STT_FUNC = 2
    STT_SECTION = 3
    STT_FILE = 4
    STT_COMMON = 5
    STT_TLS = 6
    STT_GNU_IFUNC = 10


class Visibility(IntEnum):
    """The lowest two bits of st_other."""

    STV_DEFAULT = 0
    STV_INTERNAL = 1
    STV_HIDDEN = 2
    STV_PROTECTED = 3


class RelocationType(IntEnum):
    """The relocation types of the x86-64 psABI, table 4.10."""

    R_X86_64_NONE = 0
    R_X86_64_64 = 1
    R_X86_64_PC32 = 2
    R_X86_64_GOT32 = 3
    R_X86_64_PLT32 = 4
    R_X86_64_COPY = 5
    R_X86_64_GLOB_DAT = 6
    R_X86_64_JUMP_SLOT = 7
    R_X86_64_RELATIVE = 8
    R_X86_64_GOTPCREL = 9
    R_X86_64_32 = 10
    R_X86_64_32S = 11
    R_X86_64_16 = 12
    R_X86_64_PC16 = 13
    R_X86_64_8 = 14
    R_X86_64_PC8 = 15
    R_X86_64_DTPMOD64 = 16
    R_X86_64_DTPOFF64 = 17
    R_X86_64_TPOFF64 = 18
    R_X86_64_TLSGD = 19
    R_X86_64_TLSLD = 20
    R_X86_64_DTPOFF32 = 21
    R_X86_64_GOTTPOFF = 22
    R_X86_64_TPOFF32 = 23
    R_X86_64_PC64 = 24
    R_X86_64_GOTOFF64 = 25
    R_X86_64_GOTPC32 = 26
    R_X86_64_GOT64 = 27
    R_X86_64_GOTPCREL64 = 28
    R_X86_64_GOTPC64 = 29
    R_X86_64_GOTPLT64 = 30
    R_X86_64_PLTOFF64 = 31
    R_X86_64_SIZE32 = 32
    R_X86_64_SIZE64 = 33
    R_X86_64_GOTPC32_TLSDESC = 34
    R_X86_64_TLSDESC_CALL = 35
    R_X86_64_TLSDESC = 36
    R_X86_64_IRELATIVE = 37
    R_X86_64_RELATIVE64 = 38
    R_X86_64_GOTPCRELX = 41
    R_X86_64_REX_GOTPCRELX = 42


# The members are also plain names of this module (constants.SHT_RELA), which is
# how the ABI documents and the rest of the engine spell them. Listed, not
# computed, so that type checkers and editors see them.
ET_NONE, ET_REL, ET_EXEC, ET_DYN, ET_CORE = FileType
EM_X86_64 = Machine.EM_X86_64

SHT_NULL = SectionType.SHT_NULL
SHT_PROGBITS = SectionType.SHT_PROGBITS
SHT_SYMTAB = SectionType.SHT_SYMTAB
SHT_STRTAB = SectionType.SHT_STRTAB
SHT_RELA = SectionType.SHT_RELA
SHT_HASH = SectionType.SHT_HASH
SHT_DYNAMIC = SectionType.SHT_DYNAMIC
SHT_NOTE = SectionType.SHT_NOTE
SHT_NOBITS = SectionType.SHT_NOBITS
SHT_REL = SectionType.SHT_REL
SHT_DYNSYM = SectionType.SHT_DYNSYM
SHT_INIT_ARRAY = SectionType.SHT_INIT_ARRAY
SHT_FINI_ARRAY = SectionType.SHT_FINI_ARRAY
SHT_PREINIT_ARRAY = SectionType.SHT_PREINIT_ARRAY
SHT_GROUP = SectionType.SHT_GROUP
SHT_SYMTAB_SHNDX = SectionType.SHT_SYMTAB_SHNDX
SHT_GNU_HASH = SectionType.SHT_GNU_HASH
SHT_GNU_VERDEF = SectionType.SHT_GNU_VERDEF
SHT_GNU_VERNEED = SectionType.SHT_GNU_VERNEED
SHT_GNU_VERSYM = SectionType.SHT_GNU_VERSYM
SHT_X86_64_UNWIND = SectionType.SHT_X86_64_UNWIND

# Plain integers: an operation on the members themselves takes ten times as long.
SHF_WRITE = SectionFlag.SHF_WRITE.value
SHF_ALLOC = SectionFlag.SHF_ALLOC.value
SHF_EXECINSTR = SectionFlag.SHF_EXECINSTR.value
SHF_MERGE = SectionFlag.SHF_MERGE.value
SHF_STRINGS = SectionFlag.SHF_STRINGS.value
SHF_INFO_LINK = SectionFlag.SHF_INFO_LINK.value
SHF_LINK_ORDER = SectionFlag.SHF_LINK_ORDER.value
SHF_GROUP = SectionFlag.SHF_GROUP.value
SHF_TLS = SectionFlag.SHF_TLS.value
SHF_COMPRESSED = SectionFlag.SHF_COMPRESSED.value
SHF_RELA_LIVEPATCH = SectionFlag.SHF_RELA_LIVEPATCH.value

PT_NULL = SegmentType.PT_NULL
PT_LOAD = SegmentType.PT_LOAD
PT_DYNAMIC = SegmentType.PT_DYNAMIC
PT_INTERP = SegmentType.PT_INTERP
PT_NOTE = SegmentType.PT_NOTE
PT_PHDR = SegmentType.PT_PHDR
PT_TLS = SegmentType.PT_TLS

PF_X, PF_W, PF_R = SegmentFlag

STB_LOCAL, STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE = Binding

STT_NOTYPE = SymbolType.STT_NOTYPE
STT_OBJECT = SymbolType.STT_OBJECT
STT_FUNC = SymbolType.STT_FUNC
STT_SECTION = SymbolType.STT_SECTION
STT_FILE = SymbolType.STT_FILE
STT_COMMON = SymbolType.STT_COMMON
STT_TLS = SymbolType.STT_TLS
STT_GNU_IFUNC = SymbolType.STT_GNU_IFUNC

STV_DEFAULT, STV_INTERNAL, STV_HIDDEN, STV_PROTECTED = Visibility

R_X86_64_NONE = RelocationType.R_X86_64_NONE
R_X86_64_64 = RelocationType.R_X86_64_64
R_X86_64_PC32 = RelocationType.R_X86_64_PC32
R_X86_64_PLT32 = RelocationType.R_X86_64_PLT32
R_X86_64_32 = RelocationType.R_X86_64_32
R_X86_64_32S = RelocationType.R_X86_64_32S
R_X86_64_16 = RelocationType.R_X86_64_16
R_X86_64_PC16 = RelocationType.R_X86_64_PC16
R_X86_64_8 = RelocationType.R_X86_64_8
R_X86_64_PC8 = RelocationType.R_X86_64_PC8
R_X86_64_PC64 = RelocationType.R_X86_64_PC64
R_X86_64_GOTPCREL = RelocationType.R_X86_64_GOTPCREL
R_X86_64_GOTPCRELX = RelocationType.R_X86_64_GOTPCRELX
R_X86_64_REX_GOTPCRELX = RelocationType.R_X86_64_REX_GOTPCRELX
