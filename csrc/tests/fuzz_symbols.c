/*
 * Any symbol table, against the plainest search one can write.
 */
#include "check.h"
#include "fuzz.h"
#include "symbols.h"

#include <stdbool.h>

enum {
	SYMBOLS = 16,
	STRINGS = 24,
};

static void fill_symbol(uint8_t *symbol, struct input *input)
{
	uint64_t bits = take(input, 1);
	uint32_t name = (uint32_t)(take(input, 1) % (STRINGS + (bits & 1)));
	uint64_t value = take(input, 1) % 16 << (bits & 2 ? 56 : 3);
	uint16_t section = (uint16_t)(bits >> 2 & 3);

	memset(symbol, 0, LP_SYMBOL_SIZE);
	memcpy(symbol, &name, sizeof(name));
	symbol[4] = (uint8_t)((bits >> 4 & 3) << 4 | take(input, 1) % 8);
	memcpy(symbol + 6, &section, sizeof(section));
	memcpy(symbol + 8, &value, sizeof(value));
}

static void check_names(const struct lp_symbols *symbols)
{
	for (uint32_t i = 1; i < symbols->count; i++) {
		uint32_t offset = lp_symbol_name(lp_symbol(symbols, i));
		const char *name = (const char *)symbols->strings + offset;
		uint64_t found[SYMBOLS];
		size_t count = 0;
		bool seen = false;

		if (!offset || !*name)
			continue;
		CHECK(lp_symbols_named(symbols, (const uint8_t *)name,
				       strlen(name), found, SYMBOLS,
				       &count) == LP_OK);
		CHECK(count <= SYMBOLS);
		for (size_t at = 0; at < count; at++) {
			CHECK(!at || found[at - 1] < found[at]);
			seen = seen || found[at] == i;
		}
		CHECK(seen);
	}
}

/* The values nearest below or at, and above; false where there is none. */
static bool nearest(const struct lp_symbols *symbols, uint64_t address,
		    bool above, uint64_t *ret)
{
	bool any = false;

	for (size_t i = 0; i < symbols->address_count; i++) {
		uint64_t value = symbols->addresses[i].value;

		if (above ? value <= address : value > address)
			continue;
		if (!any || (above ? value < *ret : value > *ret))
			*ret = value;
		any = true;
	}
	return any;
}

static void check_address(const struct lp_symbols *symbols, uint64_t address)
{
	uint64_t index = 0, offset = 0, next = 0, expected = 0;
	bool below = nearest(symbols, address, false, &expected);

	CHECK(below ==
	      (lp_symbols_at(symbols, address, &index, &offset) == LP_OK));
	if (below) {
		CHECK(address - offset == expected);
		CHECK(lp_symbol_value(lp_symbol(symbols, (uint32_t)index)) ==
		      expected);
	}
	below = nearest(symbols, address, true, &expected);
	CHECK(below == (lp_symbols_next(symbols, address, &next) == LP_OK));
	CHECK(!below || next == expected);
}

static uint8_t *copy(const uint8_t *from, size_t size)
{
	uint8_t *to = malloc(size ? size : 1);

	CHECK(to);
	memcpy(to, from, size);
	return to;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	uint8_t table[SYMBOLS * LP_SYMBOL_SIZE] = {0}, strings[STRINGS];
	size_t count = take(&input, 1) % SYMBOLS;
	uint8_t *exact_table, *exact_strings;
	struct lp_symbols *symbols = NULL;
	struct lp_error error = {0};

	for (size_t i = 0; i < STRINGS; i++)
		strings[i] = (uint8_t)"ab#\0"[take(&input, 1) % 4];
	strings[STRINGS - 1] = take(&input, 1) % 8 ? 0 : 'a';
	for (size_t i = 0; i < count; i++)
		fill_symbol(table + i * LP_SYMBOL_SIZE, &input);
	exact_table = copy(table, count * LP_SYMBOL_SIZE);
	exact_strings = copy(strings, STRINGS);
	if (lp_symbols_create(exact_table, count * LP_SYMBOL_SIZE,
			      LP_SYMBOL_SIZE, exact_strings, STRINGS, &symbols,
			      &error) == LP_OK) {
		check_names(symbols);
		for (uint64_t at = 0; at < 256; at++)
			check_address(symbols, at % 2 ? at : at << 56);
		lp_symbols_destroy(symbols);
	} else {
		CHECK(error.index && error.index < count);
	}
	free(exact_table);
	free(exact_strings);
	return 0;
}
