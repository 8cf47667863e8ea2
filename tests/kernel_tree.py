"""A kernel's source tree in small: configured and built by makefiles of the same
kind, in no time."""

import textwrap
from pathlib import Path

CONFIG = 'CONFIG_CC_VERSION_TEXT="some other"\nCONFIG_EXT=m\nCONFIG_SMP=y\n'

_MAKEFILE = """\
include scripts/Kbuild.include
-include include/config/auto.conf

.PHONY: olddefconfig prepare FORCE
# An option without what it needs is lost, as CONFIG_DEBUG_INFO_BTF without pahole.
olddefconfig:
\tsed -i -e '/CONFIG_LOST/d' -e 's/some other/ours/' .config
prepare:
\tmkdir -p include/config include/generated
\tgrep -v VERSION .config > include/config/auto.conf
\techo '#define PREPARED 1' > include/generated/autoconf.h
\techo x >> .prepared
flags = $(KCFLAGS) -nostdinc -include include/linux/kconfig.h -Iarch/x86/include \\
\t-Iinclude
%.o: %.c FORCE
\t@echo "  CC      $@"
\t$(CC) -O2 $(flags) -c -o $@ $<
%.i: %.c FORCE
\t$(CC) -E $(flags) -o $@ $<
FORCE:
"""
# Adds what the real one would, and tells how it was called.
_OBJTOOL = """\
#!/bin/sh
echo "$@" >> objtool.log
for object; do :; done
echo unwind > $object.new
objcopy --add-section .orc_unwind=$object.new $object
"""
FILES = {
    "Makefile": _MAKEFILE,
    "scripts/Makefile.lib": "objtool_args = --orc $(if $(CONFIG_SMP),--ibt) --link\n",
    "tools/objtool/objtool": _OBJTOOL,
    "Kbuild": "obj-y += kernel/\n",
    "Kconfig": "",
    "scripts/Kbuild.include": "# nothing\n",
    "Documentation/Kconfig": "",
    "Documentation/text.rst": "text\n",
    "tools/testing/test.c": '#include "../../include/linux/one.h"\n',
    "arch/arm/Kconfig": "",
    "arch/arm/kernel/arm.c": "#include <linux/one.h>\n",
    "arch/x86/boot/main.c": "int boot;\n",
    "arch/x86/include/asm/here.h": "#define HERE 1\n",
    "include/linux/kconfig.h": "#include <generated/autoconf.h>\n",
    "include/linux/one.h": """\
        #include <asm/here.h>
        static inline int one(int x)
        {
        \treturn x + HERE;
        }
        """,
    "include/linux/other/one.h": "#define OTHER 1\n",
    "fs/Makefile": """\
        obj-y += open.o
        obj-$(CONFIG_EXT) += ext/
        obj-$(CONFIG_OFF) += off.o off/
        """,
    "fs/open.c": """\
        #include <linux/one.h>
        int do_open(int x)
        {
        \treturn one(x) + __LINE__;
        }
        """,
    "fs/off.c": "#include <linux/one.h>\n",
    "fs/off/Makefile": "obj-y += deep.o\n",
    "fs/off/deep.c": "#include <linux/one.h>\n",
    "fs/ext/Makefile": """\
        obj-$(CONFIG_EXT) += ext-fs.o
        ext-fs-y := super.o sub/inode.o ../../virt/shared.o
        ext-fs-$(CONFIG_OFF) += acl.o
        """,
    "fs/ext/local.h": "#include <linux/one.h>\n",
    "fs/ext/super.c": '#include "local.h"\nint super(int x)\n{\n\treturn one(x);\n}\n',
    "fs/ext/sub/inode.c": '#include "../local.h"\nint inode;\n',
    "fs/ext/acl.c": '#include "local.h"\nint acl;\n',
    "kernel/Makefile": "obj-y += fork.o policy.o\n",
    "kernel/fork.c": "#include <linux/other/one.h>\nint do_fork;\n",
    "kernel/policy.c": '#include "rt.c"\nint policy;\n',
    "kernel/rt.c": "static int unused;\n",
    "kernel/orphan.c": "int orphan;\n",
    "virt/shared.c": "int shared;\n",
    "arch/x86/Kbuild": "obj-y += kernel/\n",
}


def make_tree(root: Path) -> Path:
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        path.chmod(0o755)
    return root
