"""Names and sizes of a live patch module's parts (Documentation/livepatch/
module-elf-format.rst, kernel/livepatch/core.c)."""

from lpengine.patch.model import KlpSymbol

THIS_MODULE = ".gnu.linkonce.this_module"
MODINFO = ".modinfo"
VERSIONS = "__versions"
ORC, ORC_IP = ".orc_unwind", ".orc_unwind_ip"
RETURN_SITES, RETPOLINE_SITES = ".return_sites", ".retpoline_sites"
BUILD_ID = ".note.gnu.build-id"

KLP_RELOCATIONS = ".klp.rela."
KLP_SYMBOL = ".klp.sym."
KERNEL = "vmlinux"

# In .modinfo: the build id of each object that a module was built for.
TARGET_KEY = "lpengine_target_"

CALLBACKS = ("pre_patch", "post_patch", "pre_unpatch", "post_unpatch")

# KSYM_NAME_LEN, as the core's own pattern has it.
LONGEST_SYMBOL = 511


def klp_symbol_name(symbol: KlpSymbol) -> str:
    return f"{KLP_SYMBOL}{symbol.object}.{symbol.name},{symbol.occurrence}"


def klp_table_name(object: str, section: str) -> str:
    return f"{KLP_RELOCATIONS}{object}.{section}"
