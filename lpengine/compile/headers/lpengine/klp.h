/*
 * What a Linux live patch does besides replacing functions. For C without the
 * kernel's headers it is there already; a fix to the kernel's own source has to
 *
 *	#include <lpengine/klp.h>
 */
#ifndef LPENGINE_KLP_H
#define LPENGINE_KLP_H

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
