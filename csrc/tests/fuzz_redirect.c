/*
 * Any set of sites: refused without a trace, or taken back without one.
 */
#include "check.h"
#include "fuzz.h"
#include "lpcore.h"

enum {
	SIZE = 256,
	SITES = 6,
};

static const uint64_t base = 0xffff82d040200000;

static void fill_memory(uint8_t *memory, struct input *input)
{
	static const uint8_t pads[2][4] = {{0xf3, 0x0f, 0x1e, 0xfa},
					   {0x66, 0x0f, 0x1f, 0x01}};

	for (size_t i = 0; i < SIZE; i += 8) {
		uint64_t word = take(input, 2);

		memcpy(memory + i, &word, sizeof(word));
		if (word % 3 < 2)
			memcpy(memory + i, pads[word % 3], 4);
	}
}

static void fill_site(struct lp_site *site, struct input *input)
{
	uint64_t bits = take(input, 1);

	*site = (struct lp_site){0};
	site->address = base + take(input, 1) - (bits & 1 ? 8 : 0);
	site->target = bits & 2 ? 0 : take(input, bits & 4 ? 8 : 4) + base;
	site->room = (uint32_t)take(input, 1) % 48;
	site->nop_size = (uint32_t)take(input, 1) % 40;
	site->flags = bits >> 3 & 1;
	site->expected_size = bits & 0x70 ? 0 : (uint32_t)take(input, 1) % 34;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	uint8_t *memory = malloc(SIZE);
	uint8_t before[SIZE];
	size_t count = take(&input, 1) % SITES;
	struct lp_site sites[SITES];
	struct lp_window windows[2] = {
		{base, SIZE - 24, memory},
		{base + SIZE - 24, 24, memory + SIZE - 24},
	};
	struct lp_error error;

	CHECK(memory);
	fill_memory(memory, &input);
	memcpy(before, memory, SIZE);
	for (size_t i = 0; i < count; i++)
		fill_site(&sites[i], &input);
	if (lp_redirect(windows, 2, sites, count, &error) == LP_OK) {
		for (size_t i = 0; i < count; i++)
			CHECK(sites[i].offset + sites[i].size <= sites[i].room);
		CHECK(lp_take_back(windows, 2, sites, count, &error) == LP_OK);
	}
	CHECK(!memcmp(before, memory, SIZE));
	free(memory);
	return 0;
}
