/*
 * Included before every C source that becomes a payload.
 *
 * The hook macros have the names and meanings of Xen's
 * include/xen/livepatch_payload.h, so that a source written for one builds with
 * the other.
 */
#ifndef LPENGINE_LIVEPATCH_H
#define LPENGINE_LIVEPATCH_H

/* Everything declared from here on is reached by a 32-bit distance: Xen's
 * loader knows no global offset table. */
#pragma GCC visibility push(hidden)

/*
 * Names a static of the image by its file:
 *
 *	extern unsigned long total LIVEPATCH_STATIC("common/counter.c", total);
 *
 * Only needed where several files have a static of that name.
 */
#define LIVEPATCH_STATIC(file, name) __asm__("\"" file "#" #name "\"")

#define LIVEPATCH_HOOK_(type, kind, function)                                  \
	static type *const livepatch_##kind##_##function __attribute__((       \
		used, section(".livepatch.hooks." #kind))) = function;

typedef struct payload livepatch_payload_t;
typedef void livepatch_loadcall_t(void);
typedef void livepatch_unloadcall_t(void);
typedef int livepatch_precall_t(livepatch_payload_t *payload);
typedef int livepatch_actioncall_t(livepatch_payload_t *payload);
typedef void livepatch_postcall_t(livepatch_payload_t *payload);

/* load and unload: any number; they run while every CPU is stopped. */
#define LIVEPATCH_LOAD_HOOK(function)                                          \
	LIVEPATCH_HOOK_(livepatch_loadcall_t, load, function)
#define LIVEPATCH_UNLOAD_HOOK(function)                                        \
	LIVEPATCH_HOOK_(livepatch_unloadcall_t, unload, function)

/* One of each at most; preapply and prerevert veto by not returning 0. */
#define LIVEPATCH_PREAPPLY_HOOK(function)                                      \
	LIVEPATCH_HOOK_(livepatch_precall_t, preapply, function)
#define LIVEPATCH_POSTAPPLY_HOOK(function)                                     \
	LIVEPATCH_HOOK_(livepatch_postcall_t, postapply, function)
#define LIVEPATCH_PREREVERT_HOOK(function)                                     \
	LIVEPATCH_HOOK_(livepatch_precall_t, prerevert, function)
#define LIVEPATCH_POSTREVERT_HOOK(function)                                    \
	LIVEPATCH_HOOK_(livepatch_postcall_t, postrevert, function)

/* These replace the action itself: the hook must do the patching. */
#define LIVEPATCH_APPLY_HOOK(function)                                         \
	LIVEPATCH_HOOK_(livepatch_actioncall_t, apply, function)
#define LIVEPATCH_REVERT_HOOK(function)                                        \
	LIVEPATCH_HOOK_(livepatch_actioncall_t, revert, function)

#endif
