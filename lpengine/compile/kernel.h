/*
 * Included before every C source that becomes a Linux live patch module.
 *
 * The source is compiled without the kernel's headers: declare what it uses of the
 * kernel, functions and data alike, as extern. Exported symbols are linked with
 * their CRCs, all others are looked up by the live patch core.
 */
#ifndef LPENGINE_KERNEL_H
#define LPENGINE_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

typedef signed char s8;
typedef unsigned char u8;
typedef short s16;
typedef unsigned short u16;
typedef int s32;
typedef unsigned int u32;
typedef long long s64;
typedef unsigned long long u64;
typedef long ssize_t;
typedef long long loff_t;

/*
 * Names the n-th symbol of that name in vmlinux or a module, in the order of
 * /proc/kallsyms; only needed where there are several:
 *
 *	extern int busy KLP_SYMBOL(vmlinux, busy, 2);
 */
#define KLP_SYMBOL(object, name, position) \
	__asm__("\".klp.sym." #object "." #name "," #position "\"")

struct klp_object;

#define KLP_CALLBACK_(type, kind, function)                               \
	static type (*const klp_##kind##_##function)(struct klp_object *) \
		__attribute__((used, section(".lpengine.callback." #kind))) = function

/*
 * One of each at most, for the object that is patched. A pre_patch that does not
 * return 0 keeps the patch from being applied.
 */
#define KLP_PRE_PATCH(function) KLP_CALLBACK_(int, pre_patch, function)
#define KLP_POST_PATCH(function) KLP_CALLBACK_(void, post_patch, function)
#define KLP_PRE_UNPATCH(function) KLP_CALLBACK_(void, pre_unpatch, function)
#define KLP_POST_UNPATCH(function) KLP_CALLBACK_(void, post_unpatch, function)

/* A state of the system that the patch changes (Documentation/livepatch/
 * system-state.rst). */
#define KLP_STATE(number, level)                                       \
	static const struct { unsigned long id, version; }             \
		klp_state_##number __attribute__((used,                \
		section(".lpengine.states"))) = { number, level }

/* A pair for .modinfo. */
#define KLP_INFO(key, value)                                          \
	static const char klp_info_##key[] __attribute__((used,       \
		aligned(1), section(".modinfo"))) = #key "=" value

#endif
