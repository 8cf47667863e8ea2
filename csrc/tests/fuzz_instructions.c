/*
 * Any bytes as code: the instructions cover them, and fields lie inside.
 */
#include "check.h"
#include "fuzz.h"
#include "lpcore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *code = malloc(size ? size : 1);
	struct lp_instruction *found = calloc(size + 1, sizeof(*found));
	size_t count = 0;
	uint64_t at = 0;

	CHECK(code && found);
	memcpy(code, data, size);
	CHECK(lp_decode(code, size, found, size + 1, &count) == LP_OK);
	for (size_t i = 0; i < count; i++) {
		const struct lp_instruction *each = found + i;
		uint64_t field = at, end = 0;

		CHECK(each->offset == at && each->size && each->size <= 15);
		CHECK(each->displacement_at + each->displacement_size <=
		      each->size);
		CHECK(each->immediate_at + each->immediate_size <= each->size);
		CHECK(lp_field_ends(code, size, &field, 1, &end) == LP_OK);
		CHECK(end == (each->map == 0xff ? at + 4 : at + each->size));
		at += each->size;
	}
	CHECK(at == size);
	free(found);
	free(code);
	return 0;
}
