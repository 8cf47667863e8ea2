/*
 * A reader that never sees a mixture: one thread stores, another looks.
 */
#include "check.h"
#include "site.h"

#include <pthread.h>
#include <string.h>

enum {
	ROUNDS = 20000,
	LOOKS = 200000,
	LINE = 64,
};

static uint8_t memory[4 * LINE] __attribute__((aligned(64)));
static const struct lp_window window = {0x1000, sizeof(memory), memory};
static const uint8_t old[5] = {0x90, 0x91, 0x92, 0x93, 0x94};
static const uint8_t new[5] = {0xe9, 1, 2, 3, 4};

/* Bytes that lie in one word must change as one. */
static void *watch_word(void *at)
{
	for (int i = 0; i < LOOKS; i++) {
		uint64_t word =
			__atomic_load_n((uint64_t *)at, __ATOMIC_ACQUIRE);

		CHECK(!memcmp(&word, old, 5) || !memcmp(&word, new, 5));
	}
	return NULL;
}

/* Where they do not, the tail may change only behind a parked head. */
static void *watch_head(void *at)
{
	volatile uint8_t *head = at;

	for (int i = 0; i < LOOKS; i++) {
		uint8_t first = *head;

		CHECK(first == old[0] || first == new[0] || first == 0xeb ||
		      first == 0xcc);
	}
	return NULL;
}

static void race(uint64_t offset, void *(*watch)(void *))
{
	pthread_t thread;

	memcpy(memory + offset, old, sizeof(old));
	CHECK(!pthread_create(&thread, NULL, watch, memory + offset));
	for (int i = 0; i < ROUNDS; i++) {
		lp_store_code(&window, offset, new, sizeof(new));
		lp_store_code(&window, offset, old, sizeof(old));
	}
	CHECK(!pthread_join(thread, NULL));
}

/* Every size at every alignment, up to both ends of the window. */
static void test_neighbours_stay(void)
{
	uint8_t expected[sizeof(memory)], data[LP_SAVED_MAX];

	memset(data, 0xa5, sizeof(data));
	for (uint64_t size = 1; size <= LP_SAVED_MAX; size++) {
		for (uint64_t at = 0; at + size <= sizeof(memory); at++) {
			memset(memory, 0x11, sizeof(memory));
			memset(expected, 0x11, sizeof(memory));
			memcpy(expected + at, data, size);
			lp_store_code(&window, at, data, size);
			CHECK(!memcmp(memory, expected, sizeof(memory)));
		}
	}
}

/* A window that neither starts nor ends at a word's border. */
static void test_word_outside_the_window(void)
{
	uint8_t *odd = malloc(7);
	struct lp_window small = {0x1000, 7, odd};

	CHECK(odd);
	memset(odd, 0, 7);
	lp_store_code(&small, 2, new, sizeof(new));
	CHECK(!memcmp(odd, "\0\0\xe9\1\2\3\4", 7));
	free(odd);
}

int main(void)
{
	test_neighbours_stay();
	test_word_outside_the_window();
	race(LINE, watch_word);
	race(LINE + 3, watch_head);
	race(LINE + 5, watch_head);
	race(2 * LINE - 1, watch_head);
	return 0;
}
