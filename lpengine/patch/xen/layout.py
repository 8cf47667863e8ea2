"""Where things are in a Xen payload: section names, record layouts, limits.

Sources: docs/misc/livepatch.pandoc and include/public/sysctl.h (struct
livepatch_func), arch/x86/include/asm/alternative.h (struct alt_instr),
arch/x86/include/asm/uaccess.h (struct exception_table_entry).
"""

from struct import Struct

from lpengine.patch.model import HookKind

FUNCS = ".livepatch.funcs"
STRINGS = ".livepatch.strings"
DEPENDS = ".livepatch.depends"
XEN_DEPENDS = ".livepatch.xen_depends"
BUILD_ID = ".note.gnu.build-id"
MODINFO = ".modinfo"
ALTERNATIVES = ".altinstructions"
REPLACEMENTS = ".altinstr_replacement"
EXCEPTIONS = ".ex_table"
BUG_FRAMES = tuple(f".bug_frames.{kind}" for kind in range(4))

# In the order in which Xen looks at them (check_special_sections).
NOTES = (DEPENDS, XEN_DEPENDS, BUILD_ID)
NOTE_OWNER = "GNU"

# name, new_addr, old_addr, new_size, old_size, version, expectation bits and bytes.
FUNCTION = Struct("<QQQIIB39xB31s")
FUNCTION_NAME = 0
FUNCTION_NEW = 8
FUNCTION_OLD = 16
FUNCTION_VERSION = 2
POINTER_SIZE = 8

# orig, repl (relative to themselves), cpuid, orig_len, repl_len, pad_len, priv.
ALTERNATIVE = Struct("<iiHBBBB")
ALTERNATIVE_INVERTED = 0x8000
# How many features it may name: Xen 4.17.7 has 19 words of the public featureset, a
# synthetic word and a word of bugs.
ALTERNATIVE_FEATURES = (19 + 1 + 1) * 32
EXCEPTION = Struct("<ii")
BUG_FRAME_SIZE = 8

# LIVEPATCH_OPAQUE_SIZE: how many bytes can be saved, blanked or expected.
SAVED_MAX = 31
LARGEST_FILE = 2 << 20
LARGEST_NAME = 127
SECTIONS_MAX = 1023


def hook_section(kind: HookKind) -> str:
    return f".livepatch.hooks.{kind.value}"


# Arrays of hooks; of the other kinds there may be one each.
ARRAY_HOOKS = frozenset((HookKind.LOAD, HookKind.UNLOAD))
