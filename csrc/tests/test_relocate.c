/*
 * Relocation: each type at the edge of what it can hold.
 */
#include "check.h"
#include "lpcore.h"

#include <stdbool.h>
#include <string.h>

enum {
	SIZE = 32,
};

static const uint64_t base = 0x10000;
static uint8_t section[SIZE];

struct record {
	uint64_t offset;
	uint64_t info;
	int64_t addend;
};

static enum lp_status relocate(uint64_t type, uint64_t offset, uint64_t symbol,
			       int64_t addend)
{
	struct record record = {offset, UINT64_C(1) << 32 | type, addend};
	uint64_t symbols[2] = {0, symbol};
	uint64_t sizes[2] = {0, 0x123456789};

	return lp_relocate(section, SIZE, base, (const uint8_t *)&record, 1,
			   symbols, sizes, 2, NULL);
}

struct edge {
	uint64_t type;
	uint64_t lowest;
	uint64_t highest;
};

/* The lowest and the highest value that fit; the next ones do not. */
static void test_edges(void)
{
	static const struct edge edges[] = {
		{2, -UINT64_C(0x80000000), 0x7fffffff},
		{4, -UINT64_C(0x80000000), 0x7fffffff},
		{10, 0, 0xffffffff},
		{11, -UINT64_C(0x80000000), 0x7fffffff},
		{12, -UINT64_C(0x8000), 0xffff},
		{13, -UINT64_C(0x8000), 0x7fff},
		{14, -UINT64_C(0x80), 0xff},
		{15, -UINT64_C(0x80), 0x7f},
	};

	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		const struct edge *edge = &edges[i];
		bool place =
			edge->type < 10 || edge->type == 13 || edge->type == 15;
		uint64_t from = place ? base : 0;

		CHECK(relocate(edge->type, 0, from + edge->lowest, 0) == LP_OK);
		CHECK(relocate(edge->type, 0, from + edge->lowest, -1) ==
		      LP_E_OVERFLOW);
		CHECK(relocate(edge->type, 0, from + edge->highest, 0) ==
		      LP_OK);
		CHECK(relocate(edge->type, 0, from + edge->highest, 1) ==
		      LP_E_OVERFLOW);
	}
}

static void test_widths(void)
{
	static const uint8_t widths[][2] = {{1, 8},  {24, 8}, {33, 8}, {10, 4},
					    {12, 2}, {14, 1}, {0, 0}};

	for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
		unsigned int type = widths[i][0], width = widths[i][1];
		uint64_t last = SIZE - width;

		memset(section, 0x5a, SIZE);
		CHECK(relocate(type, last, 7, 0) == LP_OK);
		CHECK(section[last - 1] == 0x5a);
		if (width)
			CHECK(relocate(type, last + 1, 7, 0) == LP_E_RANGE);
		if (width)
			CHECK(relocate(type, UINT64_MAX, 7, 0) == LP_E_RANGE);
	}
}

static void test_sizes(void)
{
	uint64_t value;

	CHECK(relocate(33, 0, 0, 1) == LP_OK);
	memcpy(&value, section, sizeof(value));
	CHECK(value == 0x12345678a);
	CHECK(relocate(32, 0, 0, 0) == LP_E_OVERFLOW);
	CHECK(relocate(32, 0, 0, -0x100000000) == LP_OK);
}

static void test_relaxation(void)
{
	memcpy(section, "\x48\x8b\x05\0\0\0\0", 7);
	CHECK(relocate(42, 3, base + 0x107, -4) == LP_OK);
	CHECK(!memcmp(section, "\x48\x8d\x05\0\x01\0\0", 7));
	memcpy(section, "\xff\x15\0\0\0\0", 6);
	CHECK(relocate(41, 2, base + 0x106, -4) == LP_OK);
	CHECK(!memcmp(section, "\x67\xe8\0\x01\0\0", 6));
	memcpy(section, "\xff\x25\0\0\0\0", 6);
	CHECK(relocate(41, 2, base + 0x105, -4) == LP_OK);
	CHECK(!memcmp(section, "\xe9\0\x01\0\0\x90", 6));
}

static void test_unsupported(void)
{
	static const uint8_t types[] = {
		3,  5,  6,  7,  8,  16, 17, 18, 19, 20, 21, 22, 23, 25, 26,
		27, 28, 29, 30, 31, 34, 35, 36, 37, 38, 39, 40, 43, 44, 200};

	for (size_t i = 0; i < sizeof(types); i++)
		CHECK(relocate(types[i], 8, 0, 0) == LP_E_UNSUPPORTED);
	CHECK(relocate(UINT32_MAX, 8, 0, 0) == LP_E_UNSUPPORTED);
	/* add foo@GOTPCREL(%rip), %rax; a bare field; the table's neighbour */
	memcpy(section, "\x48\x03\x05\0\0\0\0", 7);
	CHECK(relocate(42, 3, base, -4) == LP_E_UNSUPPORTED);
	memcpy(section, "\x48\x8b\x05\0\0\0\0", 7);
	CHECK(relocate(41, 0, base, -4) == LP_E_UNSUPPORTED);
	CHECK(relocate(42, 2, base, -4) == LP_E_UNSUPPORTED);
	CHECK(relocate(42, 3, base, 4) == LP_E_UNSUPPORTED);
	CHECK(relocate(9, 3, base, -4) == LP_OK);
}

/* The first record is fine, the second is not: neither is done. */
static void test_all_or_nothing(void)
{
	struct record records[2] = {{0, UINT64_C(1) << 32 | 1, 0},
				    {8, UINT64_C(2) << 32 | 1, 0}};
	uint64_t symbols[2] = {0, 0x1111}, sizes[2] = {0};
	uint8_t before[SIZE];
	struct lp_error error = {0};

	memset(section, 0x5a, SIZE);
	memcpy(before, section, SIZE);
	CHECK(lp_relocate(section, SIZE, base, (const uint8_t *)records, 2,
			  symbols, sizes, 2, &error) == LP_E_CORRUPT);
	CHECK(error.index == 1 && error.address == base + 8);
	CHECK(!memcmp(before, section, SIZE));
}

int main(void)
{
	test_edges();
	test_widths();
	test_sizes();
	test_relaxation();
	test_unsupported();
	test_all_or_nothing();
	return 0;
}
