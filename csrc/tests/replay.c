/*
 * Drives a fuzz target where libFuzzer is not at hand: with the files named, or
 * else with the same pseudo-random inputs on every run.
 */
#include "check.h"
#include "fuzz.h"

enum {
	INPUTS = 30000,
	LONGEST = 512,
};

static uint64_t next_random(uint64_t *state)
{
	/* Marsaglia, "Xorshift RNGs" */
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void replay_file(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *file = fopen(path, "rb");
	size_t size;

	CHECK(file);
	size = fread(data, 1, sizeof(data), file);
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
}

int main(int count, char **paths)
{
	uint8_t data[LONGEST];
	uint64_t state = 1;

	for (int i = 1; i < count; i++)
		replay_file(paths[i]);
	for (int i = 0; count == 1 && i < INPUTS; i++) {
		size_t size = next_random(&state) % LONGEST;

		for (size_t at = 0; at < size; at++)
			data[at] = (uint8_t)(next_random(&state) >> 32);
		LLVMFuzzerTestOneInput(data, size);
	}
	return 0;
}
