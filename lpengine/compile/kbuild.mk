# Says what a directory of a kernel tree is built of: `make -f kbuild.mk obj=DIRECTORY`
# in the tree's root, which has been configured. Each line is
#
#	STATE OBJECT PART...
#
# with STATE y (in the kernel), m (a module) or - (switched off); a directory ends in
# a slash. What kbuild itself does with these lists: scripts/Makefile.lib.

.DEFAULT_GOAL := all
obj-y :=
obj-m :=
obj-n :=
obj- :=
lib-y :=
lib-m :=
lib-n :=
lib- :=
subdir-y :=
subdir-m :=
src := $(obj)
srctree := .
objtree := .
SRCARCH := x86
BITS := 64

-include include/config/auto.conf
include scripts/Kbuild.include
-include scripts/Makefile.compiler
include $(firstword $(wildcard $(obj)/Kbuild) $(obj)/Makefile)

parts = $(strip $(foreach suffix,-objs -y -m,$($(1:%.o=%$(suffix)))))
left = $(strip $(foreach suffix,-n -,$($(1:%.o=%$(suffix)))))
say = $(foreach object,$2,$(info $1 $(object) $(call parts,$(object)))\
	$(if $(call left,$(object)),$(info - $(object) $(call left,$(object)))))
$(call say,y,$(obj-y) $(lib-y) $(lib-m) $(addsuffix /,$(subdir-y)))
$(call say,m,$(filter-out $(obj-y),$(obj-m)) $(addsuffix /,$(subdir-m)))
$(call say,-,$(obj-n) $(obj-) $(lib-n) $(lib-))

.PHONY: all FORCE
all FORCE: ; @:
