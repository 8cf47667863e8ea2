/*
 * Which chunks of two copies of memory differ.
 */
#include "lpcore.h"

#include <string.h>

enum lp_status lp_changed_chunks(const uint8_t *left, const uint8_t *right,
				 uint64_t size, uint64_t chunk_size,
				 uint64_t *indexes, size_t capacity,
				 size_t *ret_count)
{
	size_t count = 0;

	if (!chunk_size)
		return LP_E_ARGUMENT;
	for (uint64_t at = 0, index = 0; at < size; index++) {
		uint64_t left_over = size - at;
		uint64_t step = left_over < chunk_size ? left_over : chunk_size;

		if (memcmp(left + at, right + at, step)) {
			if (count < capacity)
				indexes[count] = index;
			count++;
		}
		at += step;
	}
	*ret_count = count;
	return LP_OK;
}
