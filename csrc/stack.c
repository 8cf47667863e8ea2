/*
 * A conservative scan of a stack: a word that looks like a return address is
 * taken for one, so that a hit may be false but a miss may not.
 */
#include "bytes.h"
#include "lpcore.h"

#include <stdbool.h>

enum {
	WORD = 8,
};

static bool ranges_valid(const struct lp_range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (ranges[i].start >= ranges[i].end)
			return false;
		if (i && ranges[i].start < ranges[i - 1].end)
			return false;
	}
	return true;
}

/* The number of ranges that start at or below value. */
static size_t count_below(const struct lp_range *ranges, size_t count,
			  uint64_t value)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ranges[middle].start <= value)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

enum lp_status lp_scan_stack(const uint8_t *stack, uint64_t size,
			     const struct lp_range *ranges, size_t range_count,
			     uint64_t *ret_offset, size_t *ret_range)
{
	uint64_t lowest, width;

	if (!ranges_valid(ranges, range_count))
		return LP_E_ARGUMENT;
	if (!range_count)
		return LP_E_RANGE;
	lowest = ranges[0].start;
	width = ranges[range_count - 1].end - lowest;
	for (uint64_t at = 0; size - at >= WORD; at += WORD) {
		uint64_t value = lp_load64(stack + at);
		size_t below;

		/* Most words are far from all code: one comparison. */
		if (value - lowest >= width)
			continue;
		below = count_below(ranges, range_count, value);
		if (below && value < ranges[below - 1].end) {
			*ret_offset = at;
			*ret_range = below - 1;
			return LP_OK;
		}
	}
	return LP_E_RANGE;
}
