/*
 * Stores of code that other CPUs may be fetching.
 *
 * Intel SDM volume 3, 9.1.1: an 8-byte store is atomic when it is aligned, and
 * any store is when it stays inside a cache line. memcpy promises nothing of
 * the kind, so the stores below are spelled out.
 */
#include "site.h"

#include <stdbool.h>
#include <string.h>

enum {
	WORD = 8,
	CACHE_LINE = 64,
	INT3 = 0xcc,
	JUMP_TO_SELF = 0xfeeb, /* eb fe */
};

struct __attribute__((packed)) pair {
	uint16_t value;
};

static void store_byte(uint8_t *at, uint8_t value)
{
	__atomic_store_n(at, value, __ATOMIC_SEQ_CST);
}

static void store_pair(uint8_t *at, uint16_t value)
{
	((volatile struct pair *)at)->value = value;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Changes part of one aligned word, if the bytes lie in one and all of that
 * word lies in the window. The exchange loses no write to its other bytes. */
static bool store_in_word(const struct lp_window *window, uint64_t offset,
			  const uint8_t *data, uint64_t size)
{
	uint8_t *at = window->bytes + offset;
	uint64_t shift = (uintptr_t)at % WORD;
	uint64_t *word, old, new;

	if (shift + size > WORD || shift > offset ||
	    window->size - (offset - shift) < WORD)
		return false;
	word = (uint64_t *)(void *)(at - shift);
	old = __atomic_load_n(word, __ATOMIC_RELAXED);
	do {
		new = old;
		memcpy((uint8_t *)&new + shift, data, size);
	} while (!__atomic_compare_exchange_n(
		word, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
	return true;
}

/* A CPU that arrives meanwhile spins on the first two bytes, or traps on the
 * first one where those two straddle a cache line. */
static void store_parked(uint8_t *at, const uint8_t *data, uint64_t size)
{
	bool pair = size >= 2 && (uintptr_t)at % CACHE_LINE != CACHE_LINE - 1;
	uint64_t head = pair ? 2 : 1;
	uint16_t first;

	if (pair)
		store_pair(at, JUMP_TO_SELF);
	else
		store_byte(at, INT3);
	memcpy(at + head, data + head, size - head);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!pair) {
		store_byte(at, data[0]);
		return;
	}
	memcpy(&first, data, sizeof(first));
	store_pair(at, first);
}

void lp_store_code(const struct lp_window *window, uint64_t offset,
		   const uint8_t *data, uint64_t size)
{
	if (!store_in_word(window, offset, data, size))
		store_parked(window->bytes + offset, data, size);
}
