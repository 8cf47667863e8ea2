/*
 * Comparison, stack scans, and symbol tables that lie.
 */
#include "check.h"
#include "symbols.h"

static void test_chunks(void)
{
	uint64_t found[2] = {0};
	size_t count = 0;

	CHECK(lp_changed_chunks((const uint8_t *)"abcdefghij",
				(const uint8_t *)"abcdXfghiX", 10, 4, found, 2,
				&count) == LP_OK);
	CHECK(count == 2 && found[0] == 1 && found[1] == 2);
	CHECK(lp_changed_chunks((const uint8_t *)"abc", (const uint8_t *)"xyz",
				3, 1, found, 2, &count) == LP_OK);
	CHECK(count == 3);
	CHECK(lp_changed_chunks(NULL, NULL, 0, 4, found, 2, &count) == LP_OK);
	CHECK(count == 0);
	CHECK(lp_changed_chunks(NULL, NULL, 0, 0, found, 2, &count) ==
	      LP_E_ARGUMENT);
}

static enum lp_status scan(const uint64_t *words, uint64_t size,
			   uint64_t *offset, size_t *range)
{
	static const struct lp_range ranges[2] = {{0x100, 0x200},
						  {0x300, 0x301}};

	return lp_scan_stack((const uint8_t *)words, size, ranges, 2, offset,
			     range);
}

static void test_stack(void)
{
	uint64_t words[4] = {0xff, 0x200, 0x300, 0x150}, offset = 0;
	size_t range = 0;

	CHECK(scan(words, 32, &offset, &range) == LP_OK);
	CHECK(offset == 16 && range == 1);
	CHECK(scan(words, 23, &offset, &range) == LP_E_RANGE);
	CHECK(scan(words, 0, &offset, &range) == LP_E_RANGE);
	words[2] = 0x301;
	CHECK(scan(words, 32, &offset, &range) == LP_OK);
	CHECK(offset == 24 && range == 0);
}

static void test_ranges_are_checked(void)
{
	struct lp_range unsorted[2] = {{2, 3}, {1, 2}};
	struct lp_range empty = {1, 1};
	uint64_t offset;
	size_t range;

	CHECK(lp_scan_stack(NULL, 0, unsorted, 2, &offset, &range) ==
	      LP_E_ARGUMENT);
	CHECK(lp_scan_stack(NULL, 0, &empty, 1, &offset, &range) ==
	      LP_E_ARGUMENT);
	CHECK(lp_scan_stack(NULL, 0, NULL, 0, &offset, &range) == LP_E_RANGE);
}

static void test_names_that_do_not_end(void)
{
	uint8_t table[3 * LP_SYMBOL_SIZE] = {0};
	struct lp_symbols *symbols = NULL;
	struct lp_error error = {0};

	table[LP_SYMBOL_SIZE] = 1;
	table[2 * LP_SYMBOL_SIZE] = 3;
	CHECK(lp_symbols_create(table, sizeof(table), LP_SYMBOL_SIZE,
				(const uint8_t *)"\0a\0b", 4, &symbols,
				&error) == LP_E_CORRUPT);
	CHECK(error.index == 2 && error.address == 3 && !symbols);
	CHECK(lp_symbols_create(table, sizeof(table) - 1, LP_SYMBOL_SIZE,
				(const uint8_t *)"\0a\0b", 4, &symbols,
				&error) == LP_E_ARGUMENT);
	CHECK(lp_symbols_create(table, sizeof(table), 8,
				(const uint8_t *)"\0a\0b", 4, &symbols,
				&error) == LP_E_ARGUMENT);
}

static void test_empty_table(void)
{
	struct lp_symbols *symbols = NULL;
	uint64_t index, offset;
	size_t count = 1;

	CHECK(lp_symbols_create(NULL, 0, LP_SYMBOL_SIZE, NULL, 0, &symbols,
				NULL) == LP_OK);
	CHECK(lp_symbols_named(symbols, (const uint8_t *)"a#b", 3, NULL, 0,
			       &count) == LP_OK);
	CHECK(!count);
	CHECK(lp_symbols_at(symbols, 0, &index, &offset) == LP_E_RANGE);
	CHECK(lp_symbols_next(symbols, 0, &index) == LP_E_RANGE);
	CHECK(lp_symbols_file(symbols, 0, &index) == LP_E_RANGE);
	lp_symbols_destroy(symbols);
}

int main(void)
{
	test_chunks();
	test_stack();
	test_ranges_are_checked();
	test_names_that_do_not_end();
	test_empty_table();
	return 0;
}
