/*
 * What a fuzz target is, and how it takes its input apart.
 */
#ifndef FUZZ_H
#define FUZZ_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at;
	size_t left;
};

/* Zeroes once the input is used up. */
static inline uint64_t take(struct input *input, size_t size)
{
	uint64_t value = 0;
	size_t some = size < input->left ? size : input->left;

	memcpy(&value, input->at, some);
	input->at += some;
	input->left -= some;
	return value;
}

#endif
