# Says how objtool is run in a kernel tree, which has been configured: `make -f
# objtool.mk` in its root prints the arguments (scripts/Makefile.lib).

.DEFAULT_GOAL := all
obj := kernel
src := $(obj)
srctree := .
objtree := .
SRCARCH := x86
BITS := 64

-include include/config/auto.conf
include scripts/Kbuild.include
-include scripts/Makefile.compiler
include scripts/Makefile.lib

$(info $(objtool_args) $(objtool-args))

.PHONY: all FORCE
all FORCE: ; @:
