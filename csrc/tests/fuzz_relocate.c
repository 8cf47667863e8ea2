/*
 * Any records: a refusal leaves the section as it was, and no store leaves it.
 */
#include "check.h"
#include "fuzz.h"
#include "lpcore.h"

enum {
	SIZE = 64,
	RECORDS = 8,
	RECORD_SIZE = 24,
	SYMBOLS = 3,
};

static void fill_record(uint8_t *record, struct input *input)
{
	uint64_t bits = take(input, 1);
	uint64_t offset = take(input, bits & 0x40 ? 8 : 1);
	uint64_t type = take(input, 1) % 48;
	uint64_t symbol = bits & 3;
	uint64_t info = symbol << 32 | type;
	uint64_t addend = bits & 4 ? take(input, 8) : -UINT64_C(4);

	if (bits & 8)
		offset %= SIZE;
	memcpy(record, &offset, 8);
	memcpy(record + 8, &info, 8);
	memcpy(record + 16, &addend, 8);
}

static void fill_section(uint8_t *section, struct input *input)
{
	static const uint8_t forms[4][4] = {{0x48, 0x8b, 0x05, 0},
					    {0x90, 0xff, 0x15, 0},
					    {0x90, 0xff, 0x25, 0},
					    {0x48, 0x8b, 0x3d, 0}};

	for (size_t i = 0; i < SIZE; i += 4)
		memcpy(section + i, forms[take(input, 1) % 4], 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	uint8_t *section = malloc(SIZE);
	uint8_t before[SIZE], records[RECORDS * RECORD_SIZE];
	uint64_t symbols[SYMBOLS], sizes[SYMBOLS];
	size_t count = take(&input, 1) % RECORDS;
	struct lp_error error = {0};

	CHECK(section);
	fill_section(section, &input);
	memcpy(before, section, SIZE);
	for (size_t i = 0; i < SYMBOLS; i++) {
		symbols[i] = take(&input, i ? 4 : 8);
		sizes[i] = take(&input, 2);
	}
	for (size_t i = 0; i < count; i++)
		fill_record(records + i * RECORD_SIZE, &input);
	if (lp_relocate(section, SIZE, 0x1000, records, count, symbols, sizes,
			SYMBOLS, &error) != LP_OK) {
		CHECK(!memcmp(before, section, SIZE));
		CHECK(error.index < count);
	}
	free(section);
	return 0;
}
