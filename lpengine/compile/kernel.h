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

#include "headers/lpengine/klp.h"

#endif
