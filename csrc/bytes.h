/*
 * Little-endian numbers at any alignment.
 */
#ifndef LP_BYTES_H
#define LP_BYTES_H
#include <stdint.h>
#include <string.h>

static inline uint64_t lp_load64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint32_t lp_load32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint16_t lp_load16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

#endif
