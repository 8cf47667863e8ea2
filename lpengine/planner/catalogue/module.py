"""MOD: the module itself."""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance

CODES = (
    Code(
        "LP-MOD-001",
        "MODULE_NOT_ELF",
        summary="The file is not a module this target could load.",
        detection="ELF magic, class, machine, type and the size limits are compared "
        "with what the loader takes.",
        remedy="get the file again, for the right architecture",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: verify_payload; livepatch_elf.c: header check",
        text="A live patch is a relocatable ELF file for 64-bit x86 of at most 2 MiB "
        "with fewer than 1024 sections. This file is something else: empty, cut "
        "off, a different architecture, a finished program, or far too big. Look "
        "at it with `file` and `readelf -h`. Fetch it again; when it is yours, link "
        "it with `ld -r` and without debug sections.",
    ),
    Code(
        "LP-MOD-002",
        "MODULE_CORRUPT",
        summary="A table inside the module points outside it or contradicts itself.",
        detection="Every header, table and string is followed within the bounds of "
        "the file.",
        remedy="get the file again and compare its SHA-256 with the publisher's",
        guidance=Guidance.NONE,
        source="Xen livepatch_elf.c: elf_resolve_sections, elf_get_sym",
        text="The header is that of an ELF file, but sections, symbols or strings "
        "lie outside of it, overlap the header or are missing. That is nearly "
        "always a damaged download, sometimes a tool that strips too much. The "
        "finding says which table. A hand-made file must keep exactly one symbol "
        "table, with its string table.",
    ),
    Code(
        "LP-MOD-003",
        "MODULE_SECTION_MISSING",
        summary="A section that every live patch needs is absent, empty or misshapen.",
        detection="Notes, function records, hooks and module information are looked "
        "for by name and measured.",
        remedy="rebuild the module",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: check_special_sections, prepare_payload",
        text="A patch says by three build-id notes who it is, which image it is for "
        "and what lies below it, and by an array of 104-byte records what it "
        "changes; hooks are 8-byte pointers. One of these has the wrong size, is "
        "empty or is not there. Link with `--build-id` and keep the sections "
        "whose names start with .livepatch.",
    ),
    Code(
        "LP-MOD-004",
        "MODULE_VERSION_UNSUPPORTED",
        summary="The module speaks a version of the format that the target does not.",
        detection="The version byte of each function record is compared with 2.",
        remedy="rebuild the module for this target, or upgrade the engine",
        guidance=Guidance.REBOOT_HOST,
        source="Xen livepatch.c: prepare_payload",
        text="Function records carry a version; Xen knows version 2 only. Another "
        "number means a module for a different generation of the hypervisor, or "
        "records that are shifted because a structure has the wrong size.",
    ),
    Code(
        "LP-MOD-005",
        "RELOCATION_UNSUPPORTED",
        summary="The module needs an address filled in in a way the target cannot.",
        detection="Each relocation's type, symbol, offset and distance is checked.",
        remedy="rebuild with -fPIC -fvisibility=hidden and without jump tables",
        guidance=Guidance.REBOOT_HOST,
        source="Xen arch/x86/livepatch.c: arch_livepatch_perform_rela",
        text="Xen fills in 64-bit addresses and 32-bit distances, and nothing else; "
        "each must belong to a symbol and lie inside its section, and a distance "
        "must fit in 32 bits. Wrong compiler flags are the usual reason: see "
        "`readelf -r` for the types. Only rebuilding helps.",
    ),
    Code(
        "LP-MOD-006",
        "NOTHING_TO_PATCH",
        summary="The module changes no function and has no hook.",
        detection="Neither function records nor hooks are present.",
        remedy="check that the fix changes code at all",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: check_patching_sections",
        text="The module would load and do nothing, so it is refused. A fix that "
        "only touches comments, data or code that is compiled out leads here. When "
        "it should change something, look at the build: the changed function may "
        "have been inlined everywhere or dropped.",
    ),
    Code(
        "LP-MOD-007",
        "MODULE_UNSAFE",
        summary="The module's layout breaks the loader, which may not even notice.",
        detection="Section flags and alignments are compared with what the loader "
        "relies on without checking.",
        remedy="rebuild: keep notes and records allocated, the records writable, "
        "alignments at least 1, and nothing both writable and executable",
        guidance=Guidance.REBOOT_HOST,
        source="seen to crash Xen 4.17 when loaded or applied",
        text="Some layouts are legal ELF and deadly: build-id notes or records "
        "without the ALLOC flag make the hypervisor follow a null pointer, an "
        "alignment of zero lays sections over one another, read-only records are "
        "written to by Xen 4.17.1 and 4.17.2. The finding says which, and what "
        "would have happened. Where the running version is not affected it is a "
        "warning, because the next one to take the module may be.",
    ),
    Code(
        "LP-MOD-008",
        "SPECIAL_SECTION_MALFORMED",
        summary="A table of alternatives, exceptions or bug frames is not well formed.",
        detection="Record sizes, and the places the records point to, are checked.",
        remedy="rebuild the module with the structure sizes of the running image",
        guidance=Guidance.REBOOT_HOST,
        source="Xen livepatch.c: prepare_payload",
        text="Beside functions, a module may carry tables that the hypervisor merges "
        "with its own: instruction alternatives, exception fixups, bug frames. Their "
        "size must be a whole number of records and their pointers must stay in the "
        "module. If not, structure sizes were taken from another source tree.",
    ),
    Code(
        "LP-MOD-009",
        "RULE_UNKNOWN",
        summary="The module breaks a rule that this planner has no text for.",
        detection="The module's reader reported a cause that is not in the catalogue.",
        remedy="report it, with the finding's evidence; do not apply the module",
        guidance=Guidance.REBOOT_HOST,
        source="the planner itself: what it does not understand counts as a no",
        text="Reader and planner disagree about which rules exist, which is a defect "
        "of the engine. The module may well be fine; it is refused because guessing "
        "is not an option here. The evidence names the rule.",
    ),
    Code(
        "LP-MOD-010",
        "EXPECTATION_MALFORMED",
        summary="The bytes a patch expects are not described in a usable way.",
        detection="Length and reserved bits of the record are checked.",
        remedy="rebuild the module with at most 31 expected bytes, not more than the "
        "function has",
        guidance=Guidance.REBOOT_HOST,
        source="Xen livepatch.c: livepatch_verify_expectation_fn",
        text="A record may name up to 31 bytes that must be at the old function when "
        "the patch is applied. This one wants more than fit, more than the function "
        "has, sets bits that are reserved, or has no function to look at. The "
        "hypervisor takes such a module at first and refuses when it is applied.",
    ),
    Code(
        "LP-MOD-011",
        "RELOCATION_MISFILED",
        summary="An address would be filled in for the wrong object, or too late.",
        detection="Each live patch relocation is compared with the object that owns "
        "its symbol, and with the code that uses it.",
        remedy="rebuild the module",
        guidance=Guidance.REBOOT_HOST,
        source="Linux kernel/livepatch/core.c: klp_apply_section_relocs",
        text="The kernel fills in such an address when the object in the section's "
        "name is there. If the symbol is of another object the module is refused; if "
        "code uses the place that runs before that, it jumps to address 0 and the "
        "kernel crashes. The kernel does not check the second.",
    ),
    Code(
        "LP-MOD-012",
        "NEW_FUNCTION_WITHOUT_SYMBOL",
        summary="The module does not say how long one of its new functions is.",
        detection="A symbol with a size is looked for at each new function.",
        remedy="rebuild the module; do not strip its symbols",
        guidance=Guidance.REBOOT_HOST,
        source="Linux kernel/livepatch/core.c: klp_init_object_loaded",
        text="Linux asks the module's symbol table where a new function ends, to tell "
        "whether a task is still inside of it when the patch comes off. Without a "
        "symbol of its own it takes that of a neighbour, or refuses; if it takes it, "
        "code may be freed under a running task.",
    ),
)
