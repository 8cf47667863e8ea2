/*
 * The half of a symbol index that goes from an address to a symbol.
 */
#include "symbols.h"

#include <stdbool.h>
#include <stdlib.h>

enum {
	DIGITS = 9, /* the rank, then the value's bytes from the lowest */
	BUCKETS = 256,
};

/* Section and file symbols name no code, and neither the values of
 * thread-local symbols nor those of common ones are addresses. */
static bool has_address(const uint8_t *symbol)
{
	unsigned int section = lp_symbol_section(symbol);

	if (section == LP_SHN_UNDEF || section == LP_SHN_COMMON)
		return false;
	switch (lp_symbol_type(symbol)) {
	case LP_STT_SECTION:
	case LP_STT_FILE:
	case LP_STT_COMMON:
	case LP_STT_TLS:
		return false;
	default:
		return true;
	}
}

/* Functions first: global, weak, local; then all else in the same order. */
static uint32_t rank(const uint8_t *symbol)
{
	unsigned int type = lp_symbol_type(symbol);
	unsigned int binding = lp_symbol_binding(symbol);
	uint32_t other = type != LP_STT_FUNC && type != LP_STT_GNU_IFUNC;

	if (binding == LP_STB_LOCAL)
		return 3 * other + 2;
	return 3 * other + (binding != LP_STB_GLOBAL);
}

static size_t collect(const struct lp_symbols *symbols, struct lp_address *to)
{
	size_t count = 0;

	for (uint32_t i = 1; i < symbols->count; i++) {
		const uint8_t *symbol = lp_symbol(symbols, i);

		if (!has_address(symbol))
			continue;
		to[count++] = (struct lp_address){
			.value = lp_symbol_value(symbol),
			.rank = rank(symbol),
			.index = i,
		};
	}
	return count;
}

static unsigned int digit(const struct lp_address *address, unsigned int which)
{
	if (!which)
		return address->rank;
	return address->value >> (8 * (which - 1)) & 0xff;
}

static void count_digits(const struct lp_address *addresses, size_t count,
			 unsigned int which, size_t *starts)
{
	size_t start = 0;

	memset(starts, 0, BUCKETS * sizeof(*starts));
	for (size_t i = 0; i < count; i++)
		starts[digit(&addresses[i], which)]++;
	for (unsigned int i = 0; i < BUCKETS; i++) {
		size_t here = starts[i];

		starts[i] = start;
		start += here;
	}
}

/* Whether the digit is the same everywhere, as the high ones usually are. */
static bool is_constant(const size_t *starts, size_t count)
{
	for (unsigned int i = 1; i < BUCKETS; i++)
		if (starts[i] != starts[i - 1])
			return starts[i] == count && !starts[i - 1];
	return true;
}

/* Stable, so that the table's order decides last. Returns the one of the two
 * arrays that holds the result. */
static struct lp_address *radix_sort(struct lp_address *from,
				     struct lp_address *to, size_t count)
{
	size_t starts[BUCKETS];

	for (unsigned int which = 0; which < DIGITS; which++) {
		struct lp_address *swap = from;

		count_digits(from, count, which, starts);
		if (is_constant(starts, count))
			continue;
		for (size_t i = 0; i < count; i++)
			to[starts[digit(&from[i], which)]++] = from[i];
		from = to;
		to = swap;
	}
	return from;
}

enum lp_status lp_symbols_sort(struct lp_symbols *symbols)
{
	struct lp_address *from, *to, *sorted;

	from = calloc(symbols->count, sizeof(*from));
	to = calloc(symbols->count, sizeof(*to));
	if (!from || !to) {
		free(from);
		free(to);
		return LP_E_MEMORY;
	}
	symbols->address_count = collect(symbols, from);
	sorted = radix_sort(from, to, symbols->address_count);
	free(sorted == from ? to : from);
	symbols->addresses = sorted;
	return LP_OK;
}

/* How many symbols have a value below the limit, or at it if so asked. */
static size_t count_below(const struct lp_symbols *symbols, uint64_t limit,
			  bool inclusive)
{
	size_t low = 0, high = symbols->address_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		uint64_t value = symbols->addresses[middle].value;

		if (value < limit || (inclusive && value == limit))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

enum lp_status lp_symbols_at(const struct lp_symbols *symbols, uint64_t address,
			     uint64_t *ret_index, uint64_t *ret_offset)
{
	size_t end = count_below(symbols, address, true);
	uint64_t value;

	if (!end)
		return LP_E_RANGE;
	value = symbols->addresses[end - 1].value;
	*ret_index =
		symbols->addresses[count_below(symbols, value, false)].index;
	*ret_offset = address - value;
	return LP_OK;
}

enum lp_status lp_symbols_next(const struct lp_symbols *symbols,
			       uint64_t address, uint64_t *ret_address)
{
	size_t end = count_below(symbols, address, true);

	if (end == symbols->address_count)
		return LP_E_RANGE;
	*ret_address = symbols->addresses[end].value;
	return LP_OK;
}
