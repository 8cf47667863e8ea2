"""Every way in which Xen refuses a payload or an action on one.

Up to `not-found`, the order is Xen's own at upload: of two refusals that both
apply, it reports the one that comes first here. Sources are files of Xen 4.17
below xen/, with the function that refuses.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lpengine.patch.xen.defects import DEFECTS, Defect

__all__ = ["DEFECTS", "REFUSALS", "Defect", "Refusal"]


@dataclass(frozen=True)
class Refusal:
    """`errno` is the symbolic errno of the hypercall, or of the payload's status
    where the hypercall itself succeeds; "" where Xen answers with success or with
    a number that the payload chose."""

    cause: str
    errno: str
    meaning: str
    source: str


# A source, and below it what it refuses: "cause: errno: meaning".
_TABLE = """
common/sysctl.c:do_sysctl
    not-privileged: EPERM: only the control domain may do this, and a security
        policy may forbid it
    wrong-interface: EACCES: the caller speaks another version of the sysctl
        interface
    no-live-patching: ENOSYS: the hypervisor was built without live patching
        (CONFIG_LIVEPATCH)
common/livepatch.c:get_name
    bad-name: EINVAL: a name has 1 to 127 bytes, none of them NUL
common/livepatch.c:verify_payload
    payload-empty: EINVAL: the file is empty
    payload-too-large: EINVAL: the file is larger than 2 MiB
common/livepatch.c:livepatch_upload
    name-in-use: EEXIST: a payload of this name is loaded already
common/livepatch_elf.c:livepatch_header_check
    not-elf: EINVAL: the file does not start with a whole ELF header
    header-invalid: EOPNOTSUPP: the ELF header is not that of a relocatable file
        without segments, version 1, for no special ABI or FreeBSD's
arch/x86/livepatch.c:arch_livepatch_verify_elf
    wrong-machine: EOPNOTSUPP: the file is not 64-bit x86-64
common/livepatch_elf.c:livepatch_header_check
    no-section-names: EINVAL: the header names no section that holds the section
        names
    too-many-sections: EOPNOTSUPP: Xen takes at most 1023 sections
    section-headers-corrupt: EINVAL: the section headers do not lie inside the file,
        or are too small
common/livepatch_elf.c:elf_resolve_sections
    section-out-of-file: EINVAL: the data of a section lie in the ELF header or
        outside the file
    section-alignment: EOPNOTSUPP: the alignment of a section is not a power of two
    section-address: EINVAL: the address of a section is not a multiple of its
        alignment
    bss-too-large: EINVAL: a section without data in the file is larger than 2 MiB
    two-symbol-tables: EOPNOTSUPP: there is more than one symbol table
    symbol-table-corrupt: EINVAL: the symbol table has no entries, broken ones, or
        no string table
    no-symbol-table: EINVAL: there is no symbol table
common/livepatch_elf.c:elf_verify_strtab
    string-table-corrupt: EINVAL: a string table is of another type, empty, or does
        not start and end with NUL
common/livepatch_elf.c:elf_resolve_section_names
    section-name-corrupt: EINVAL: the name of a section lies outside the table of
        section names
common/livepatch_elf.c:elf_get_sym
    symbol-name-corrupt: EINVAL: the name of a symbol lies outside the string table
common/livepatch.c:move_payload
    writable-and-executable: EOPNOTSUPP: a loaded section is both writable and
        executable
    out-of-memory: ENOMEM: there is not enough memory, or not enough room within
        reach of the hypervisor's code
common/livepatch_elf.c:livepatch_elf_resolve_symbols
    common-symbol: EINVAL: a variable was left to the linker to place; compile with
        -fno-common
    unknown-symbol: ENOENT: a symbol is known neither to the hypervisor nor to a
        loaded payload
    symbol-section: EINVAL: a symbol is in a section that does not exist or that Xen
        does not know (EOPNOTSUPP for a reserved section number)
common/livepatch_elf.c:livepatch_elf_perform_relocs
    relocation-link: EINVAL: a relocation section does not refer to the symbol table
    relocation-header: EINVAL: the size of a relocation section and of its entries
        do not agree
arch/x86/livepatch.c:arch_livepatch_perform_rel
    rel-unsupported: EOPNOTSUPP: a loaded section has relocations without addends
        (SHT_REL)
arch/x86/livepatch.c:arch_livepatch_perform_rela
    relocation-undef: EOPNOTSUPP: a relocation refers to symbol 0
    relocation-symbol: EINVAL: a relocation refers to a symbol that does not exist
    relocation-ignored-symbol: EINVAL: a relocation refers to a symbol in a section
        that is not loaded
    relocation-out-of-section: EINVAL: a relocation changes bytes outside its
        section
    relocation-overflow: EOVERFLOW: a relative relocation does not reach what it
        refers to
    relocation-unsupported: EOPNOTSUPP: Xen knows the relocation types NONE, 64,
        PC32 and PLT32 only
common/livepatch.c:check_special_sections
    section-missing: EINVAL: one of the three build-id notes is missing
    section-empty: EINVAL: a note, hook or function section is empty
common/livepatch.c:check_patching_sections
    nothing-to-patch: EINVAL: there are neither functions to redirect nor hooks
common/livepatch.c:prepare_payload
    funcs-size: EINVAL: the size of .livepatch.funcs is not a multiple of 104
    wrong-version: EOPNOTSUPP: a function record is not of version 2
    old-size-zero: EINVAL: a function record gives no old size
common/livepatch.c:resolve_old_address
    old-function-not-found: ENOENT: the function to redirect is known neither to the
        hypervisor nor to a loaded payload
arch/x86/livepatch.c:arch_livepatch_verify_func
    nop-too-long: EOPNOTSUPP: more than 31 bytes are to become NOPs
    nop-beyond-function: EINVAL: more bytes are to become NOPs than the function has
    function-too-small: EINVAL: the old function cannot hold the jump: 5 bytes, 9
        behind an ENDBR64
include/xen/livepatch.h:livepatch_verify_distance
    function-out-of-reach: EOVERFLOW: old and new function are more than 2 GiB apart
common/livepatch.c:prepare_payload
    hook-size: EINVAL: a hook section does not hold whole pointers, or not exactly
        one where only one is allowed
    note-malformed: EINVAL: a build-id note is not a GNU note of type 3 with a build
        id inside its section
    build-id-in-use: EEXIST: a payload with this build id is loaded
    bug-frames-size: EINVAL: the size of a .bug_frames section is not a multiple of
        8
    alternatives-size: EINVAL: the size of .altinstructions is not a multiple of 14
    alternatives-without-text: EINVAL: there are alternatives but no code they could
        change
    alternatives-without-replacement: EINVAL: there are alternatives but no
        .altinstr_replacement
    alternative-outside-text: EINVAL: an alternative changes bytes outside the
        payload's code
    alternative-outside-replacement: EINVAL: an alternative takes bytes from outside
        .altinstr_replacement
    ex-table-size: EINVAL: the size of .ex_table is not a multiple of 8
    modinfo-not-terminated: EINVAL: the metadata do not end with NUL
common/livepatch.c:xen_build_id_dep
    xen-build-id-mismatch: EINVAL: the payload was made for another hypervisor build
common/version.c:xen_build_id
    no-xen-build-id: ENODATA: the hypervisor has no build id
common/livepatch.c:build_symbol_table
    duplicate-symbol: EEXIST: a new symbol of the payload exists already in the
        hypervisor or in a loaded payload
common/livepatch.c:livepatch_action
    not-found: ENOENT: no payload of this name is loaded
    busy: EBUSY: another action is under way, or CPUs come or go
    unknown-action: EOPNOTSUPP: there is no such action
    wrong-state: -: the payload is not in the state that the action starts from; Xen
        says success and does nothing
    unload-applied: EINVAL: an applied payload cannot be unloaded
    not-top: EBUSY: only the payload that was applied last can be reverted
    reapply-with-data: EINVAL: a reverted payload with writable data has to be
        loaded anew before it can be applied again (the hypercall succeeds, the
        status says so)
    replace-vetoing-hooks: EOPNOTSUPP: replace is not possible while this or an
        applied payload has hooks that run before or after an action
    hook-veto: -: a hook of the payload refused; the number is the hook's own
common/livepatch.c:build_id_dep
    depends-mismatch: EINVAL: the payload was made for another payload (or none) on
        top of the stack
common/livepatch.c:livepatch_verify_expectation_fn
    expectation-no-address: EFAULT: bytes are expected at no address
    expectation-too-long: EOVERFLOW: more than 31 bytes are expected
    expectation-reserved: EINVAL: reserved bits of an expectation are set
    expectation-beyond-function: ERANGE: more bytes are expected than the old
        function has
    expectation-mismatch: EINVAL: the live bytes of the old function are not the
        expected ones
arch/x86/livepatch.c:arch_livepatch_safety_check
    waitqueue-active: EBUSY: a virtual CPU sleeps inside the hypervisor (memory
        sharing, paging or monitoring)
common/livepatch.c:livepatch_spin
    quiesce-timeout: EBUSY: the CPUs did not come to rest in time
common/livepatch.c:livepatch_list
    list-too-many: E2BIG: more than 1024 payloads asked for at once
"""

_ENTRY = re.compile(r"(?P<cause>[a-z-]+): (?P<errno>[A-Z0-9]+|-): (?P<meaning>.+)")


def _refusals() -> Iterator[Refusal]:
    source = ""
    for line in re.sub(r"\n {8}", " ", _TABLE).strip().splitlines():
        entry = _ENTRY.fullmatch(line.strip())
        if entry is None:
            source = line
        else:
            errno = entry["errno"].strip("-")
            yield Refusal(entry["cause"], errno, entry["meaning"], source)


REFUSALS: Mapping[str, Refusal] = MappingProxyType({r.cause: r for r in _refusals()})
