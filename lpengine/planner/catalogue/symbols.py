"""SYM: names."""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance

CODES = (
    Code(
        "LP-SYM-151",
        "SYMBOL_NOT_FOUND",
        summary="The patch needs a symbol that the target does not have.",
        detection="Every name is looked up in the image, then in the loaded patches.",
        remedy="rebuild the patch for the running image",
        guidance=Guidance.REBOOT_HOST,
        source="Xen livepatch_elf.c: livepatch_elf_resolve_symbols",
        text="Names are compared exactly. Static functions and data are known by "
        "their file as well, `arch/x86/time.c#dump_softtsc`; the bare name of a "
        "static is not found. A symbol of another patch is found once that patch is "
        "loaded. `_GLOBAL_OFFSET_TABLE_` means that the code was compiled without "
        "hidden visibility.",
    ),
    Code(
        "LP-SYM-152",
        "SYMBOL_AMBIGUOUS",
        summary="Several symbols have the name, and the target would take any of them.",
        detection="The image has more than one address for the name.",
        remedy="name the file too, or give the address",
        guidance=Guidance.REBOOT_HOST,
        source="kpatch: duplicate local symbol; Xen takes the first it meets",
        text="Two statics may share a name, and lookups by name stop at the first. "
        "Patching the wrong one goes unnoticed until it crashes. The evidence lists "
        "the addresses; qualify the name by its file.",
    ),
    Code(
        "LP-SYM-153",
        "SYMBOL_DUPLICATE_NEW",
        summary="A symbol that the patch brings exists already.",
        detection="New names are looked up in the image and all loaded patches.",
        remedy="rebuild the patch with the symbol removed or renamed",
        guidance=Guidance.REBOOT_HOST,
        source="Xen livepatch.c: build_symbol_table",
        text="Every named symbol in the module, local ones too, that is not the "
        "replacement of a function counts as new and must be new. Even `__func__.2` "
        "of two unrelated patches collides. Strip what is not needed and give the "
        "rest a suffix of its own. A cumulative patch with the names of the one "
        "it replaces can only be loaded when that one has been unloaded.",
    ),
    Code(
        "LP-SYM-154",
        "SYMBOL_CRC_OR_EXPORT",
        summary="An exported symbol is gone, has changed, or is not for this module.",
        detection="Export lists and checksums of both builds are compared.",
        remedy="rebuild against the running kernel's list of exported symbols",
        guidance=Guidance.REBOOT_HOST,
        source="kpatch-build and Ksplice: missing export",
        text="Linux modules name the version of every symbol they use. A mismatch "
        "means the patch was built against another configuration, or uses a symbol "
        "that is reserved to modules under another licence.",
    ),
    Code(
        "LP-SYM-155",
        "INIT_SYMBOL_REFERENCED",
        summary="The patch uses code or data that is freed after boot.",
        detection="The address of each symbol is compared with the init sections.",
        remedy="bring a copy in the patch, or do without it",
        guidance=Guidance.REBOOT_HOST,
        source="seen to crash Xen 4.17 when the code ran",
        text="The hypervisor's symbol table still names what it has thrown away, so "
        "such a patch loads and applies, and the first call jumps into freed memory: "
        "a double fault. The fix must not depend on boot code.",
    ),
    Code(
        "LP-SYM-156",
        "SYMBOL_KIND_UNSUPPORTED",
        summary="A symbol of the module is of a kind the loader does not take.",
        detection="Section numbers of all symbols are checked.",
        remedy="rebuild with -fno-common",
        guidance=Guidance.NONE,
        source="Xen livepatch_elf.c: livepatch_elf_resolve_symbols",
        text="Common symbols (uninitialised globals of old compilers) and symbols in "
        "sections that do not exist cannot be placed. The flag makes the compiler "
        "put the former into .bss.",
    ),
)
