/*
 * Any bytes as debug information: it ends, and names no place outside.
 */
#include "check.h"
#include "fuzz.h"
#include "lpcore.h"

enum {
	SECTION = 96,
};

/* A copy of its own, so that a read beyond it is seen. */
static uint8_t *section(struct input *input, size_t *ret_size)
{
	size_t size = take(input, 1) % SECTION;
	uint8_t *data = malloc(size ? size : 1);

	CHECK(data);
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)take(input, 1);
	*ret_size = size;
	return data;
}

/* The first four bytes are a length that fits, mostly. */
static void give_length(uint8_t *data, size_t size, struct input *input)
{
	if (size >= 4 && take(input, 1) % 8) {
		uint32_t length = (uint32_t)(size - 4);

		memcpy(data, &length, sizeof(length));
	}
	if (size >= 6 && take(input, 1) % 8) {
		uint16_t version = (uint16_t)(2 + take(input, 1) % 4);

		memcpy(data + 4, &version, sizeof(version));
	}
}

static void check_entries(struct input *input)
{
	struct lp_entry entries[SECTION];
	struct lp_error error = {0};
	size_t info_size = 0, abbrev_size = 0, offsets_size = 0, count = 0;
	uint8_t *info = section(input, &info_size);
	uint8_t *abbrev = section(input, &abbrev_size);
	uint8_t *offsets = section(input, &offsets_size);
	struct lp_dwarf dwarf = {info,        info_size, abbrev,
				 abbrev_size, offsets,   offsets_size};

	give_length(info, info_size, input);
	lp_dwarf_entries(&dwarf, entries, SECTION, &count, &error);
	CHECK(count <= info_size);
	for (size_t i = 0; i < count; i++) {
		CHECK(entries[i].offset < info_size);
		CHECK(entries[i].parent <= i);
	}
	free(offsets);
	free(abbrev);
	free(info);
}

static void check_lines(struct input *input)
{
	struct lp_line_row rows[SECTION];
	struct lp_line_file files[SECTION];
	struct lp_lines lines = {rows, SECTION, 0, files, SECTION, 0};
	struct lp_error error = {0};
	size_t size = 0;
	uint8_t *data = section(input, &size);

	give_length(data, size, input);
	lp_dwarf_lines(data, size, &lines, &error);
	CHECK(lines.row_count <= size);
	for (size_t i = 0; i < lines.row_count; i++)
		CHECK(!rows[i].base || rows[i].base < size);
	free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};

	check_entries(&input);
	check_lines(&input);
	return 0;
}
