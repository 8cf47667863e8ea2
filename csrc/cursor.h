/*
 * Reads numbers one after the other, and remembers if they ran out.
 */
#ifndef LP_CURSOR_H
#define LP_CURSOR_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct cursor {
	const uint8_t *data;
	uint64_t at;
	uint64_t end;
	bool failed;
};

static inline void cursor_skip(struct cursor *cursor, uint64_t size)
{
	if (size > cursor->end - cursor->at) {
		cursor->failed = true;
		cursor->at = cursor->end;
		return;
	}
	cursor->at += size;
}

/* Up to eight bytes, little endian. */
static inline uint64_t cursor_fixed(struct cursor *cursor, uint64_t size)
{
	uint64_t value = 0, at = cursor->at;

	cursor_skip(cursor, size);
	if (!cursor->failed)
		memcpy(&value, cursor->data + at, size);
	return value;
}

static inline uint64_t cursor_uleb(struct cursor *cursor)
{
	uint64_t value = 0;

	for (unsigned shift = 0; !cursor->failed; shift += 7) {
		uint64_t byte = cursor_fixed(cursor, 1);

		if (shift < 64)
			value |= (byte & 0x7f) << shift;
		if (!(byte & 0x80))
			break;
	}
	return value;
}

static inline int64_t cursor_sleb(struct cursor *cursor)
{
	uint64_t value = 0, byte = 0;
	unsigned shift = 0;

	while (!cursor->failed) {
		byte = cursor_fixed(cursor, 1);
		if (shift < 64)
			value |= (byte & 0x7f) << shift;
		shift += 7;
		if (!(byte & 0x80))
			break;
	}
	if (shift < 64 && (byte & 0x40))
		value |= UINT64_MAX << shift;
	return (int64_t)value;
}

static inline void cursor_string(struct cursor *cursor)
{
	const uint8_t *nul = NULL;

	if (cursor->at < cursor->end)
		nul = memchr(cursor->data + cursor->at, 0,
			     cursor->end - cursor->at);
	if (!nul) {
		cursor->failed = true;
		cursor->at = cursor->end;
		return;
	}
	cursor->at = (uint64_t)(nul - cursor->data) + 1;
}

#endif
