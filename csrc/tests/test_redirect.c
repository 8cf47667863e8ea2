/*
 * Redirection sets: what is written, what is refused, what stays as it was.
 */
#include "check.h"
#include "lpcore.h"

#include <string.h>

enum {
	SIZE = 256,
};

static const uint64_t base = 0xffff82d040200000;
static uint8_t memory[SIZE] __attribute__((aligned(64)));
static const struct lp_window window = {0xffff82d040200000, SIZE, memory};

static void reset(void)
{
	for (size_t i = 0; i < SIZE; i++)
		memory[i] = (uint8_t)(0x40 + i % 16);
}

static struct lp_site near_site(uint64_t at)
{
	return (struct lp_site){
		.address = base + at,
		.target = base + 0x1000,
		.room = 16,
	};
}

static enum lp_status redirect(struct lp_site *sites, size_t count,
			       struct lp_error *error)
{
	return lp_redirect(&window, 1, sites, count, error);
}

/* At every alignment, so that every way of storing is gone. */
static void test_round_trip(void)
{
	for (uint64_t at = 0; at < SIZE - 16; at++) {
		struct lp_site site = near_site(at);
		uint8_t before[SIZE];
		int32_t rel32;

		reset();
		memcpy(before, memory, SIZE);
		CHECK(redirect(&site, 1, NULL) == LP_OK);
		CHECK(site.size == LP_NEAR_JUMP && memory[at] == 0xe9);
		memcpy(&rel32, memory + at + 1, sizeof(rel32));
		CHECK(site.address + 5 + (uint64_t)rel32 == site.target);
		CHECK(!memcmp(before, memory, at));
		CHECK(!memcmp(before + at + 5, memory + at + 5, SIZE - at - 5));
		CHECK(lp_take_back(&window, 1, &site, 1, NULL) == LP_OK);
		CHECK(!memcmp(before, memory, SIZE));
	}
}

static void test_landing_pad_stays(void)
{
	static const uint8_t pads[2][4] = {{0xf3, 0x0f, 0x1e, 0xfa},
					   {0x66, 0x0f, 0x1f, 0x01}};

	for (size_t i = 0; i < 2; i++) {
		struct lp_site site = near_site(0);

		reset();
		memcpy(memory, pads[i], 4);
		site.room = 8;
		CHECK(redirect(&site, 1, NULL) == LP_E_SIZE);
		site.room = 9;
		CHECK(redirect(&site, 1, NULL) == LP_OK);
		CHECK(site.offset == 4 && memory[4] == 0xe9);
		CHECK(!memcmp(memory, pads[i], 4));
	}
}

static void test_far_jump(void)
{
	struct lp_site site = near_site(0);

	reset();
	site.target = 0x1122334455667788;
	CHECK(redirect(&site, 1, NULL) == LP_E_REACH);
	site.flags = LP_SITE_FAR;
	site.room = 13;
	CHECK(redirect(&site, 1, NULL) == LP_E_SIZE);
	site.room = 14;
	CHECK(redirect(&site, 1, NULL) == LP_OK);
	CHECK(!memcmp(memory,
		      "\xff\x25\0\0\0\0\x88\x77\x66\x55\x44\x33\x22\x11", 14));
}

static void test_reach_is_exact(void)
{
	struct lp_site site = near_site(0);

	reset();
	site.target = base + 5 + 0x7fffffff;
	CHECK(redirect(&site, 1, NULL) == LP_OK);
	reset();
	site.target++;
	CHECK(redirect(&site, 1, NULL) == LP_E_REACH);
	site.target = base + 5 - 0x80000000;
	CHECK(redirect(&site, 1, NULL) == LP_OK);
	reset();
	site.target--;
	CHECK(redirect(&site, 1, NULL) == LP_E_REACH);
}

static void test_nops(void)
{
	struct lp_site site = near_site(3);

	reset();
	site.target = 0;
	CHECK(redirect(&site, 1, NULL) == LP_E_SIZE);
	site.nop_size = 17;
	CHECK(redirect(&site, 1, NULL) == LP_E_SIZE);
	site.nop_size = 12;
	CHECK(redirect(&site, 1, NULL) == LP_OK);
	CHECK(!memcmp(memory + 3, "\x66\x0f\x1f\x84\0\0\0\0\0\x0f\x1f\0\x4f",
		      13));
	memcpy(memory, "\xf3\x0f\x1e\xfa", 4);
	site.address = base;
	site.nop_size = 4;
	CHECK(redirect(&site, 1, NULL) == LP_E_SIZE);
}

static void test_refusal_changes_nothing(void)
{
	struct lp_error error = {0};
	uint8_t before[SIZE];

	reset();
	memcpy(before, memory, SIZE);
	for (uint64_t bad = 0; bad < 3; bad++) {
		struct lp_site sites[3] = {near_site(64), near_site(32),
					   near_site(128)};

		sites[bad].expected_size = 2;
		sites[bad].expected[0] = 0x40;
		CHECK(redirect(sites, 3, &error) == LP_E_MISMATCH);
		CHECK(error.index == bad && error.value == 0x41);
		CHECK(error.address == sites[bad].address + 1);
		CHECK(!memcmp(before, memory, SIZE));
	}
}

static void test_overlap(void)
{
	struct lp_site sites[3] = {near_site(64), near_site(32), near_site(60)};
	struct lp_error error = {0};

	reset();
	CHECK(redirect(sites, 3, &error) == LP_E_OVERLAP);
	CHECK(error.index == 2 && error.value == 0);
	sites[2].address = base + 59;
	CHECK(redirect(sites, 3, &error) == LP_OK);
	reset();
	sites[2].address = sites[1].address;
	CHECK(redirect(sites, 3, &error) == LP_E_OVERLAP);
	CHECK(error.index == 2 && error.value == 1);
}

static void test_range(void)
{
	struct lp_site site = near_site(SIZE - 4);

	reset();
	CHECK(redirect(&site, 1, NULL) == LP_E_RANGE);
	site = near_site(SIZE);
	CHECK(redirect(&site, 1, NULL) == LP_E_RANGE);
	site.address = base - 1;
	CHECK(redirect(&site, 1, NULL) == LP_E_RANGE);
	CHECK(lp_redirect(NULL, 0, &site, 1, NULL) == LP_E_RANGE);
	CHECK(redirect(NULL, 0, NULL) == LP_OK);
}

/* The same bytes at two addresses: one site undoes another, which only reading
 * back after the last store can tell. */
static void test_write_that_does_not_hold(void)
{
	struct lp_window twice[2] = {{base, 64, memory},
				     {base + 64, 64, memory}};
	struct lp_site sites[2] = {near_site(0), near_site(64)};
	struct lp_error error = {0};
	uint8_t before[SIZE];

	reset();
	memcpy(before, memory, SIZE);
	CHECK(lp_redirect(twice, 2, sites, 2, &error) == LP_E_WRITE);
	CHECK(error.index == 0);
	CHECK(!memcmp(before, memory, SIZE));
}

static void test_take_back_is_all_or_nothing(void)
{
	struct lp_site sites[2] = {near_site(0), near_site(64)};
	struct lp_error error = {0};
	uint8_t after[SIZE];

	reset();
	CHECK(redirect(sites, 2, NULL) == LP_OK);
	memory[2] ^= 0xff;
	memcpy(after, memory, SIZE);
	CHECK(lp_take_back(&window, 1, sites, 2, &error) == LP_E_MISMATCH);
	CHECK(error.index == 0 && error.address == base + 2);
	CHECK(!memcmp(after, memory, SIZE));
	sites[1].size = LP_SAVED_MAX + 1;
	CHECK(lp_take_back(&window, 1, sites, 2, &error) == LP_E_ARGUMENT);
	sites[1].size = 5;
	sites[1].offset = 3;
	CHECK(lp_take_back(&window, 1, sites, 2, &error) == LP_E_ARGUMENT);
}

static void test_windows_are_checked(void)
{
	struct lp_window wrong[2] = {{base, 128, memory},
				     {base + 64, 128, memory + 64}};
	struct lp_window last = {UINT64_MAX - SIZE + 1, SIZE, memory};
	struct lp_window beyond = {UINT64_MAX - SIZE + 2, SIZE, memory};
	struct lp_site site = near_site(0);

	reset();
	CHECK(lp_redirect(wrong, 2, &site, 1, NULL) == LP_E_ARGUMENT);
	wrong[1].address = base - 256;
	CHECK(lp_redirect(wrong, 2, &site, 1, NULL) == LP_E_ARGUMENT);
	CHECK(lp_redirect(&beyond, 1, &site, 1, NULL) == LP_E_ARGUMENT);
	site.address = -UINT64_C(5);
	site.target = 0x1000;
	CHECK(lp_redirect(&last, 1, &site, 1, NULL) == LP_OK);
	CHECK(memory[SIZE - 5] == 0xe9);
}

int main(void)
{
	test_round_trip();
	test_landing_pad_stays();
	test_far_jump();
	test_reach_is_exact();
	test_nops();
	test_refusal_changes_nothing();
	test_overlap();
	test_range();
	test_write_that_does_not_hold();
	test_take_back_is_all_or_nothing();
	test_windows_are_checked();
	return 0;
}
